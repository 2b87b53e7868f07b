// SPDX-License-Identifier: GPL-2.0

//! Event words: no port is lost, none is made up, and a scan ends whatever lies in the words.

use abi::{
    event::{fifo, fifo::Words, storm, two_level::TwoLevel, vcpu_info},
    shared::Memory,
    types::{Port, VcpuId},
};
use host_tests::peer::{Access, Adversary, Idle, Peer, Scribbler};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Xen's side of the 2-level words: makes a port pending.
fn send(page: &Peer<Idle>, vcpu: VcpuId, port: u32) -> bool {
    let word = (port / 64 * 8) as usize;
    if page.fetch_or_u64(2048 + word, 1 << (port % 64)) & (1 << (port % 64)) != 0 {
        return false;
    }
    if page.load_u64(2560 + word) & (1 << (port % 64)) != 0 {
        return false;
    }
    let info = vcpu_info::offset(vcpu).unwrap();
    page.fetch_or_u64(info + 8, 1 << (port / 64));
    page.write(info, &[1]);
    true
}

struct Pages<A>(Vec<Peer<A>>);

impl<A: Adversary> Words for Pages<A> {
    type Page = Peer<A>;
    fn page(&self, index: usize) -> Option<&Peer<A>> {
        self.0.get(index)
    }
}

/// Xen's side of the FIFO words: links a port at the end of a queue.
struct Xen {
    tails: [u32; 16],
}

impl Xen {
    fn send(&mut self, words: &Pages<Idle>, control: &Peer<Idle>, queue: usize, port: u32) {
        let (page, at) = words.word(Port(port)).unwrap();
        if page.fetch_or_u32(at, fifo::PENDING) & fifo::LINKED != 0
            || page.load_u32(at) & fifo::MASKED != 0
        {
            return;
        }
        page.fetch_or_u32(at, fifo::LINKED);
        page.fetch_and_u32(at, !fifo::LINK);
        let tail = self.tails[queue];
        let linked = tail != 0 && tail != port && {
            let (page, at) = words.word(Port(tail)).unwrap();
            let word = page.load_u32(at);
            word & fifo::LINKED != 0 && {
                page.store_u32(at, word & !fifo::LINK | port);
                true
            }
        };
        if !linked {
            control.store_u32(8 + queue * 4, port);
        }
        control.fetch_or_u32(0, 1 << queue);
        self.tails[queue] = port;
    }
}

