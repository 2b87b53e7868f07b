# SPDX-License-Identifier: GPL-2.0

## make matrix           the modules built for each kernel of trixie-backports that has Rust, the newest version of each
##                       series and flavour, and booted on Xen; KERNELS="…" for some of them, XENS="4.20 4.17", BOOT=no to build only;
##                       prints the table of docs/support.md; about ten minutes a kernel
##

.PHONY: matrix

matrix:
	@tests/matrix/run
