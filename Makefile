# SPDX-License-Identifier: GPL-2.0
#
# The front door: `make help`. The modules themselves are described in Kbuild.
#
# Each folder of tests has a fragment tests/*/rules.mk with its targets (bench/rules.mk the bench), and adds those
# that `make test` runs to TEST_STEPS. A step succeeds by its exit status; when the last
# line of its output is `N passed, N failed` these are counted, else it counts as one.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

.PHONY: all help sdk modules modules_install clippy fmt docs test clean distclean

all: modules

help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST)) $(wildcard tests/*/rules.mk bench/rules.mk)

## make sdk              the SDK, in the cache: from nothing 8 minutes on two cores
## make modules          the modules, for KERNEL= (default: the newest Debian kernel that can be built for)
##                       or in any prepared kernel tree with Rust, KDIR=
## make modules_install  install them under INSTALL_MOD_PATH=DIR (default: this system) and run depmod
## make clippy fmt docs  lints · format check · rustdoc under build/doc
## make test             all checks and the end-to-end suite, side by side; STEPS="style fmt" for some of them,
##                       OXEN_STEP_LIMIT= for how many seconds one may take (default 3600)
## make clean            remove build/ ; make distclean removes the cache too
##
## OXEN_CACHE=DIR        where the SDK and images are kept (default: ~/.cache/oxen)
## OXEN_MIRROR=URL       a Debian archive other than the one of the host's apt
##

sdk:
	@scripts/sdk

modules:
	@scripts/modules build

modules_install:
	@scripts/modules install

# The others come from the fragments.
TEST_STEPS := style unsafe circles fmt refusals clippy docs modules frames

include $(wildcard tests/*/rules.mk bench/rules.mk)

# The quick ones first; what boots Xen has a lane of its own.
LATE_STEPS := e2e kunit

test:
	@scripts/test $(or $(STEPS),$(filter-out $(LATE_STEPS),$(TEST_STEPS)) $(filter $(LATE_STEPS),$(TEST_STEPS)))

# Checks
# ---------------------------------------------------------------------------

.PHONY: style unsafe circles frames refusals clippy-host clippy-modules

style:
	@scripts/check-style
	@scripts/sdk root >/dev/null
	@scripts/in-root scripts/check-messages

unsafe:
	@scripts/check-unsafe
	@scripts/check-unsafe-test

circles:
	@scripts/sdk root >/dev/null
	@scripts/in-root scripts/check-circles
	@scripts/in-root scripts/check-circles-test

# The kernel's own limit (CONFIG_FRAME_WARN), which its build asks of C only.
frames: modules
	@scripts/in-root scripts/check-frames 2048 $$(scripts/modules dir)/oxen_*.ko

fmt:
	@scripts/sdk root >/dev/null
	@scripts/in-root scripts/check-fmt

refusals:
	@scripts/sdk root >/dev/null
	@tests/make/refusals

clippy: clippy-host clippy-modules

clippy-host:
	@scripts/sdk root >/dev/null
	@scripts/in-root cargo clippy --workspace --all-targets --locked -- -D warnings

clippy-modules:
	@scripts/modules clippy

docs:
	@scripts/sdk root >/dev/null
	@scripts/in-root env RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --workspace --no-deps --document-private-items --locked
	@mkdir -p build && rm -rf build/doc && cp -r build/host/doc build/doc
	@echo "oxen: the documentation is in build/doc"

clean:
	rm -rf build

distclean: clean
	@. scripts/lib.sh && say "removing $$cache" && rm -rf --one-file-system "$$cache"
