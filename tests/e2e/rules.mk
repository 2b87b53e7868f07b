# SPDX-License-Identifier: GPL-2.0
#
# The demo, the end-to-end suite and the companion on the command line.

TEST_STEPS += e2e

.PHONY: demo e2e companion

## make demo             everything from nothing: Xen in QEMU, a Debian guest on Oxen, what it proved line by
##                       line; INTERACTIVE=1 hands over the guest's console
## make e2e              the end-to-end suite; E2E="debian/ping bare" for some of its tests
## make companion ARGS=  the companion that stays up, for iteration: ARGS=start, ARGS="create g", ARGS=stop …
##

# Cargo is quiet; what it builds here takes two minutes the first time.
companion_env = dir=$$(scripts/modules dir) && scripts/in-root env MODULES=$$dir KERNEL=$$(basename $$dir)

demo: modules
	@echo "oxen: building the companion (two minutes the first time)" >&2
	@scripts/in-root cargo build -q --locked -p companion -p e2e
	@$(companion_env) build/host/debug/demo

e2e: modules
	@scripts/in-root cargo build -q --locked -p companion -p e2e
	@$(companion_env) build/host/debug/e2e $(E2E)

companion:
	@scripts/sdk root >/dev/null
	@scripts/in-root cargo build -q --locked -p companion
	@$(companion_env) build/host/debug/companion $(ARGS)
