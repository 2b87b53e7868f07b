// SPDX-License-Identifier: GPL-2.0

//! The interrupts that ports are.

use crate::{
    event::{
        Event,
        Handler,
        LocalHandler, //
    },
    port::PortState, //
};
use abi::event::mask::reason;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::{
    cpu::set::Cpumask,
    irq::port::Source, //
};

/// A port and who handles its events.
pub(crate) struct Bound<H> {
    pub(crate) state: Arc<PortState>,
    pub(crate) handler: Arc<H>,
}

impl<H: Handler> Source for Bound<H> {
    fn ack(&self) {
        self.state.ack();
    }

    fn mask(&self) {
        self.state.mask(reason::IRQ);
    }

    fn mask_ack(&self) {
        self.state.mask_ack();
    }

    fn unmask(&self) {
        self.state.unmask(reason::IRQ);
    }

    fn retrigger(&self) {
        self.state.poke();
    }

    fn retarget(&self, cpus: &Cpumask) -> Result {
        self.state.retarget(cpus)
    }

    fn handle(this: &Arc<Self>) {
        // The irq core may run the handler once for two events, and again without `ack` for one that came meanwhile.
        if this.state.begin() {
            this.handler.event(Event::new(this.state.clone()));
        }
    }
}

/// A port that never leaves its CPU, and who handles its events.
pub(crate) struct Local<H> {
    pub(crate) state: Arc<PortState>,
    pub(crate) handler: Arc<H>,
}

impl<H: LocalHandler> Source for Local<H> {
    // Only Xen and we fire such a port, so it is not masked meanwhile.
    fn ack(&self) {
        self.state.clear_pending();
    }

    fn mask(&self) {
        self.state.mask(reason::IRQ);
    }

    fn mask_ack(&self) {
        self.mask();
        self.ack();
    }

    fn unmask(&self) {
        self.state.unmask(reason::IRQ);
    }

    fn retrigger(&self) {
        self.state.poke();
    }

    fn retarget(&self, _cpus: &Cpumask) -> Result {
        Err(EINVAL)
    }

    fn handle(this: &Arc<Self>) {
        this.handler.event();
    }
}
