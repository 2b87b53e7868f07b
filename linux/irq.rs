// SPDX-License-Identifier: GPL-2.0

//! Interrupts that a driver makes itself.
//!
//! [`port`] gives an interrupt number to something that fires in software; [`vector`] gives every CPU an interrupt of
//! its own with a vector on the local APIC; [`line`](mod@line) requests an interrupt that exists already.
//!
//! C headers: `include/linux/irq.h`, `include/linux/irqdomain.h`, `include/linux/interrupt.h`

pub mod line;
pub mod port;
pub mod vector;

use crate::bindings;

/// Hands an event to the handler of interrupt `irq`. Returns whether there is such an interrupt.
///
/// Only from a hard-irq handler.
pub fn dispatch(irq: u32) -> bool {
    // SAFETY: The function finds out itself whether the number is one, and whether it may run here.
    unsafe { bindings::generic_handle_irq(irq) == 0 }
}
