// SPDX-License-Identifier: GPL-2.0

//! Answers true and false.

use super::*;
use crate::slots::Slot;

type Book = Ledger<
    &'static str,
    char,
    Vec<Slot<Sent<&'static str>>>,
    Vec<Slot<InFlight<char>>>, //
>;

fn ledger(n: usize) -> Book {
    Ledger::new(
        (0..n).map(|_| Slot::new()).collect(),
        (0..n).map(|_| Slot::new()).collect(),
    )
}

fn ok(id: u16) -> TxResponse {
    TxResponse { id, status: 0 }
}

const NULL: TxResponse = TxResponse {
    id: 0xffff,
    status: status::NULL,
};

#[test]
fn a_packet_is_done_with_its_last_slot() {
    let mut book = ledger(8);
    let a = book.begin('a').unwrap();
    let b = book.begin('b').unwrap();
    let a0 = book.slot(a, "a0").unwrap();
    let a1 = book.slot(a, "a1").unwrap();
    let b0 = book.slot(b, "b0").unwrap();
    assert_eq!((book.outstanding(), book.packets()), (3, 2));

    let mut ended = Vec::new();
    let mut answer = |book: &mut Book, id| book.answer(ok(id), |g, p| ended.push((g, *p)));
    assert_eq!(answer(&mut book, a1), Ok(Answer::Slot { sent: true }));
    assert_eq!(
        answer(&mut book, b0),
        Ok(Answer::Packet {
            packet: 'b',
            sent: true
        })
    );
    assert_eq!(
        answer(&mut book, a0),
        Ok(Answer::Packet {
            packet: 'a',
            sent: true
        })
    );
    assert_eq!(ended, [("a1", 'a'), ("b0", 'b'), ("a0", 'a')]);
    assert_eq!((book.outstanding(), book.packets(), book.free()), (0, 0, 8));
}

#[test]
fn errors_release_the_slot_all_the_same() {
    for status in [status::ERROR, status::DROPPED, 2, i16::MIN] {
        let mut book = ledger(2);
        let a = book.begin('a').unwrap();
        let id = book.slot(a, "a").unwrap();
        assert_eq!(
            book.answer(TxResponse { id, status }, |_, _| ()),
            Ok(Answer::Packet {
                packet: 'a',
                sent: false
            })
        );
    }
}

#[test]
fn unknown_ids_and_duplicates_are_refused() {
    let mut book = ledger(4);
    let a = book.begin('a').unwrap();
    let id = book.slot(a, "a").unwrap();
    let never = |_: &'static str, _: &mut char| panic!("nothing to end");
    for wrong in [4, 256, 0xffff] {
        assert_eq!(
            book.answer(ok(wrong), never),
            Err(TxError::Unknown(wrong, UnknownId::OutOfRange))
        );
    }
    let other = (id + 1) % 4;
    assert_eq!(
        book.answer(ok(other), never),
        Err(TxError::Unknown(other, UnknownId::NotHeld))
    );
    assert_eq!((book.outstanding(), book.packets()), (1, 1));
    assert!(book.answer(ok(id), |_, _| ()).is_ok());
    assert_eq!(
        book.answer(ok(id), never),
        Err(TxError::Unknown(id, UnknownId::NotHeld))
    );
}

#[test]
fn null_responses_settle_extras_only() {
    let mut book = ledger(4);
    assert_eq!(book.answer(NULL, |_, _| ()), Err(TxError::NoExtra));
    let a = book.begin('a').unwrap();
    let id = book.slot(a, "a").unwrap();
    // A data slot answered with null is refused, whatever its id.
    assert_eq!(
        book.answer(
            TxResponse {
                id,
                status: status::NULL
            },
            |_, _| ()
        ),
        Err(TxError::NoExtra)
    );
    book.extra();
    assert_eq!(book.outstanding(), 2);
    assert_eq!(book.answer(NULL, |_, _| ()), Ok(Answer::Extra));
    assert_eq!(book.answer(NULL, |_, _| ()), Err(TxError::NoExtra));
    assert_eq!(book.outstanding(), 1);
}

