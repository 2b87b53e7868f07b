// SPDX-License-Identifier: GPL-2.0

//! In which order each operation touches its page, barriers included.
//!
//! loom shows that the barriers are enough, these tests that each is there: some of them order a store after an earlier
//! load, and neither loom nor x86 ever does those the other way round.

use abi::{
    console,
    grant::{Access as Permission, Slot},
    pvclock::{TimeInfo, WallClock, WALL_CLOCK},
    ring::{FrontRing, HEADER, REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD},
    types::{DomainId, Gfn},
    xenstore::ring as store,
};
use host_tests::peer::{Access, Adversary, Peer};

/// Writes down each access, neighbours of a kind as one.
struct Log(Vec<Access>);

impl Adversary for Log {
    fn act(&mut self, _: &mut [u8], access: Access) {
        match (self.0.last_mut(), access) {
            (Some(Access::Load(from, len)), Access::Load(at, more))
            | (Some(Access::Store(from, len)), Access::Store(at, more))
                if *from + *len == at =>
            {
                *len += more;
            }
            _ => self.0.push(access),
        }
    }
}

fn page(size: usize) -> Peer<Log> {
    Peer::new(size, Log(Vec::new()))
}

/// What `act` does to `page`.
fn trace(page: &Peer<Log>, act: impl FnOnce()) -> Vec<Access> {
    page.adversary().0.clear();
    act();
    std::mem::take(&mut page.adversary().0)
}

#[test]
fn ring() {
    let page = page(4096);
    let mut ring = FrontRing::<u64, u64, _>::new(&page).unwrap();
    let sent = trace(&page, || {
        ring.write(&1).unwrap();
        let _ = ring.publish();
    });
    assert_eq!(
        sent,
        [
            Access::Store(HEADER, 8),
            Access::Release(REQ_PROD, 4),
            Access::Fence,
            Access::Load(REQ_EVENT, 4),
        ]
    );
    let armed = trace(&page, || assert_eq!(ring.arm(1), Ok(false)));
    assert_eq!(
        armed,
        [
            Access::Store(RSP_EVENT, 4),
            Access::Fence,
            Access::Acquire(RSP_PROD, 4),
        ]
    );
    page.poke(RSP_PROD, 1);
    let taken = trace(&page, || assert_eq!(ring.take(), Ok(Some(1))));
    assert_eq!(
        taken,
        [Access::Acquire(RSP_PROD, 4), Access::Load(HEADER, 8)]
    );
}

#[test]
fn console() {
    let page = page(console::SIZE);
    let mut ring = console::Ring::attach(&page).unwrap();
    let written = trace(&page, || assert_eq!(ring.write(b"ab"), Ok(2)));
    assert_eq!(
        written,
        [
            Access::Acquire(console::OUT_CONS, 4),
            Access::Store(console::OUT, 2),
            Access::Release(console::OUT_PROD, 4),
        ]
    );
    page.poke(console::IN_PROD, 2);
    let read = trace(&page, || assert_eq!(ring.read(&mut [0; 2]), Ok(2)));
    assert_eq!(
        read,
        [
            Access::Acquire(console::IN_PROD, 4),
            Access::Load(0, 2),
            Access::Release(console::IN_CONS, 4),
        ]
    );
    let nothing = trace(&page, || {
        assert_eq!(ring.read(&mut [0; 2]), Ok(0));
        assert_eq!(ring.write(b""), Ok(0));
    });
    assert_eq!(
        nothing,
        [
            Access::Acquire(console::IN_PROD, 4),
            Access::Acquire(console::OUT_CONS, 4),
        ]
    );
    page.poke(console::IN_PROD, u32::MAX);
    let dropped = trace(&page, || assert!(ring.read(&mut [0; 2]).is_err()));
    assert_eq!(
        dropped,
        [
            Access::Acquire(console::IN_PROD, 4),
            Access::Release(console::IN_CONS, 4),
        ]
    );
}

#[test]
fn xenstore() {
    use crate::xenstore::{REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD};
    const REPLIES: usize = 1024;
    const CONNECTION: usize = 2068;
    let page = page(4096);
    let mut ring = store::Ring::new(&page);
    let written = trace(&page, || assert_eq!(ring.write(b"ab").unwrap().bytes, 2));
    assert_eq!(
        written,
        [
            Access::Acquire(REQ_CONS, 4),
            Access::Store(0, 2),
            Access::Release(REQ_PROD, 4),
        ]
    );
    page.poke(RSP_PROD, 2);
    let read = trace(&page, || {
        assert_eq!(ring.read(&mut [0; 2]).unwrap().bytes, 2)
    });
    assert_eq!(
        read,
        [
            Access::Acquire(RSP_PROD, 4),
            Access::Load(REPLIES, 2),
            Access::Release(RSP_CONS, 4),
            Access::Fence,
            Access::Load(RSP_PROD, 4),
        ]
    );
    page.poke(RSP_PROD, 3);
    let dropped = trace(&page, || ring.discard_input());
    assert_eq!(
        dropped,
        [Access::Load(RSP_PROD, 4), Access::Release(RSP_CONS, 4)]
    );
    let asked = trace(&page, || ring.begin_reconnect());
    assert_eq!(asked, [Access::Release(CONNECTION, 4)]);
    page.poke(CONNECTION, 0);
    let anew = trace(&page, || assert!(ring.reconnected()));
    assert_eq!(
        anew,
        [
            Access::Acquire(CONNECTION, 4),
            // With RSP_CONS behind it.
            Access::Load(REQ_PROD, 8),
        ]
    );
}

#[test]
fn grant() {
    let page = page(4096);
    let slot = Slot::new(&page, 1);
    let granted = trace(&page, || {
        slot.permit(DomainId(3), Gfn(5), Permission::ReadWrite)
            .unwrap();
    });
    assert_eq!(
        granted,
        [Access::Store(10, 6), Access::Release(8, 2)],
        "the domain and the frame before the permission"
    );
}

#[test]
fn clock() {
    let page = page(4096);
    page.poke(WALL_CLOCK, 2);
    let read = trace(&page, || {
        assert!(WallClock::read(&&page, WALL_CLOCK).is_some())
    });
    assert_eq!(
        read,
        [
            Access::Acquire(WALL_CLOCK, 4),
            Access::Load(WALL_CLOCK, 16),
            Access::Fence,
            Access::Load(WALL_CLOCK, 4),
        ]
    );
    let read = trace(&page, || assert!(TimeInfo::read(&&page, 0).is_some()));
    assert_eq!(
        read,
        [
            Access::Acquire(0, 8),
            Access::Acquire(8, 8),
            Access::Acquire(16, 8),
            Access::Acquire(24, 8),
            Access::Acquire(0, 8),
        ]
    );
}
