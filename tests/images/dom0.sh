#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# dom0.sh: the root disk of the control domain: Debian with the xl toolstack. Prints its path.

. "$(dirname "$0")/lib.sh"

packages=xen-utils-4.20,xenstore-utils,qemu-system-xen,busybox-static,bridge-utils,iproute2
packages=$packages,iputils-ping,wireguard-tools,socat,iperf3,ethtool,dmsetup,e2fsprogs,fdisk,kmod,procps,psmisc,netbase
out=$cache/images/dom0-$(key "$images/dom0.sh" "$images/lib.sh").ext4
if [ ! -f "$out" ]; then
	need_space 3000
	say "dom0 image: Debian $suite with xen-utils and its device model (three minutes or so)"
	mkdir -p "$cache/images"
	tmp=$(mktemp -d "$cache/images/.dom0.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	debian_tree "$tmp/root" "$packages"
	mkdir -p "$tmp/root/etc/xen/auto" "$tmp/root/var/lib/companion" "$tmp/root/lib/modules"
	rm -rf "$tmp/root/var/cache/apt" "$tmp/root/var/lib/apt/lists"
	ext4_image "$tmp/root" "$tmp/image" 3000
	mv "$tmp/image" "$out"
fi
echo "$out"
