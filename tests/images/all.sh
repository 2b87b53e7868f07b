#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# all.sh [RELEASE]: what the companion is made of besides programs of ours, so that it can be made beside them; without
# RELEASE all but the kernel.

. "$(dirname "$0")/lib.sh"

[ $# -eq 0 ] || "$images/kernel.sh" "$1" >/dev/null
for part in xen dom0 domu; do
	"$images/$part.sh" >/dev/null
done
