# SPDX-License-Identifier: GPL-2.0

## make deb              Debian packages of the modules (KERNEL=), of what boots a guest on them, and of the source
##                       for DKMS, in build/deb/
## make deb-test         lintian, two builds that are the same, and install, upgrade and purge in a copy of an
##                       installed Debian; minutes, so `make test` leaves it out and `make soak` has it
##

# The packages are made, so that nothing is missing in them; what is done with them takes longer.
TEST_STEPS += deb

.PHONY: deb deb-test

deb:
	@scripts/deb

deb-test:
	@tests/deb/run
