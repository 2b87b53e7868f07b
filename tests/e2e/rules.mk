# SPDX-License-Identifier: GPL-2.0
#
# The demo, the end-to-end suite and the companion on the command line.

TEST_STEPS += e2e

.PHONY: demo e2e soak companion tools

## make demo             everything from nothing: Xen in QEMU, a Debian guest on Oxen, what it proved line by
##                       line; INTERACTIVE=1 hands over the guest's console
## make e2e              the end-to-end suite; E2E="debian/ping bare" for some of its tests, OXEN_ROUNDS= for how often
##                       what is repeated, OXEN_MIB= for how much data, OXEN_CLOCK_SECONDS= for how long clocks are
##                       compared, OXEN_PAUSE_SECONDS= for how long a guest is paused; a guest that the emulator loses is booted again, twice at most. What takes
##                       long for what it shows runs in a soak, or when it is named
## make soak             the same with long rounds (20 times, 256 MiB, a minute of clocks), fuzzing and the packages: hours
## make companion ARGS=  the companion that stays up, for iteration: ARGS=start, ARGS="create g", ARGS=stop …
##

# Cargo is quiet; what it builds here takes two minutes the first time. With exec a signal reaches the program, which
# then ends its machine.
companion_env = dir=$$(scripts/modules dir) && exec scripts/in-root env MODULES=$$dir KERNEL=$$(basename $$dir)

# The images are made beside the modules. What fails there fails again when the companion asks for it, and says why.
with_images = scripts/in-root tests/images/all.sh $$(basename $$(scripts/modules dir)) & \
	$(1) $(MAKE) modules; status=$$?; wait; exit $$status

# Modules take minutes to build, and a machine to boot: what is not understood is refused before.
demo: tools
	@scripts/in-root build/host/debug/demo --check
	@$(call with_images,)
	@$(companion_env) build/host/debug/demo

e2e: tools
	@scripts/in-root build/host/debug/e2e --check $(E2E)
	@$(call with_images,OXEN_TESTS=1)
	@$(companion_env) build/host/debug/e2e $(E2E)

tools:
	@scripts/sdk root >/dev/null
	@[ -x build/host/debug/e2e ] || echo "oxen: building the companion (two minutes the first time)" >&2
	@scripts/in-root cargo build -q --locked -p backend -p companion -p e2e
	@scripts/in-root tests/agent/build >/dev/null
	@scripts/in-root tests/xenlibs/build build/host/debug/xenlibs

soak:
	@OXEN_ROUNDS=$${OXEN_ROUNDS:-20} OXEN_MIB=$${OXEN_MIB:-256} OXEN_CLOCK_SECONDS=$${OXEN_CLOCK_SECONDS:-60} \
	OXEN_CONTROL_SECONDS=$${OXEN_CONTROL_SECONDS:-120} OXEN_PAUSE_SECONDS=$${OXEN_PAUSE_SECONDS:-75} FUZZ_SECONDS=$${FUZZ_SECONDS:-600} \
	OXEN_STEP_LIMIT=$${OXEN_STEP_LIMIT:-14400} scripts/test e2e fuzz deb-test

companion: tools
	@$(companion_env) build/host/debug/companion $(ARGS)
