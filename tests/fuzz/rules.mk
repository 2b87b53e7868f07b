# SPDX-License-Identifier: GPL-2.0

## make fuzz             coverage-guided inputs for the parsers and rings of abi; FUZZ_SECONDS= for each target
##                       (default 15), FUZZ=rings for one of them
##

TEST_STEPS += fuzz

.PHONY: fuzz

fuzz:
	@scripts/sdk root >/dev/null
	@scripts/in-root env OXEN_FUZZ_SECONDS=$(or $(FUZZ_SECONDS),15) tests/fuzz/run $(FUZZ)
