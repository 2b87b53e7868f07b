#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# xen.sh: Debian's Xen hypervisor, uncompressed so that QEMU can load it. Prints its path.

. "$(dirname "$0")/lib.sh"

package=xen-hypervisor-4.20-amd64
version=$(apt-cache policy "$package" | awk '/Candidate:/ { print $2 }')
[ -n "$version" ] || fail "xen: apt knows no $package: run apt-get update in the trixie root."
out=$cache/xen/xen-$version
if [ ! -f "$out" ]; then
	need_space 100
	say "xen $version: fetching Debian's hypervisor"
	mkdir -p "$cache/xen"
	tmp=$(mktemp -d "$cache/xen/.new.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	(cd "$tmp" && apt-get -q -o APT::Sandbox::User=root download "$package") >&2
	dpkg-deb -x "$tmp"/*.deb "$tmp"
	gzip -dc "$tmp"/boot/xen-*-amd64.gz >"$tmp/xen"
	mv "$tmp/xen" "$out"
fi
echo "$out"
