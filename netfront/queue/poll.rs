// SPDX-License-Identifier: GPL-2.0

//! The poll of a queue.

use super::Queue;
use crate::counters::Counter;
use kernel::sync::atomic::Relaxed;
use linux::net::napi::{
    Napi,
    Poll,
    PollContext,
    Polled, //
};

/// Milliseconds after which memory is asked for again.
const RETRY_MS: u32 = 100;

impl Poll for Queue {
    fn poll(napi: &Napi<Self>, context: &PollContext<'_>) -> Polled {
        napi.counters.add(Counter::Polls, 1);
        if napi.broken.load(Relaxed) {
            return Polled::Done(0);
        }
        Self::poll_tx(napi, context);
        // What comes for an interface that is down waits until it is up.
        if context.budget() == 0 || !context.running() || napi.broken.load(Relaxed) {
            return Polled::Done(0);
        }
        let mut sent = false;
        let received = match &mut *napi.rx.lock() {
            Some(ring) => {
                let mut send = |frame| {
                    let this = napi.send_frame(context.tx_queue(), frame);
                    sent |= this;
                    this
                };
                ring.receive(context, &mut send, &napi.counters)
            }
            None => return Polled::Done(0),
        };
        if sent {
            napi.flush_frames(context.tx_queue());
        }
        let received = match received {
            Ok(received) => received,
            Err(broken) => {
                napi.fail("receive", &broken);
                return Polled::Done(0);
            }
        };
        if received.slots != 0 {
            napi.merit.found();
        }
        if received.short {
            napi.schedule_later(RETRY_MS);
        }
        if received.packets >= context.budget() {
            Polled::Again
        } else {
            Polled::Done(received.packets)
        }
    }

    fn completed(napi: &Napi<Self>) {
        if napi.broken.load(Relaxed) {
            // Its port stays masked until it is closed.
            return;
        }
        // Dropping an event unmasks its port.
        let held = napi.event.lock().take();
        if let Some(event) = held {
            if napi.merit.ends() {
                napi.counters.add(Counter::Spurious, 1);
                event.spurious();
            }
        }
    }
}
