# SPDX-License-Identifier: GPL-2.0

## make torture          the end-to-end suite on a guest kernel with KASAN, lockdep and leak detection: the check
##                       before a release, more than an hour; E2E= for some of its tests, OXEN_ROUNDS= for how often
##                       what is repeated, OXEN_MIB= for how much data. It needs two processors for itself: a guest
##                       that gets less does nothing but timer ticks under emulation, and its time limits run out
##

.PHONY: torture

torture:
	@tests/torture/run $(E2E)
