#!/bin/sh
# SPDX-License-Identifier: GPL-2.0

# Once: dracut runs this again and again while it waits for the root disk.
if [ ! -e /run/oxen-checked ]; then
	: >/run/oxen-checked
	/usr/lib/oxen/boot check
fi
