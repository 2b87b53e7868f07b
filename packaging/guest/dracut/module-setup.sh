#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# dracut's module: puts the Oxen modules of this kernel and what loads them into the initramfs.

check() {
	return 0
}

depends() {
	echo udev-rules
}

installkernel() {
	# Wherever the initramfs is made: the guest may run on the kernel's own drivers now.
	hostonly='' instmods -o oxen_xen_core oxen_time oxen_control oxen_balloon oxen_blkfront oxen_console oxen_netfront
}

install() {
	inst_script /usr/lib/oxen/boot
	inst_rules 76-oxen.rules
	inst_simple -o /usr/lib/modprobe.d/oxen.conf
	inst_hook pre-udev 01 "$moddir/load.sh"
	inst_hook initqueue/settled 99 "$moddir/check.sh"
}
