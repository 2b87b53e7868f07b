// SPDX-License-Identifier: GPL-2.0

//! What a hostile backend must not touch.

use anyhow::Result;
use companion::Domain;
use e2e::check;

/// The interface on Linux's backend, and the guest's address on it.
pub(super) const MAC: &str = "00:16:3e:77:00:03";
pub(super) const GUEST: &str = "10.77.0.4";

/// Memory, disk and network are well, and so is the kernel.
pub(super) fn stand_by(guest: &Domain) -> Result<()> {
    let log = guest.sh(
        "echo 3 >/proc/sys/vm/drop_caches; sha256sum </tmp/data | cmp - /tmp/sum && \
         head -c 1048576 /dev/xvdb | sha256sum | cmp - /tmp/sum && ping -c 1 -W 20 10.77.0.1 >/dev/null && dmesg",
    )?;
    check::log_is_clean(&log)
}
