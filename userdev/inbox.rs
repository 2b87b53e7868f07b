// SPDX-License-Identifier: GPL-2.0

//! The ports of a file that have fired and were not read.

use abi::{
    types::Port,
    userdev::fired::Queue, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};
use linux::{
    new_spinlock_irq,
    sync::{
        irq_lock::SpinLockIrq,
        wait::{
            Sleep,
            WaitQueue,
            Woken, //
        },
    },
};

/// Most ports of a file: as many as a guest has by xl's default.
pub(crate) const PORTS: usize = 1023;

/// The ports of a file that have fired and were not read, and the programs that wait for them.
#[pin_data]
pub(crate) struct Inbox {
    wait: Arc<WaitQueue>,
    #[pin]
    queue: SpinLockIrq<Queue<KVec<u32>>>,
    /// Set while the file has ports of an earlier life of the domain.
    has_lost: Atomic<bool>,
}

impl Inbox {
    pub(crate) fn new(wait: Arc<WaitQueue>) -> Result<Arc<Self>> {
        let storage = KVec::from_elem(0, PORTS, GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                wait,
                queue <- new_spinlock_irq!(Queue::new(storage), "oxen_userdev_inbox"),
                has_lost: Atomic::new(false),
            }),
            GFP_KERNEL,
        )
    }

    /// A port has fired. For any context.
    pub(crate) fn tell(&self, port: Port) {
        self.queue.lock().push(port);
        self.wait.wake_all();
    }

    /// Ports of the file were lost as the domain was restored elsewhere, or none of these is left.
    pub(crate) fn set_lost(&self, has_lost: bool) {
        self.has_lost.store(has_lost, Relaxed);
        if has_lost {
            self.wait.wake_all();
        }
    }

    /// Takes the first port.
    ///
    /// # Errors
    ///
    /// `EIO` when ports were lost; `EFBIG` when some were forgotten, since the program wrote back what it had not read.
    pub(crate) fn take(&self) -> Result<Option<Port>> {
        if self.has_lost.load(Relaxed) {
            return Err(EIO);
        }
        let mut queue = self.queue.lock();
        if queue.has_overflowed() {
            return Err(EFBIG);
        }
        Ok(queue.pop())
    }

    /// A port is closed.
    pub(crate) fn forget(&self, port: Port) {
        self.queue.lock().remove(port);
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.queue.lock().clear();
    }

    /// Tells whether [`take`](Self::take) gives a port or an error.
    pub(crate) fn is_readable(&self) -> bool {
        self.has_failed() || !self.queue.lock().is_empty()
    }

    /// Tells whether it gives an error.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_lost.load(Relaxed) || self.queue.lock().has_overflowed()
    }

    /// Waits until it gives either.
    pub(crate) fn wait(&self, sleep: Sleep) -> Woken {
        self.wait.wait(sleep, None, || self.is_readable())
    }
}
