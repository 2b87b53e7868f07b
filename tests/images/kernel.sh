#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# kernel.sh RELEASE: Debian's own kernel image and modules, unpacked.
# Prints a folder that holds vmlinuz and lib/modules/RELEASE.

. "$(dirname "$0")/lib.sh"

release=${1:?usage: kernel.sh RELEASE}
out=$cache/kernel/$release
if [ ! -d "$out" ]; then
	need_space 1000
	say "kernel $release: fetching Debian's image and modules (120 MB, a minute or two)"
	mkdir -p "$cache/kernel"
	tmp=$(mktemp -d "$cache/kernel/.new.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	chmod 755 "$tmp"
	mkdir "$tmp/debs"
	# Newer Debian splits the image package; older ones hold it all in linux-image.
	names="linux-image-$release"
	if apt-cache show "linux-binary-$release" >/dev/null 2>&1; then
		names="linux-base-$release linux-binary-$release linux-modules-$release"
	fi
	# shellcheck disable=SC2086
	(cd "$tmp/debs" && apt-get -q -o APT::Sandbox::User=root download $names) >&2 ||
		fail "kernel: Debian has no package for kernel $release (or is not reachable): set KERNEL= to a release in $suite-backports."
	for deb in "$tmp"/debs/*.deb; do
		dpkg-deb -x "$deb" "$tmp"
	done
	rm -r "$tmp/debs"
	if [ -d "$tmp/usr/lib/modules" ]; then
		mkdir -p "$tmp/lib"
		mv "$tmp/usr/lib/modules" "$tmp/lib/modules"
	fi
	# The image lies in /boot, or beside the modules where Debian splits the package.
	for image in "$tmp/boot/vmlinuz-$release" "$tmp/lib/modules/$release/vmlinuz"; do
		[ ! -f "$image" ] || mv "$image" "$tmp/vmlinuz"
	done
	[ -f "$tmp/vmlinuz" ] || fail "kernel: Debian's packages of $release hold no kernel image."
	rm -rf "$tmp/usr" "$tmp/boot"
	depmod -b "$tmp" "$release"
	mv "$tmp" "$out"
	trap - EXIT
fi
echo "$out"
