#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# xen.sh: Debian's Xen hypervisor, uncompressed so that QEMU can load it. Prints its path.

. "$(dirname "$0")/lib.sh"

package=xen-hypervisor-$xen-amd64
mkdir -p "$cache/xen"
tmp=$(mktemp -d "$cache/xen/.new.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
apt=
if [ "$xen_suite" != "$suite" ]; then
	# Lists of its own, kept beside.
	lists=$cache/xen/lists-$xen_suite
	sources "$xen_suite" >"$tmp/sources"
	apt="-o Dir::Etc::sourcelist=$tmp/sources -o Dir::Etc::sourceparts=- -o Dir::State::lists=$lists
		-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="
	mkdir -p "$lists/partial"
	# shellcheck disable=SC2086
	[ -e "$lists/whole" ] || apt-get -q $apt update >&2
	: >"$lists/whole"
fi
# shellcheck disable=SC2086
version=$(apt-cache $apt policy "$package" | awk '/Candidate:/ { print $2 }')
[ -n "$version" ] && [ "$version" != "(none)" ] ||
	fail "xen: Debian $xen_suite has no $package: OXEN_XEN is 4.17 or 4.20; for 4.20 run apt-get update in the trixie root."
out=$cache/xen/xen-$version
if [ ! -f "$out" ]; then
	need_space 100
	say "xen $version: fetching Debian's hypervisor"
	# shellcheck disable=SC2086
	(cd "$tmp" && apt-get -q $apt -o APT::Sandbox::User=root download "$package") >&2
	dpkg-deb -x "$tmp"/*.deb "$tmp"
	gzip -dc "$tmp"/boot/xen-*-amd64.gz >"$tmp/xen"
	mv "$tmp/xen" "$out"
fi
echo "$out"
