# SPDX-License-Identifier: GPL-2.0
#
# What every image maker shares: the cache, keys, progress. Sourced, never run.
#
# A maker runs inside the trixie root. Each result is a file or folder in the
# cache whose name ends in a key over everything it was made from; it is made
# under a temporary name and renamed when whole, so what has its final name is good.

set -eu

images=$(cd "$(dirname "$0")" && pwd)
cache=${OXEN_CACHE:-$HOME/.cache/oxen}
suite=trixie

say() {
	printf '[%s] %s\n' "$(date +%H:%M:%S)" "$*" >&2
}

fail() {
	printf '%s\n' "$*" >&2
	exit 1
}

# key FILE... : sixteen hex digits over the contents of the files (and stdin).
key() {
	cat "$@" | sha256sum | cut -c1-16
}

# need_space MIB: stop with one sentence rather than with a half-made image.
need_space() {
	mkdir -p "$cache"
	have=$(df -Pm "$cache" | awk 'NR == 2 { print $4 }')
	[ "$have" -ge "$1" ] ||
		fail "images: $cache has $have MiB free, $1 MiB are needed: make room or set OXEN_CACHE to a larger disk."
}

# sources: the apt lines of the trixie root, which came from the host.
sources() {
	cat /etc/apt/sources.list
}

# debian_tree DIR PACKAGES [mmdebstrap option...]: a Debian tree of these packages.
debian_tree() {
	tree=$1 packages=$2
	shift 2
	sources | mmdebstrap --mode=root --variant=minbase --include="$packages" \
		--aptopt='APT::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' \
		--dpkgopt=force-unsafe-io \
		"$@" "$suite" "$tree" - >&2 ||
		fail "images: mmdebstrap could not make a Debian $suite tree: is the mirror reachable?"
}

# ext4_image TREE OUT MIB: an ext4 image of the tree.
ext4_image() {
	rm -f "$2"
	mke2fs -q -t ext4 -O ^has_journal -E root_owner=0:0,lazy_itable_init=1 -m 0 -L oxen \
		-d "$1" "$2" "$3M" >&2
}
