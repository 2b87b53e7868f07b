// SPDX-License-Identifier: GPL-2.0

//! Keeps the domain from stopping, as a layer of the given number that cannot stop now.
//!
//! Built only with `OXEN_TESTS=1`, never installed, and loaded by the end-to-end suite.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use xen_core::resume::{
    Registration,
    Resume,
    Stage, //
};

module! {
    type: ResumeTest,
    name: "resume_test",
    authors: ["Oxen developers"],
    description: "Test of a suspend that fails",
    license: "GPL",
}

linux::param!(
    STAGE: u32 = 0,
    "stage",
    c"stage",
    "Which layer it is: 0 the lowest, 5 the highest"
);

const STAGES: [Stage; 6] = [
    Stage::SharedInfo,
    Stage::GrantTable,
    Stage::Upcalls,
    Stage::Ports,
    Stage::Store,
    Stage::Devices,
];

struct Refuses;

impl Resume for Refuses {
    fn prepare(&self) -> Result {
        Err(EBUSY)
    }
}

struct ResumeTest {
    _registration: Registration,
}

impl kernel::Module for ResumeTest {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let stage = STAGES.get(STAGE.get() as usize).ok_or(EINVAL)?;
        Ok(Self {
            _registration: Registration::new(*stage, Arc::new(Refuses, GFP_KERNEL)?)?,
        })
    }
}
