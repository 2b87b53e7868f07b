#!/bin/sh
# SPDX-License-Identifier: GPL-2.0

/usr/lib/oxen/boot load
