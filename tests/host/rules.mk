# SPDX-License-Identifier: GPL-2.0

## make host-test        abi on the host: layouts, properties, hostile peers, memory models; FILTER= for some
## make fuzz             libFuzzer over the parsers and rings of abi, OXEN_FUZZ_SECONDS= each; TARGET= for one
## make coverage         lines of abi that the host tests run, with a floor

TEST_STEPS += host-test

.PHONY: host-test fuzz coverage

host-test:
	@scripts/sdk root >/dev/null
	@scripts/in-root tests/host/run $(FILTER)

fuzz:
	@scripts/sdk root >/dev/null
	@scripts/in-root fuzz/run $(TARGET)

coverage:
	@scripts/sdk root >/dev/null
	@scripts/in-root tests/host/coverage
