# SPDX-License-Identifier: GPL-2.0
#
# What the scripts share: where things lie, how they speak. Sourced, never run.

set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=$(realpath -m "${OXEN_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/oxen}")
# Another suite's root is there to build the modules for that suite's kernels, and has nothing else.
suite=${OXEN_SUITE:-trixie}

say() {
	printf 'oxen: %s\n' "$*" >&2
}

die() {
	say "$*"
	exit 1
}

# hash: sixteen hex digits over stdin.
hash() {
	sha256sum | cut -c1-16
}

inside_root() {
	[ -e /etc/oxen-root ]
}

need_user() {
	[ "$(id -u)" -eq 0 ] ||
		die "this needs root (for a chroot with Debian's tools in it): run it as root, for example with sudo."
}

# root_packages: what the root has.
root_packages() {
	local rest='s/#.*//'
	[ "$suite" = trixie ] || rest='/^# Of trixie only/,$d; s/#.*//'
	sed "$rest" "$top/scripts/root-packages" | tr -s ' \t' '\n' | sort -u
}

# root_key: the root is good for whoever has this package list.
root_key() {
	{ echo "$suite 1"; root_packages; } | hash
}

root_dir() {
	echo "$cache/root/$(root_key)"
}

# need_space MIB WHAT
need_space() {
	local dir=$cache have
	while [ ! -d "$dir" ]; do dir=$(dirname "$dir"); done
	have=$(df -Pm "$dir" | awk 'NR == 2 { print $4 }')
	[ "$have" -ge "$1" ] ||
		die "$cache has $have MiB free and $2 needs $1 MiB: make room, or set OXEN_CACHE to a folder on a larger disk."
}

# with_life LOG CMD...: run CMD with its output in LOG; say now and then how far it is.
with_life() {
	local log=$1 status=0
	shift
	mkdir -p "$(dirname "$log")"
	: >"$log"
	life "$log" 9>&- &
	local ticker=$!
	# shellcheck disable=SC2064
	trap "kill $ticker 2>/dev/null || true" EXIT
	"$@" >>"$log" 2>&1 9>&- || status=$?
	trap - EXIT
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	return "$status"
}

life() {
	local seconds=0 last
	trap 'kill "$!" 2>/dev/null; exit' TERM
	while :; do
		sleep 20 &
		wait $! || exit
		kill -0 $$ 2>/dev/null || exit
		seconds=$((seconds + 20))
		last=$(tail -c 300 "$1" | tr '\r' '\n' | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c1-90)
		printf 'oxen:   %3d s: %s: %s\n' "$seconds" "$(basename "$1" .log)" "$last" >&2
	done
}

# failed WHAT LOG: one sentence for the usual reasons, else the end of the log.
failed() {
	local free
	free=$(df -Pm "$cache" | awk 'NR == 2 { print $4 }')
	if [ "$free" -lt 50 ] || grep -qi 'no space left on device' "$2"; then
		die "$1 failed because the disk of $cache is full ($free MiB free): make room, or set OXEN_CACHE to a folder on a larger disk."
	fi
	if grep -qiE 'could not resolve|temporary failure resolving|could not connect|connection (refused|timed out|failed)|network is unreachable|unable to connect|spurious network error' "$2"; then
		die "$1 failed because the package archive cannot be reached: check the network and apt's proxy settings, then run make again ($2 has the details)."
	fi
	tail -n 25 "$2" >&2
	die "$1 failed: the end of its log is above, all of it in $2."
}