/// A ring of 4 slots whose backend answers data slots with null: room and ids stay in step.
#[test]
fn ids_cannot_run_out_before_the_ring_does() {
    let mut book = ledger(4);
    let a = book.begin('a').unwrap();
    book.slot(a, "a0").unwrap();
    book.extra();
    book.slot(a, "a1").unwrap();
    assert_eq!(book.answer(NULL, |_, _| ()), Ok(Answer::Extra));
    assert_eq!(book.answer(NULL, |_, _| ()), Err(TxError::NoExtra));
    assert_eq!(book.outstanding(), 2);
    assert_eq!(book.free(), 2);
}

#[test]
fn abandoning_ends_every_grant_and_packet_once() {
    let mut book = ledger(8);
    let a = book.begin('a').unwrap();
    let b = book.begin('b').unwrap();
    book.slot(a, "a0").unwrap();
    book.slot(b, "b0").unwrap();
    let a1 = book.slot(a, "a1").unwrap();
    book.extra();
    book.begin('c').unwrap();
    book.answer(ok(a1), |_, _| ()).unwrap();
    let (mut ended, mut done) = (Vec::new(), Vec::new());
    book.abandon(|g, _| ended.push(g), |p| done.push(p));
    ended.sort_unstable();
    done.sort_unstable();
    assert_eq!(ended, ["a0", "b0"]);
    assert_eq!(done, ['a', 'b', 'c']);
    assert_eq!((book.outstanding(), book.packets(), book.free()), (0, 0, 8));
}

#[test]
fn a_cancelled_packet_leaves_nothing() {
    let mut book = ledger(4);
    let a = book.begin('a').unwrap();
    let b = book.begin('b').unwrap();
    book.slot(a, "a0").unwrap();
    book.slot(b, "b0").unwrap();
    book.slot(a, "a1").unwrap();
    assert_eq!(book.packet(a), Some(&mut 'a'));
    let mut ended = Vec::new();
    assert_eq!(book.cancel(a, |g, p| ended.push((g, *p))), Some('a'));
    ended.sort_unstable();
    assert_eq!(ended, [("a0", 'a'), ("a1", 'a')]);
    assert_eq!((book.outstanding(), book.packets()), (1, 1));
    assert_eq!(book.slot(a, "late"), Err("late"));
    assert_eq!(book.cancel(a, |_, _| panic!("nothing left")), None);
    assert_eq!(book.packet(a), None);
}

#[test]
fn a_full_ledger_gives_back() {
    let mut book = ledger(1);
    let a = book.begin('a').unwrap();
    assert_eq!(book.begin('b'), Err('b'));
    book.slot(a, "a0").unwrap();
    assert_eq!(book.slot(a, "a1"), Err("a1"));
}

#[test]
fn pieces_end_where_pages_do() {
    let all = |offset, len| pieces(offset, len).collect::<Vec<_>>();
    assert_eq!(all(0, 0), []);
    assert_eq!(
        all(10, 20),
        [Piece {
            page: 0,
            offset: 10,
            len: 20
        }]
    );
    assert_eq!(
        all(4090, 4102),
        [
            Piece {
                page: 0,
                offset: 4090,
                len: 6
            },
            Piece {
                page: 1,
                offset: 0,
                len: 4096
            },
        ]
    );
    for offset in [0, 1, 4095, 4096, 5000, 8191] {
        for len in [0, 1, 2, 4095, 4096, 4097, 65535] {
            let cut = all(offset, len);
            assert_eq!(cut.len(), count_pieces(offset, len), "{offset} {len}");
            assert_eq!(cut.iter().map(|p| usize::from(p.len)).sum::<usize>(), len);
            assert!(cut
                .iter()
                .all(|p| p.offset as usize + p.len as usize <= 4096));
        }
    }
}
