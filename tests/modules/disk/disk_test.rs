// SPDX-License-Identifier: GPL-2.0

//! Has the name of a disk, so that the block layer refuses whoever wants it too.
//!
//! Built only with `OXEN_TESTS=1`, never installed, and loaded by the end-to-end suite.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::block::{
    Disk,
    HwQueue,
    Limits,
    Name,
    Operations,
    Rejected,
    Request,
    Status, //
};

linux::own_module!();

module! {
    type: DiskTest,
    name: "disk_test",
    authors: ["Oxen developers"],
    description: "Test of a disk whose name is taken",
    license: "GPL",
}

/// A disk without any data.
struct Empty;

impl Operations for Empty {
    type OwnerModule = crate::Own;
    type Data = ();
    type Pdu = ();

    fn new_pdu(_data: &()) -> Result<()> {
        Ok(())
    }

    fn queue_rq(
        _data: &(),
        _queue: HwQueue<'_>,
        request: Request<Self>,
        _last: bool,
    ) -> Result<(), Rejected<Self>> {
        Err(request.reject(Status::IoError))
    }

    fn commit_rqs(_data: &(), _queue: HwQueue<'_>) {}

    fn timed_out(_data: &(), _queue: u32, _tag: u32) {}
}

struct DiskTest {
    _disk: Disk<Empty>,
}

impl kernel::Module for DiskTest {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let name = Name {
            name: fmt!("xvdg"),
            major: 0,
            first_minor: 0,
            minors: 0,
            partitions: false,
            removable: false,
        };
        let disk = Disk::new(Arc::new((), GFP_KERNEL)?, 1, 1, &Limits::default(), name)?;
        disk.add(None)?;
        Ok(Self { _disk: disk })
    }
}
