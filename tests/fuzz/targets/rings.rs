// SPDX-License-Identifier: GPL-2.0

//! All rings over a page whose other owner writes what the fuzzer says, between any two accesses.

#![no_main]

use abi::{
    console,
    event::{fifo, two_level::TwoLevel},
    grant,
    ring::FrontRing,
    types::{DomainId, Gfn, VcpuId},
    xenstore,
};
use host_tests::peer::{Peer, Scribbler};
use libfuzzer_sys::fuzz_target;

struct OnePage<'a, A>(&'a Peer<A>);

impl<A: host_tests::peer::Adversary> fifo::Words for OnePage<'_, A> {
    type Page = Peer<A>;
    fn page(&self, index: usize) -> Option<&Peer<A>> {
        (index == 0).then_some(self.0)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((plan, bytes)) = bytes.split_at_checked(32) else {
        return;
    };
    let page = |targets| {
        Peer::new(
            4096,
            Scribbler {
                input: bytes.iter().copied(),
                targets,
            },
        )
    };

    let shared = page(&[0, 4, 8, 12]);
    let mut ring: FrontRing<[u64; 2], u64, _> = FrontRing::new(&shared).unwrap();
    for step in plan {
        match step % 4 {
            0 => drop(ring.write(&[1, 2])),
            1 => drop(ring.publish()),
            2 => drop(ring.take()),
            _ => drop(ring.arm(u32::from(*step))),
        }
        assert!(ring.free() <= ring.size() && ring.outstanding() <= ring.size());
    }

    let shared = page(&[console::IN_PROD, console::OUT_CONS]);
    let mut ring = console::Ring::attach(&shared).unwrap();
    for step in plan {
        let mut buffer = vec![0; usize::from(*step) * 9];
        let _ = if step % 2 == 0 {
            ring.write(&buffer)
        } else {
            ring.read(&mut buffer)
        };
    }

    let shared = page(&[2048, 2060]);
    let mut ring = xenstore::ring::Ring::new(&shared);
    for step in plan {
        let mut buffer = vec![0; usize::from(*step) * 5];
        let _ = if step % 2 == 0 {
            ring.write(&buffer)
        } else {
            ring.read(&mut buffer)
        };
    }

    let (words, control) = (page(&[4, 8, 12, 16]), page(&[0, 8, 12]));
    let mut queues = fifo::Queues::new();
    for step in plan {
        let mut seen = 0;
        queues.scan(&OnePage(&words), &&control, u32::from(*step), |port| {
            assert!(port.0 < fifo::WORDS_PER_PAGE);
            seen += 1;
        });
        assert!(seen <= u32::from(*step));
    }
    TwoLevel::new(&words).scan(VcpuId(0), |port| assert!(port.0 < 4096));

    let table = page(&[0, 4]);
    for step in plan {
        let slot = grant::Slot::new(&table, u32::from(*step));
        let _ = slot.permit(DomainId(1), Gfn(5), grant::Access::ReadOnly);
        let _ = slot.revoke();
    }
});
