// SPDX-License-Identifier: GPL-2.0

//! One firing of a port, from the upcall until its end.

use crate::port::PortState;
use kernel::sync::Arc;

/// What is called when a port fires.
pub trait Handler: Send + Sync + 'static {
    /// The port has fired. In hard-irq context; does not sleep.
    ///
    /// The port stays silent while `event` lives. A handler that hands the work on hands the event on with it.
    fn event(&self, event: Event);
}

/// What is called when a port that never leaves its CPU fires: a timer of Xen's, or another CPU.
pub trait LocalHandler: Send + Sync + 'static {
    /// The port has fired. In hard-irq context on its CPU; does not sleep.
    fn event(&self);
}

/// A port that has fired and stays masked until this value is dropped, in any context.
///
/// Events that turn out to have brought nothing are ended by [`spurious`](Self::spurious): the more of them come in a row, the
/// longer the port stays masked, so that a peer that floods it starves nobody.
#[must_use = "the port is unmasked when the event is dropped"]
pub struct Event {
    port: Arc<PortState>,
    spurious: bool,
    asked_by: Option<u32>,
}

impl Event {
    pub(crate) fn new(port: Arc<PortState>) -> Self {
        Self {
            port,
            spurious: false,
            asked_by: None,
        }
    }

    /// What the event brought was asked for by CPU `cpu`. When two events in a row say so, the next ones come to that CPU, if
    /// the interrupt's affinity has it: nothing has to be sent on then.
    pub fn asked_by(&mut self, cpu: u32) {
        self.asked_by = Some(cpu);
    }

    /// Ends an event that brought nothing to do.
    pub fn spurious(mut self) {
        self.spurious = true;
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.port.end(self.spurious, self.asked_by);
    }
}
