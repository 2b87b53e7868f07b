// SPDX-License-Identifier: GPL-2.0

//! Slots become packets.

use super::{
    Broken,
    Outlet,
    RxRing, //
};
use crate::counters::{
    Counter,
    Counters, //
};
use abi::net::rx::{
    Part,
    Progress, //
};
use kernel::alloc::kvec::PushError;
use linux::net::napi::PollContext;

/// What a round of receiving did.
pub(crate) struct Received {
    /// Packets, good and bad.
    pub(crate) packets: usize,
    /// Slots that came back.
    pub(crate) slots: usize,
    /// Whether memory was short.
    pub(crate) short: bool,
}

impl RxRing {
    /// Receives packets, at most as many as the poll's budget, and lends new pages. What a program wants to be sent goes out
    /// by `send`.
    ///
    /// # Errors
    ///
    /// [`Broken`] if the backend broke the rules; the ring must not be used any more.
    pub(crate) fn receive(
        &mut self,
        context: &PollContext<'_>,
        send: &mut Outlet<'_>,
        counters: &Counters,
    ) -> Result<Received, Broken> {
        let mut received = Received {
            packets: 0,
            slots: 0,
            short: false,
        };
        let result = loop {
            if let Err(broken) = self.round(context, send, &mut received, counters) {
                break Err(broken);
            }
            received.short = self.refill(counters);
            if received.packets >= context.budget() {
                break Ok(());
            }
            match self.ring.arm(1) {
                Ok(true) => continue,
                armed => break armed.map(drop).map_err(Broken::Ring),
            }
        };
        if core::mem::take(&mut self.redirected) {
            // Within the poll, and while the pages that come back at once find the ring locked.
            context.flush_redirected();
        }
        counters.add(Counter::RxSlots, received.slots);
        result.map(|()| received)
    }

    /// Receives what there is, within the budget.
    fn round(
        &mut self,
        context: &PollContext<'_>,
        send: &mut Outlet<'_>,
        received: &mut Received,
        counters: &Counters,
    ) -> Result<(), Broken> {
        // Pages lent during this round are shown to the backend after it, so it ends after one turn of the ring.
        while received.packets < context.budget() {
            let Some(raw) = self.ring.take().map_err(Broken::Ring)? else {
                if let Some(error) = self.assembler.cut_off() {
                    received.packets = received.packets.saturating_add(1);
                    self.malformed(error, counters);
                }
                break;
            };
            received.slots = received.slots.saturating_add(1);
            let buffer = self.posted.pop().ok_or(Broken::NoBuffer)?;
            let (part, progress) = self.assembler.slot(raw);
            match part {
                Part::Unused => self.post(buffer, counters),
                Part::Data(fragment) => {
                    // There is room for as many as the assembler lets through.
                    let full = self.parts.push_within_capacity((buffer, fragment)).err();
                    if let Some(PushError((buffer, _))) = full {
                        drop(self.take_back(buffer, counters));
                    }
                }
            }
            match progress {
                Progress::More => continue,
                Progress::End(Ok(packet)) => self.deliver(&packet, context, send, counters),
                Progress::End(Err(error)) => self.malformed(error, counters),
            }
            received.packets = received.packets.saturating_add(1);
        }
        Ok(())
    }
}
