#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# disk.sh RELEASE AGENT: the disk of a machine that Debian was installed on: a partition table, GRUB for a BIOS, and a root
# file system, with the packages of another kernel in /srv. Prints its path.

. "$(dirname "$0")/lib.sh"

release=${1:?usage: disk.sh RELEASE AGENT}
agent=${2:?}
other=${release%-amd64}-cloud-amd64
base=$("$images/installed.sh" "$release")
out=$cache/images/disk-$release-$(echo "$base" | key "$images/disk.sh" "$images/lib.sh" "$images"/installed/* "$agent" -).raw
if [ ! -f "$out" ]; then
	need_space 5000
	say "disk of an installed Debian: GRUB, and the packages of kernel $other (three minutes or so)"
	tmp=$(mktemp -d "$cache/images/.disk.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	root=$tmp/root
	cp -a --reflink=auto "$base" "$root"
	install -m 755 "$agent" "$root/usr/local/sbin/agent"
	install -m 644 "$images/installed/agent.service" "$root/etc/systemd/system/agent.service"
	install -m 644 "$images/installed/agent.rules" "$root/etc/udev/rules.d/90-agent.rules"
	install -m 644 "$images/installed/grub" "$root/etc/default/grub"
	install -m 644 "$images/installed/interfaces" "$root/etc/network/interfaces"
	uuid=$(sh "$images/installed/grub-probe" fs_uuid)
	echo "UUID=$uuid / ext4 errors=remount-ro 0 1" >"$root/etc/fstab"
	echo installed >"$root/etc/hostname"
	echo '127.0.0.1 localhost installed' >"$root/etc/hosts"

	mkdir "$root/srv/kernel"
	names=linux-image-$other
	for part in base binary modules; do
		! apt-cache show "linux-$part-$other" >/dev/null 2>&1 || names="$names linux-$part-$other"
	done
	# shellcheck disable=SC2086
	(cd "$root/srv/kernel" && apt-get -q -o APT::Sandbox::User=root download $names) >&2 ||
		fail "disk: Debian has no package for kernel $other (or is not reachable)."

	# What grub-install does on a disk that is there.
	grub=$root/boot/grub
	mkdir -p "$grub/i386-pc"
	cp "$root"/usr/lib/grub/i386-pc/*.mod "$root"/usr/lib/grub/i386-pc/*.lst "$grub/i386-pc"
	mv "$root/usr/sbin/grub-probe" "$tmp/grub-probe"
	install -m 755 "$images/installed/grub-probe" "$root/usr/sbin/grub-probe"
	# The mounts end with the shell, so that nothing of this machine is beneath what is removed.
	unshare --mount --propagation unchanged sh -ec 'for dir in dev proc sys; do mount --rbind "/$dir" "$1/$dir"; done
		exec chroot "$1" sh -ec "$2"' sh "$root" "
			[ -e /boot/initrd.img-$release ] || update-initramfs -c -k $release
			grub-editenv /boot/grub/grubenv create
			grub-mkimage -O i386-pc -o /boot/grub/i386-pc/core.img -p '(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2
			update-grub" >&2
	mv "$tmp/grub-probe" "$root/usr/sbin/grub-probe"
	cp "$grub/i386-pc/core.img" "$root/usr/lib/grub/i386-pc/boot.img" "$tmp"
	rm -f "$root/etc/machine-id"
	: >"$root/etc/machine-id"

	truncate -s 4G "$root/disk"
	printf 'label: dos\n2048,,L,*\n' | chroot "$root" sfdisk -q /disk >&2
	mv "$root/disk" "$tmp/disk"
	mke2fs -q -t ext4 -U "$uuid" -E offset=1048576,lazy_itable_init=1 -d "$root" "$tmp/disk" 4095M >&2
	# The boot sector has its program before the partition table, and loads what follows it.
	dd if="$tmp/boot.img" of="$tmp/disk" bs=440 count=1 conv=notrunc status=none
	dd if="$tmp/core.img" of="$tmp/disk" bs=512 seek=1 conv=notrunc status=none
	mv "$tmp/disk" "$out"
fi
echo "$out"
