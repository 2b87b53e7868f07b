#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# qemu.sh: Debian's QEMU, in which an interrupt asks the CPU to look at its interrupts and no more. Prints its path.
#
# QEMU 11.1.3 asks it to leave its loop as well: tcg_kick_vcpu_thread sets exit_request, although all who want that call
# cpu_exit, which sets it too. Where that comes after a VMRUN that injected an interrupt, the loop takes the vector that
# helper_vmrun left in exception_index for an exception, and the guest is interrupted twice: see ../companion/src/lost.rs.
# A QEMU without that store is taken as it is.

. "$(dirname "$0")/lib.sh"

qemu=$(command -v qemu-system-x86_64) || fail "qemu: there is no qemu-system-x86_64 in the trixie root."
out=$cache/qemu/$(key "$0" "$qemu")
if [ ! -d "$out" ]; then
	need_space 100
	mkdir -p "$cache/qemu"
	tmp=$(mktemp -d "$cache/qemu/.new.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	mkdir "$tmp/bin"
	# endbr64; movb $1, exit_request(%rdi); movw $-1, icount_decr.high(%rdi); xor %edi, %edi; ret
	LC_ALL=C perl -0777 -pe \
		's/(\xf3\x0f\x1e\xfa)\xc6\x87..\0\0\x01(\x66\xc7\x87..\0\0\xff\xff\x31\xff\xc3)/$1\x0f\x1f\x80\0\0\0\0$2/s' \
		"$qemu" >"$tmp/bin/qemu-system-x86_64"
	# It looks for its firmware beside the folder it is in.
	ln -s /usr/share /usr/lib "$tmp"
	chmod 755 "$tmp" "$tmp/bin/qemu-system-x86_64"
	mv "$tmp" "$out"
fi
echo "$out/bin/qemu-system-x86_64"
