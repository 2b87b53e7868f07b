# SPDX-License-Identifier: GPL-2.0

## make kunit            KUnit suites of the modules on a KASAN and lockdep kernel in QEMU; FILTER=SUITE for one

TEST_STEPS += kunit

.PHONY: kunit

kunit:
	@tests/kunit/run $(if $(FILTER),--filter '$(FILTER)')
