// SPDX-License-Identifier: GPL-2.0

//! Mask, unmask and the late end of an event, against a hypervisor that makes the port pending meanwhile; and a port that two
//! move at once.

use abi::{
    event::{
        fifo,
        fifo::Words,
        spread::{self, Candidate, Place},
        two_level::TwoLevel,
        vcpu_info,
    },
    shared::Memory,
    types::{Port, VcpuId},
};
use host_tests::model::Cells;
use loom::{
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex,
    },
    thread,
};

const PORT: Port = Port(3);
const PENDING: usize = 2048;
const MASK: usize = 2560;

/// The shared page as far as port 3 on vCPU 0 needs it.
fn shared_info() -> Arc<Cells> {
    Arc::new(
        Cells::new(4096)
            .byte(0, 0)
            .long(8, 0)
            .long(PENDING, 0)
            .long(MASK, 0),
    )
}

/// Xen raises the port; returns whether it raised an upcall.
fn raise(page: &Cells) -> bool {
    if page.fetch_or_u64(PENDING, 8) & 8 != 0 || page.load_u64(MASK) & 8 != 0 {
        return false;
    }
    page.fetch_or_u64(8, 1);
    page.write(0, &[1]);
    true
}

/// The port is masked, its event handled and ended late, while Xen raises it again: either we are told that it is
/// pending, or Xen found it unmasked.
#[test]
fn two_level_unmask_loses_no_wake_up() {
    super::check(|| {
        let page = shared_info();
        let words = TwoLevel::new(page.clone());
        words.mask(PORT);
        let xen = thread::spawn(move || raise(&page));
        let ask = words.unmask(PORT);
        let upcall = xen.join().unwrap();
        assert!(ask || upcall, "the event is pending and nobody will look");
    });
}

/// Handling: the pending bit goes down before the work is looked at, so work that came with an event is seen, or the
/// event is pending again.
#[test]
fn work_that_comes_with_an_event_is_seen() {
    super::check(|| {
        let page = shared_info();
        let work = Arc::new(AtomicBool::new(false));
        let words = TwoLevel::new(page.clone());
        words.mask(PORT);
        words.set_pending(PORT);
        let (their_page, their_work) = (page.clone(), work.clone());
        let xen = thread::spawn(move || {
            their_work.store(true, Ordering::Relaxed);
            loom::sync::atomic::fence(Ordering::SeqCst);
            raise(&their_page);
        });
        words.clear_pending(PORT);
        let seen = work.load(Ordering::Relaxed);
        xen.join().unwrap();
        assert!(
            seen || page.load_u64(PENDING) & 8 != 0,
            "work without an event"
        );
    });
}

/// The flag of the upcall goes down before the words are looked at: an event between both is seen by this look, or the
/// flag is up again.
#[test]
fn an_event_during_the_upcall_is_not_lost() {
    super::check(|| {
        let page = shared_info();
        page.write(0, &[1]);
        let theirs = page.clone();
        let xen = thread::spawn(move || {
            theirs.fetch_or_u64(PENDING, 8);
            theirs.fetch_or_u64(8, 1);
            theirs.write(0, &[1]);
        });
        let words = TwoLevel::new(page.clone());
        assert!(vcpu_info::take_upcall(&page, VcpuId(0)));
        let mut seen = false;
        words.scan(VcpuId(0), |port| seen |= port == PORT);
        xen.join().unwrap();
        let mut flag = [0];
        page.read(0, &mut flag);
        assert!(seen || flag == [1], "the event waits for the next one");
    });
}

struct OnePage(Arc<Cells>);

impl Words for OnePage {
    type Page = Cells;
    fn page(&self, index: usize) -> Option<&Cells> {
        (index == 0).then_some(&*self.0)
    }
}

/// The same for FIFO: pending at the unmask, or found unmasked by Xen.
#[test]
fn fifo_unmask_loses_no_wake_up() {
    super::check(|| {
        let page = Arc::new(Cells::new(4096).word(12, fifo::MASKED));
        let words = OnePage(page.clone());
        let xen = thread::spawn(move || {
            page.fetch_or_u32(12, fifo::PENDING);
            // Links it if it is not masked.
            page.load_u32(12) & fifo::MASKED == 0
        });
        let ask = words.unmask(PORT);
        assert!(
            ask | xen.join().unwrap(),
            "the event is pending and in no queue"
        );
    });
}

/// Xen links a port while a scan takes another one: the ready bit it sets is not lost.
#[test]
fn fifo_ready_bit_is_not_lost() {
    super::check(|| {
        let page = Arc::new(Cells::new(4096).word(12, 0));
        let control = Arc::new(Cells::new(4096).word(0, 0).word(8, 0));
        let (their_page, theirs) = (page.clone(), control.clone());
        let xen = thread::spawn(move || {
            their_page.fetch_or_u32(12, fifo::PENDING | fifo::LINKED);
            theirs.store_u32(8, 3);
            theirs.fetch_or_u32(0, 1);
        });
        let words = OnePage(page);
        let mut queues = fifo::Queues::new();
        let mut seen = 0;
        let all = queues.scan(&words, &control, 4, |_| seen += 1);
        xen.join().unwrap();
        let ready = control.load_u32(0);
        assert!(all);
        assert!(seen == 1 || ready == 1, "seen {seen}, ready {ready}");
    });
}

/// The irq core moves a port while the CPU that it likes best goes: the port is not left there, and what Xen was told last is
/// what the irq core believes.
#[test]
fn no_port_stays_on_a_cpu_that_goes() {
    super::check(|| {
        let ready = Arc::new(AtomicBool::new(true));
        // Under the port's lock: where it is, and what Xen knows.
        let port = Arc::new(Mutex::new((Place::new(0), 0)));
        let choose = |ready: &AtomicBool| {
            let candidate = |cpu, is_ready, ports| Candidate {
                cpu,
                is_ready,
                ports,
            };
            let leaving = candidate(1, ready.load(Ordering::SeqCst), 0);
            spread::choose([candidate(0, true, 9), leaving].into_iter()).ok_or(())
        };
        let go = move |port: &mut (Place, u32), ready: &AtomicBool| {
            let (place, xen) = port;
            let bind = |cpu| {
                *xen = cpu;
                Ok(())
            };
            place.go(|| choose(ready), bind).unwrap();
        };
        let irq_core = {
            let (ready, port) = (ready.clone(), port.clone());
            thread::spawn(move || go(&mut port.lock().unwrap(), &ready))
        };
        ready.store(false, Ordering::SeqCst);
        {
            let mut port = port.lock().unwrap();
            if port.0.cpu() == 1 {
                go(&mut port, &ready);
            }
        }
        irq_core.join().unwrap();
        let port = port.lock().unwrap();
        assert_eq!((port.0.cpu(), port.1), (0, 0));
    });
}
