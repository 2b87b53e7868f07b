#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# domu.sh: the root disk of the guest: a plain Debian with a login. Prints its path.

. "$(dirname "$0")/lib.sh"

packages=systemd,sysvinit-core,sysv-rc,initscripts,login,util-linux,util-linux-extra,mount,kmod,udev,procps,psmisc
packages=$packages,iproute2,iputils-ping,netbase,nftables,wireguard-tools,ethtool,fio,iperf3,socat,openssl,xenstore-utils,e2fsprogs,xfsprogs,fdisk
packages=$packages,busybox-static
out=$cache/images/domu-$(key "$images/domu.sh" "$images/lib.sh" "$images"/domu/*).ext4
if [ ! -f "$out" ]; then
	need_space 2500
	say "guest image: Debian $suite with fio, ethtool, xenstore-utils (three minutes or so)"
	mkdir -p "$cache/images"
	tmp=$(mktemp -d "$cache/images/.domu.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	debian_tree "$tmp/root" "$packages"
	install -m 644 "$images/domu/inittab" "$tmp/root/etc/inittab"
	install -m 755 "$images/domu/rc.oxen" "$tmp/root/etc/rc.oxen"
	install -D -m 755 "$images/domu/console-login" "$tmp/root/usr/local/sbin/console-login"
	install -m 644 "$images/domu/agent.service" "$tmp/root/etc/systemd/system/agent.service"
	mkdir -p "$tmp/root/etc/systemd/system/multi-user.target.wants" "$tmp/root/lib/modules"
	ln -s ../agent.service "$tmp/root/etc/systemd/system/multi-user.target.wants/agent.service"
	echo oxen >"$tmp/root/etc/hostname"
	echo '/dev/xvda / ext4 defaults,noatime 0 1' >"$tmp/root/etc/fstab"
	# A login for people and for the console test, in a guest that nothing outside can reach.
	echo 'root:oxen' | chroot "$tmp/root" chpasswd
	rm -rf "$tmp/root/var/cache/apt" "$tmp/root/var/lib/apt/lists"
	ext4_image "$tmp/root" "$tmp/image" 1500
	mv "$tmp/image" "$out"
fi
echo "$out"
