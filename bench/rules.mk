# SPDX-License-Identifier: GPL-2.0
#
# The bench: Oxen side by side with the kernel's own frontends.

.PHONY: bench

## make bench            Oxen against the in-tree C frontends in one boot, times and VM exits: up to an hour;
##                       BENCH="clock pipe-2cpu" for some workloads, ARGS="--pairs 9 --markdown"; results in build/bench
##

bench_program = build/host/debug/bench

# Modules take minutes to build: what is not understood is refused before.
bench:
	@scripts/sdk root >/dev/null
	@echo "oxen: building the bench (two minutes the first time)" >&2
	@scripts/in-root cargo build -q --locked -p bench
	@scripts/in-root $(bench_program) --check $(ARGS) $(BENCH)
	@$(MAKE) modules
	@export OXEN_REVISION=$$(git describe --always --dirty 2>/dev/null); \
		$(companion_env) $(bench_program) $(ARGS) $(BENCH)
