# SPDX-License-Identifier: GPL-2.0

## make host-test        abi on the host: layouts, properties, hostile peers, memory models; FILTER= for some

TEST_STEPS += host-test

.PHONY: host-test

host-test:
	@scripts/sdk root >/dev/null
	@scripts/in-root tests/host/run $(FILTER)
