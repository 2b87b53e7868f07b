// SPDX-License-Identifier: GPL-2.0

//! The pages of the FIFO layout: event words, which grow with the ports, and a control block per vCPU.

use abi::{
    event::fifo::{
        self,
        Queues,
        Words, //
    },
    shared::RawMemory,
    types::{
        Port,
        VcpuId, //
    },
};
use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Mutex,
        SetOnce, //
    },
};
use linux::cpu;
use xen_core::{
    frame::EventPage,
    hypercall::event as hypercall, //
};

/// How many words an upcall takes before it looks up.
const BUDGET: u32 = 1 << 16;

/// One CPU's end of its queues.
struct Control {
    page: SetOnce<EventPage>,
    /// The heads of the queues. Only the CPU itself uses them, with interrupts off.
    heads: [AtomicU32; fifo::QUEUES],
}

/// The pages that Xen and we have in common.
pub(crate) struct Fifo {
    words: KVec<SetOnce<EventPage>>,
    /// How many pages of words Xen knows.
    grown: Pin<KBox<Mutex<usize>>>,
    controls: KVec<Control>,
}

impl Words for Fifo {
    type Page = RawMemory;

    #[inline]
    fn page(&self, index: usize) -> Option<&RawMemory> {
        self.words.get(index)?.as_ref().map(EventPage::memory)
    }
}

impl Fifo {
    /// Prepares for the CPUs that may ever be online. Xen knows nothing of it yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let mut words = KVec::with_capacity(fifo::PAGES, GFP_KERNEL)?;
        for _ in 0..fifo::PAGES {
            words.push(SetOnce::new(), GFP_KERNEL)?;
        }
        let mut controls = KVec::new();
        for _ in 0..cpu::count() {
            let control = Control {
                page: SetOnce::new(),
                heads: [const { AtomicU32::new(0) }; fifo::QUEUES],
            };
            controls.push(control, GFP_KERNEL)?;
        }
        Ok(Self {
            words,
            grown: KBox::pin_init(new_mutex!(0, "oxen_evtchn_fifo"), GFP_KERNEL)?,
            controls,
        })
    }

    /// Gives Xen the control block of a CPU. The first call switches the domain to FIFO.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENOSYS` on a Xen without FIFO.
    pub(crate) fn add_cpu(&self, cpu: u32, vcpu: VcpuId) -> Result {
        let control = self.controls.get(cpu as usize).ok_or(EINVAL)?;
        if control.page.as_ref().is_some() {
            // Xen keeps it while the CPU is away.
            return Ok(());
        }
        let page = EventPage::new()?;
        hypercall::init_control(&page, 0, vcpu)?;
        control.page.populate(page);
        Ok(())
    }

    /// Makes sure that there is a word for `port`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENOSPC` if there can be none.
    pub(crate) fn grow(&self, port: Port) -> Result {
        let needed = (port.0 / fifo::WORDS_PER_PAGE) as usize;
        let mut grown = self.grown.lock();
        while *grown <= needed {
            let slot = self.words.get(*grown).ok_or(ENOSPC)?;
            let page = EventPage::new()?;
            fifo::prepare(page.memory());
            // A domain that is restored elsewhere is told of the pages that are in their places.
            cpu::held(|_| -> Result {
                hypercall::expand_array(&page)?;
                slot.populate(page);
                Ok(())
            })?;
            *grown = grown.wrapping_add(1);
        }
        Ok(())
    }

    /// Whether there is a word for `port`.
    pub(crate) fn has(&self, port: Port) -> bool {
        self.page((port.0 / fifo::WORDS_PER_PAGE) as usize)
            .is_some()
    }

    /// Gives Xen all pages anew, with every port masked and nothing queued. The machine stands still.
    ///
    /// # Errors
    ///
    /// What Xen says.
    pub(crate) fn restart(&self, vcpu: impl Fn(u32) -> Option<VcpuId>) -> Result {
        for (cpu, control) in (0..).zip(self.controls.iter()) {
            if let (Some(page), Some(vcpu)) = (control.page.as_ref(), vcpu(cpu)) {
                fifo::prepare_control(page.memory());
                for head in &control.heads {
                    head.store(0, Ordering::Relaxed);
                }
                hypercall::init_control(page, 0, vcpu)?;
            }
        }
        for page in self.words.iter().map_while(SetOnce::as_ref) {
            fifo::prepare(page.memory());
            hypercall::expand_array(page)?;
        }
        Ok(())
    }

    /// Calls `handle` for each port in the queues of `cpu`, which is the current one.
    pub(crate) fn scan(&self, cpu: u32, mut handle: impl FnMut(Port)) {
        let Some(control) = self.controls.get(cpu as usize) else {
            return;
        };
        let Some(page) = control.page.as_ref() else {
            return;
        };
        let heads = control
            .heads
            .each_ref()
            .map(|head| head.load(Ordering::Relaxed));
        let mut queues = Queues::from_heads(heads);
        // Xen links only as many words as there are ports, so a second round is already rare.
        for _ in 0..fifo::PORTS / BUDGET {
            if queues.scan(self, page.memory(), BUDGET, &mut handle) {
                break;
            }
        }
        for (head, now) in control.heads.iter().zip(queues.heads()) {
            head.store(now, Ordering::Relaxed);
        }
    }
}
