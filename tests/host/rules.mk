# SPDX-License-Identifier: GPL-2.0

## make host-test        abi on the host: layouts, properties, hostile peers, memory models, and the tests of the
##                       test tools; FILTER= for some
## make asan             those of abi with AddressSanitizer; FILTER= for some
## make coverage         the same, and the lines of abi that they run, with a floor
## make models           what `coverage` leaves out of `host-test`: memory models, and the tests of the test tools
##

TEST_STEPS += models coverage

.PHONY: host-test models coverage asan

host-test:
	@scripts/sdk root >/dev/null
	@scripts/in-root tests/host/run $(FILTER)

models:
	@scripts/sdk root >/dev/null
	@scripts/in-root tests/host/run --rest $(FILTER)

coverage:
	@scripts/sdk root >/dev/null
	@scripts/in-root tests/host/coverage

asan:
	@scripts/sdk root >/dev/null
	@scripts/in-root tests/host/run --asan $(FILTER)
