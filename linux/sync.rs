// SPDX-License-Identifier: GPL-2.0

//! Locks, counters and waiting that the `kernel` crate lacks.

pub mod counter;
pub mod irq_lock;
pub(crate) mod lock_class;
pub mod raw_lock;
pub mod rcu;
pub mod wait;