/// Xen may change a word between our look and our write: what it wrote is kept, and it is asked to unmask.
#[test]
fn a_word_that_changes_is_left_to_xen() {
    for written in [fifo::PENDING, fifo::BUSY, fifo::LINKED | 5] {
        let mut changed = false;
        let words = Pages(vec![Peer::new(4096, move |page: &mut [u8], access| {
            if matches!(access, Access::Load(..)) || core::mem::replace(&mut changed, true) {
                return;
            }
            page[28..32].copy_from_slice(&(fifo::MASKED | written).to_le_bytes());
        })]);
        words.0[0].poke(28, fifo::MASKED);
        assert!(words.unmask(Port(7)), "{written:#x}");
        assert_eq!(words.0[0].peek(28), fifo::MASKED | written);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// With an honest Xen: every unmasked event that was sent is handled, and nothing else is.
    #[test]
    fn two_level_loses_and_invents_nothing(plan in prop::collection::vec((0u8..5, 1u32..4096), 0..300), vcpu in 0u32..32) {
        let page = Peer::new(4096, Idle);
        let (words, vcpu) = (TwoLevel::new(&page), VcpuId(vcpu));
        words.mask_all();
        let (mut masked, mut pending) = ((1..4096).collect::<BTreeSet<u32>>(), BTreeSet::new());
        for (kind, port) in plan {
            let port = 1 + port % 200;
            match kind {
                0 | 1 => { send(&page, vcpu, port); pending.insert(port); }
                2 => {
                    masked.remove(&port);
                    // Pending and masked: the hypervisor unmasks, and announces it.
                    let ask = words.unmask(Port(port));
                    prop_assert_eq!(ask, pending.contains(&port));
                    prop_assert_eq!(words.is_masked(Port(port)), ask);
                    if ask {
                        page.fetch_and_u64(2560 + (port / 64 * 8) as usize, !(1 << (port % 64)));
                        pending.remove(&port);
                        words.clear_pending(Port(port));
                        send(&page, vcpu, port);
                        pending.insert(port);
                    }
                }
                3 => { words.mask(Port(port)); masked.insert(port); }
                _ => {
                    vcpu_info::take_upcall(&&page, vcpu);
                    let mut handled = BTreeSet::new();
                    words.scan(vcpu, |port| { assert!(handled.insert(port.0), "twice"); });
                    for port in &handled {
                        prop_assert!(pending.remove(port) && !masked.contains(port));
                        words.clear_pending(Port(*port));
                    }
                    prop_assert!(pending.iter().all(|port| masked.contains(port)), "lost: {:?}", pending);
                }
            }
        }
    }

    #[test]
    fn fifo_loses_and_invents_nothing(plan in prop::collection::vec((0u8..6, 1u32..60, 0usize..16), 0..300)) {
        let words = Pages(vec![Peer::new(4096, Idle), Peer::new(4096, Idle)]);
        words.0.iter().for_each(|page| fifo::prepare(&page));
        let control = Peer::new(4096, Idle);
        let mut xen = Xen { tails: [0; 16] };
        let mut queues = fifo::Queues::new();
        let mut pending = BTreeSet::new();
        for (kind, port, _) in plan {
            // Each port keeps its queue; some lie in the second page.
            let port = if port > 40 { port + 1000 } else { port };
            let queue = (port % 16) as usize;
            match kind {
                0..=2 => { pending.insert(port); xen.send(&words, &control, queue, port); }
                3 => if words.unmask(Port(port)) {
                    // Pending and masked: the hypervisor unmasks, and announces it.
                    let (page, at) = words.word(Port(port)).unwrap();
                    page.fetch_and_u32(at, !fifo::MASKED);
                    xen.send(&words, &control, queue, port);
                },
                4 => words.mask(Port(port)),
                _ => {
                    let mut handled = Vec::new();
                    prop_assert!(queues.scan(&words, &&control, 500, |port| handled.push(port)));
                    for port in handled {
                        prop_assert!(pending.remove(&port.0), "{} was not sent", port);
                        words.clear_pending(port);
                    }
                    for port in &pending {
                        prop_assert!(words.is_masked(Port(*port)), "{} is lost", port);
                    }
                }
            }
        }
    }

    /// Anything in the words, changing all the time: a scan ends within its budget and reports only ports that exist.
    #[test]
    fn hostile_words(bytes in prop::collection::vec(any::<u8>(), 0..4000), fill in prop::collection::vec(any::<u8>(), 4096), budget in 0u32..200) {
        let hostile = || Peer::new(4096, Scribbler { input: bytes.clone().into_iter(), targets: &[0, 8, 12, 16] });
        let (words, control) = (Pages(vec![hostile(), hostile()]), hostile());
        words.0.iter().chain([&control]).for_each(|page| page.with(|page| page.copy_from_slice(&fill)));
        let mut count = 0;
        let mut queues = fifo::Queues::new();
        for _ in 0..3 {
            queues.scan(&words, &&control, budget, |port| { assert!(port.0 < 2048); count += 1; });
        }
        prop_assert!(count <= 3 * budget);

        let page = hostile();
        page.with(|page| page.copy_from_slice(&fill));
        let mut count = 0;
        TwoLevel::new(&page).scan(VcpuId(budget), |port| { assert!(port.0 < 4096); count += 1; });
        prop_assert!(count <= 4096);
    }

    /// A wait after spurious events grows, but never beyond a second, and one good event ends it.
    #[test]
    fn back_off_is_bounded(spurious in 0u32..200, per_second in 1u64..10_000) {
        let rules = storm::Rules { per_second };
        let mut history = storm::History::default();
        let mut before = 0;
        for _ in 0..spurious {
            let wait = rules.spurious(&mut history);
            prop_assert!(wait >= before && wait <= per_second);
            before = wait;
        }
        rules.useful(&mut history);
        prop_assert_eq!(rules.spurious(&mut history), 0);
    }
}

#[test]
fn a_circle_of_links_ends_with_the_budget() {
    let words = Pages(vec![Peer::new(4096, Idle)]);
    let page = &words.0[0];
    // 1 -> 2 -> 1, and an adversary would put the links back each time.
    let control = Peer::new(4096, |page: &mut [u8], _: Access| page[0] = 1);
    page.poke(4, fifo::PENDING | fifo::LINKED | 2);
    page.poke(8, fifo::PENDING | fifo::LINKED | 1);
    control.poke(8, 1);
    let mut count = 0;
    let all = fifo::Queues::new().scan(&words, &&control, 100, |port| {
        page.poke(
            port.0 as usize * 4,
            fifo::PENDING | fifo::LINKED | (3 - port.0),
        );
        count += 1;
    });
    assert!(!all);
    assert_eq!(count, 100);
}

#[test]
fn ports_that_do_not_exist_are_left_alone() {
    let page = Peer::new(4096, Idle);
    let words = TwoLevel::new(&page);
    for port in [4096, 5000, u32::MAX] {
        words.mask(Port(port));
        words.set_pending(Port(port));
        words.clear_pending(Port(port));
        assert!(!words.unmask(Port(port)) && words.is_masked(Port(port)));
    }
    assert_eq!(page.accesses(), 0);
    let words = Pages(vec![Peer::new(4096, Idle)]);
    for port in [1024, 1 << 17, u32::MAX] {
        words.mask(Port(port));
        words.set_pending(Port(port));
        words.clear_pending(Port(port));
        assert!(!words.unmask(Port(port)) && words.is_masked(Port(port)));
    }
    assert_eq!(words.0[0].accesses(), 0);
}
