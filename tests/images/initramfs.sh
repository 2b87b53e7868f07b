#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# initramfs.sh dom0|domu RELEASE AGENT [FOLDER]: busybox, kmod, the agent, our init and the modules of Debian's
# kernel that are needed before a root disk is there. Prints its path. With FOLDER the kernel is the one in
# there, and modules that it lacks are left out.

. "$(dirname "$0")/lib.sh"

kind=${1:?usage: initramfs.sh dom0|domu RELEASE AGENT [FOLDER]}
release=${2:?}
agent=${3:?}
folder=${4-}
kernel=${folder:-$("$images/kernel.sh" "$release")}
modules=$(sed 's/#.*//' "$images/$kind/modules")
out=$cache/images/initramfs-$kind-$(
	echo "$release $folder" | key "$images/initramfs.sh" "$images/$kind"/* "$agent" -
).cpio
if [ ! -f "$out" ]; then
	need_space 300
	say "$kind initramfs: putting it together"
	mkdir -p "$cache/images"
	tmp=$(mktemp -d "$cache/images/.initramfs.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	root=$tmp/root
	mkdir -p "$root/bin" "$root/sbin" "$root/dev" "$root/proc" "$root/sys" "$root/run" "$root/tmp" \
		"$root/root" "$root/newroot" "$root/companion" "$root/lib/modules/$release"
	install -m 755 "$(command -v busybox)" "$root/bin/busybox"
	for applet in $(busybox --list | grep -v '^busybox$'); do
		ln -s busybox "$root/bin/$applet"
	done
	# Debian's own module tools, by their full path: busybox's remove nothing that depends on something in use, and
	# its shell prefers them.
	for file in $(ldd "$(command -v kmod)" | grep -o '/[^ ]*'); do
		mkdir -p "$root/$(dirname "$file")"
		cp -L "$file" "$root/$file"
	done
	install -m 755 "$(command -v kmod)" "$root/bin/kmod"
	for tool in depmod insmod lsmod modinfo modprobe rmmod; do
		ln -s ../bin/kmod "$root/sbin/$tool"
	done
	install -m 755 "$images/$kind/initramfs-init" "$root/init"
	for file in startup block vif; do
		[ ! -e "$images/$kind/$file" ] || install -m 755 "$images/$kind/$file" "$root/companion/$file"
	done
	install -m 755 "$agent" "$root/companion/agent"
	: >"$root/companion/modules"
	for module in $modules; do
		if ! modprobe -q -d "$kernel" -S "$release" --show-depends "$module" >"$tmp/depends"; then
			[ -n "$folder" ] || fail "initramfs: kernel $release has no module $module."
			continue
		fi
		sed -n 's/^insmod \([^ ]*\).*/\1/p' "$tmp/depends" | while read -r file; do
			name=${file#"$kernel"}
			target=$root/${name%.xz}
			[ ! -e "$target" ] || continue
			mkdir -p "$(dirname "$target")"
			case $file in
			*.xz) xz -dc "$file" >"$target" ;;
			*) cp "$file" "$target" ;;
			esac
		done
	done
	echo "$modules" >"$root/companion/modules"
	cp "$kernel/lib/modules/$release/modules.builtin" "$kernel/lib/modules/$release/modules.builtin.modinfo" \
		"$kernel/lib/modules/$release/modules.order" "$root/lib/modules/$release/"
	depmod -b "$root" "$release"
	(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) >"$tmp/cpio"
	mv "$tmp/cpio" "$out"
fi
echo "$out"
