#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# installed.sh RELEASE: a folder with a Debian as people have it: that stock kernel, an
# initramfs, GRUB, systemd. Prints its path.

. "$(dirname "$0")/lib.sh"

release=${1:?usage: installed.sh RELEASE}
packages=linux-image-$release,linux-base/$suite-backports,initramfs-tools,zstd,grub-pc,grub2-common,systemd-sysv,udev,kmod,e2fsprogs,procps
packages=$packages,ifupdown,iproute2,iputils-ping,login,apt
out=$cache/images/installed-$release-$(echo "$packages" | key "$images/installed.sh" "$images/lib.sh" -)
if [ ! -d "$out" ]; then
	need_space 3000
	say "installed Debian: $suite with kernel $release, initramfs-tools and GRUB (four minutes or so)"
	mkdir -p "$cache/images"
	tmp=$(mktemp -d "$cache/images/.installed.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	debian_tree "$tmp/root" "$packages"
	rm -rf "$tmp/root/var/cache/apt" "$tmp/root/var/lib/apt/lists"
	mv "$tmp/root" "$out"
fi
echo "$out"
