// SPDX-License-Identifier: GPL-2.0

//! Back to the state of a fresh domain.
//!
//! Only a reset leaves the FIFO layout, and it closes every port, those of the store and the console too, which the toolstack
//! has made and cannot make again. So they are bound anew to the same remote ports, and the parameters that
//! tell where they are follow.

use abi::{
    hypercall::event::STATUS_INTERDOMAIN,
    types::{
        DomainId,
        Port, //
    },
};
use kernel::prelude::*;
use xen_core::{
    hypercall::{
        event,
        hvm, //
    },
    Param,
};

/// Where a port of the toolstack leads to.
struct Line {
    name: &'static str,
    param: Param,
    remote: DomainId,
    remote_port: Port,
}

impl Line {
    /// Looks the port up that `param` names; `None` when it is not connected.
    fn find(name: &'static str, param: Param) -> Option<Self> {
        let port = u32::try_from(hvm::param(param).ok()?).ok()?;
        if port == 0 {
            return None;
        }
        let status = event::status(Port(port)).ok()?;
        if status.status != STATUS_INTERDOMAIN {
            pr_warn!("the {name} port {port} is not connected and will not be after a reload.\n");
            return None;
        }
        Some(Self {
            name,
            param,
            remote: status.remote,
            remote_port: status.remote_port,
        })
    }

    fn restore(&self) {
        let restored = event::bind_interdomain(self.remote, self.remote_port)
            .and_then(|port| hvm::set_param(self.param, port.0.into()));
        if let Err(error) = restored {
            pr_err!(
                "the {} port is lost ({error:?}); reboot to get it back.\n",
                self.name
            );
        }
    }
}

/// Closes all ports but those of the toolstack, and goes back to the 2-level layout.
///
/// # Errors
///
/// What Xen says; nothing has changed then.
pub(crate) fn reset() -> Result {
    let lines = [
        Line::find("xenstore", Param::StoreEvtchn),
        Line::find("console", Param::ConsoleEvtchn),
    ];
    event::reset()?;
    lines.iter().flatten().for_each(Line::restore);
    Ok(())
}
