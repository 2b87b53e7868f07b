// SPDX-License-Identifier: GPL-2.0

//! The xenstore and the bus around a stop of the domain.
//!
//! Before it, no work of the bus is half-way and no message is: the work waits at a gate, and the thread that serves the
//! rings stands. Where the domain was restored it has another xenstore connection, in which the nodes are new. So those
//! who wait for an answer are told that the connection was lost, and begin again; the watches are made anew; and each
//! device with a driver is found again, before which nothing is written for it.

use kernel::{
    prelude::*,
    sync::Arc,
    time::Delta, //
};
use xen_core::resume::{
    Resume,
    Wake, //
};

use crate::{
    bus::scan::Scan,
    store::{
        client::Client,
        connection::Wire, //
    }, //
};

/// How long the work of the bus has to come to its end. The toolstack waits for 60 s.
const LIMIT: Delta = Delta::from_secs(20);

/// What stops and goes on with the domain.
pub(crate) struct Suspend {
    pub(crate) client: Arc<Client>,
    pub(crate) scan: Arc<Scan>,
    pub(crate) wire: Arc<Wire>,
}

impl Resume for Suspend {
    fn prepare(&self) -> Result {
        self.scan.gate().close(LIMIT).inspect_err(|_| {
            pr_err!(
                "a device does not come to rest within {} s; the domain does not stop\n",
                LIMIT.as_millis() / 1000
            );
        })?;
        let wake = || self.client.doorbell().ring();
        self.client.halt().stop(wake, LIMIT).inspect_err(|_| {
            pr_err!("the xenstore connection does not come to rest; the domain does not stop\n");
            self.scan.gate().open();
        })
    }

    fn late(&self, wake: Wake) {
        let renewed = wake == Wake::Resumed;
        if renewed {
            if let Err(error) = self.wire.renew() {
                pr_err!("there is no xenstore connection any more ({error:?}): devices stay without one\n");
            }
            // Before anything is read or written again.
            self.scan.resumed();
        }
        self.client.halt().go_on(renewed, LIMIT);
        self.scan.gate().open();
    }
}
