# SPDX-License-Identifier: GPL-2.0

## make matrix           the modules built for each kernel of trixie-backports and forky that has Rust, the newest
##                       version of each series and flavour, and a guest booted on each; SUITES="trixie", KERNELS="…"
##                       for some of them, BOOT=no to build only; prints the table of docs/support.md; about ten
##                       minutes a kernel
##

.PHONY: matrix

matrix:
	@tests/matrix/run
