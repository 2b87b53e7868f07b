// SPDX-License-Identifier: GPL-2.0

//! The network protocol (Xen: `io/netif.h`) from the backend's side.

pub mod control;
pub mod receive;
pub mod script;
pub mod transmit;

use abi::net::gso::GsoType;

/// Bytes of a page that a frontend lends.
pub const PAGE: usize = 4096;

/// Largest packet, with its Ethernet header.
pub const MAX_PACKET: usize = 65535;

/// Type of the extra info that tells how much room was left before the data (Linux: `XEN_NETIF_EXTRA_TYPE_XDP`).
pub const EXTRA_XDP: u8 = 5;

/// A packet, and what is said about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// From the Ethernet header on.
    pub data: Vec<u8>,
    /// Its transport checksum is not filled in.
    pub blank: bool,
    /// It is to be cut into segments of so many bytes.
    pub gso: Option<(GsoType, u16)>,
    /// Its hash, if one goes with it.
    pub hash: Option<control::Hash>,
}

#[cfg(test)]
mod tests {
    use super::receive::{Layout, Receive};
    use super::script::{Hostile, Script};
    use super::transmit::{self, Filter, Filters, Sent};
    use super::*;
    use crate::ring::BackRing;
    use crate::testing::{with_page, Pages};
    use abi::net::gso::GsoAccepted;
    use abi::net::rx::{Assembler, Checksum, Part, Progress, RxError, RxPacket};
    use abi::net::wire::{
        extra_type, tx_flags, ExtraInfo, RxRequest, TxRequest, TxResponse, EXTRA_FLAG_MORE,
        RX_SLOT, TX_SLOT,
    };
    use abi::ring::FrontRing;
    use abi::shared::RawMemory;

    type TxFront<'a> = FrontRing<[u8; TX_SLOT], [u8; TX_SLOT], &'a RawMemory>;
    type RxFront<'a> = FrontRing<[u8; RX_SLOT], [u8; RX_SLOT], &'a RawMemory>;

    fn pages(count: u32) -> Pages {
        Pages(
            (0..count)
                .map(|gref| (gref, vec![gref as u8; PAGE]))
                .collect(),
        )
    }

    fn with_tx(test: impl FnOnce(TxFront<'_>, BackRing<&RawMemory>)) {
        with_page(|memory| {
            let front = FrontRing::new(memory).expect("a ring");
            let back = BackRing::new(memory, TX_SLOT, TX_SLOT).expect("its other half");
            test(front, back);
        });
    }

    /// Sends a packet of one slot with this id.
    fn send(front: &mut TxFront<'_>, id: u16) {
        let request = TxRequest {
            gref: 1,
            offset: 0,
            flags: 0,
            id,
            size: 60,
        };
        front.write(&request.encode()).expect("room");
        let _ = front.publish();
    }

    fn answers(front: &mut TxFront<'_>) -> Vec<TxResponse> {
        let mut answers = Vec::new();
        while let Some(slot) = front.take().expect("an index that is right") {
            answers.push(TxResponse::decode(slot));
        }
        front.arm(1).expect("an index that is right");
        answers
    }

    fn serve(back: &mut BackRing<&RawMemory>, script: &mut Script) -> Sent {
        serve_with(back, &mut Filters::default(), script)
    }

    fn serve_with(
        back: &mut BackRing<&RawMemory>,
        filters: &mut Filters,
        script: &mut Script,
    ) -> Sent {
        transmit::serve(back, &mut pages(4), filters, script, &mut || ())
            .expect("a frontend that is honest")
    }

    #[test]
    fn a_packet_of_several_slots_is_one() {
        with_tx(|mut front, mut back| {
            let piece = |gref, offset, flags, id, size| TxRequest {
                gref,
                offset,
                flags,
                id,
                size,
            };
            let more = tx_flags::MORE_DATA;
            let first = more | tx_flags::EXTRA_INFO | tx_flags::CSUM_BLANK;
            let mut add = ExtraInfo::gso(GsoType::TcpV6, 1000);
            add.flags = EXTRA_FLAG_MORE;
            for slot in [
                piece(1, 96, first, 7, 5000).encode(),
                ExtraInfo::gso(GsoType::TcpV6, 1000).encode_tx(),
                piece(2, 0, more, 8, 900).encode(),
                piece(3, 0, 0, 9, 100).encode(),
            ] {
                front.write(&slot).expect("room");
            }
            assert!(front.publish());
            let sent = serve(&mut back, &mut Script::default());
            let mut data = vec![1; 4000];
            data.extend([2; 900]);
            data.extend([3; 100]);
            let expected = Packet {
                data,
                blank: true,
                gso: Some((GsoType::TcpV6, 1000)),
                hash: None,
            };
            assert_eq!((sent.packets, sent.errors), (vec![expected], 0));
            let got = answers(&mut front);
            let got: Vec<_> = got.iter().map(|it| (it.id, it.status)).collect();
            assert_eq!(got, [(7, 0), (0, 1), (8, 0), (9, 0)]);
        });
    }

    #[test]
    fn filters_are_no_packets() {
        with_tx(|mut front, mut back| {
            let mut filters = Filters::new(Some(1));
            let group = |last| [1, 0, 94, 0, 0, last];
            for (size, kind, last, count, status) in [
                (60, extra_type::MCAST_ADD, 1, 1, 0),
                (0, extra_type::MCAST_ADD, 2, 1, -1),
                (0, extra_type::MCAST_DEL, 1, 0, 0),
                (0, extra_type::MCAST_ADD, 2, 1, 0),
            ] {
                let request = TxRequest {
                    gref: 1,
                    flags: tx_flags::EXTRA_INFO,
                    id: 7,
                    size,
                    ..TxRequest::default()
                };
                let extra = ExtraInfo {
                    kind,
                    flags: 0,
                    data: group(last),
                };
                for slot in [request.encode(), extra.encode_tx()] {
                    front.write(&slot).expect("room");
                }
                let _ = front.publish();
                let sent = serve_with(&mut back, &mut filters, &mut Script::default());
                let filter = match kind {
                    extra_type::MCAST_ADD => Filter::Add(group(last)),
                    _ => Filter::Remove(group(last)),
                };
                assert_eq!(sent.filters, [filter]);
                assert!(sent.packets.is_empty() && sent.errors == 0);
                let got = answers(&mut front);
                let got: Vec<_> = got.iter().map(|it| (it.id, it.status)).collect();
                assert_eq!((filters.count(), got), (count, vec![(7, status), (0, 1)]));
            }
            assert!(filters.has(&group(2)));
        });
    }

    #[test]
    fn a_packet_that_is_none_is_answered_with_an_error() {
        with_tx(|mut front, mut back| {
            let good = TxRequest {
                gref: 1,
                size: 60,
                ..TxRequest::default()
            };
            for bad in [
                TxRequest { size: 13, ..good },
                TxRequest {
                    offset: 4090,
                    ..good
                },
                TxRequest { gref: 99, ..good },
            ] {
                front.write(&bad.encode()).expect("room");
            }
            let _ = front.publish();
            let sent = serve(&mut back, &mut Script::default());
            assert_eq!((sent.packets.len(), sent.errors), (0, 3));
            assert!(answers(&mut front).iter().all(|answer| answer.status == -1));
        });
    }

    #[test]
    fn each_transmit_script_breaks_its_rule_once() {
        for &hostile in Hostile::ALL {
            if !hostile.name().starts_with("tx-") {
                continue;
            }
            with_tx(|mut front, mut back| {
                let mut script = Script::default();
                send(&mut front, 5);
                serve(&mut back, &mut script);
                assert_eq!(answers(&mut front)[0], TxResponse { id: 5, status: 0 });
                script.play([hostile]);
                send(&mut front, 6);
                serve(&mut back, &mut script);
                if hostile == Hostile::TxIdTwice {
                    assert!(answers(&mut front).is_empty());
                    send(&mut front, 7);
                    serve(&mut back, &mut script);
                }
                assert_eq!(script.acts(), 1, "{hostile:?}");
                if matches!(
                    hostile,
                    Hostile::TxProducerBeyondRing | Hostile::TxProducerBackwards
                ) {
                    assert!(front.take().is_err(), "{hostile:?}");
                    return;
                }
                let got = answers(&mut front);
                let (id, status) = (got[0].id, got[0].status);
                match hostile {
                    Hostile::TxIdOutOfRange => assert!(id > 256),
                    Hostile::TxIdNeverSent => assert!(id < 256 && id != 6),
                    Hostile::TxIdTwice => assert_eq!((id, got[1].id), (6, 6)),
                    Hostile::TxNullStatus => assert_eq!(status, 1),
                    Hostile::TxUnknownStatus => assert_eq!(status, 77),
                    _ => assert_eq!((id, status), (6, 0)),
                }
            });
        }
    }

    const ACCEPTED: GsoAccepted = GsoAccepted { v4: true, v6: true };

    /// What a frontend makes of the slots it gets: packets, with their data.
    fn received(
        front: &mut RxFront<'_>,
        assembler: &mut Assembler,
        pages: &Pages,
    ) -> Vec<std::result::Result<(RxPacket, Vec<u8>), RxError>> {
        let (mut all, mut data) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(slot) = front.take().expect("an index that is right") {
            let (part, progress) = assembler.slot(slot);
            if let Part::Data(fragment) = part {
                let page = &pages.0[&at];
                data.extend(&page[fragment.offset()..][..fragment.len()]);
            }
            at += 1;
            if let Progress::End(end) = progress {
                let data = std::mem::take(&mut data);
                all.push(end.map(|packet| (packet, data)));
            }
        }
        if let Some(error) = assembler.cut_off() {
            all.push(Err(error));
        }
        all
    }

    /// A ring with `count` pages lent.
    fn with_rx(count: u32, layout: Layout, test: impl FnOnce(RxFront<'_>, Receive<&RawMemory>)) {
        with_page(|memory| {
            let mut front = RxFront::new(memory).expect("a ring");
            for gref in 0..count {
                let request = RxRequest {
                    id: gref as u16,
                    pad: 0,
                    gref,
                };
                front.write(&request.encode()).expect("room");
            }
            let _ = front.publish();
            let back = BackRing::new(memory, RX_SLOT, RX_SLOT).expect("its other half");
            test(front, Receive::new(back, layout));
        });
    }

    fn packet(length: usize) -> Packet {
        Packet {
            data: (0..length).map(|byte| byte as u8).collect(),
            blank: true,
            gso: Some((GsoType::TcpV4, 1448)),
            hash: None,
        }
    }

    #[test]
    fn a_long_packet_is_put_into_several_pages() {
        with_rx(64, Layout::default(), |mut front, mut back| {
            let mut pages = pages(64);
            assert!(back.push(packet(9000)));
            let passed = back.pass(&mut pages, &mut Script::default());
            assert_eq!(passed.expect("a frontend that is honest").0, 1);
            // The page of the extra info is the second.
            let extra = pages.0.remove(&1).expect("a page");
            assert_eq!(extra, vec![1; PAGE]);
            pages.0.insert(1, Vec::new());
            let got = received(&mut front, &mut Assembler::new(ACCEPTED), &pages);
            let (described, data) = got[0].clone().expect("a packet");
            assert_eq!(data, packet(9000).data);
            assert_eq!(described.checksum, Checksum::Blank);
            let gso = described.gso.map(|gso| (gso.kind, gso.size.get()));
            assert_eq!((gso, got.len()), (packet(0).gso, 1));
        });
    }

    #[test]
    fn a_packet_waits_for_its_pages() {
        with_rx(3, Layout::default(), |mut front, mut back| {
            let mut pages = pages(8);
            assert!(back.push(packet(9000)));
            let mut pass = |back: &mut Receive<&RawMemory>| {
                back.pass(&mut pages, &mut Script::default())
                    .expect("a frontend that is honest")
            };
            assert_eq!(pass(&mut back), (0, false));
            let request = RxRequest {
                id: 3,
                pad: 0,
                gref: 3,
            };
            front.write(&request.encode()).expect("room");
            assert!(front.publish());
            assert_eq!(pass(&mut back), (1, true));
        });
    }

    #[test]
    fn headroom_and_hash_are_told() {
        let layout = Layout { headroom: 256 };
        with_rx(64, layout, |mut front, mut back| {
            let mut pages = pages(64);
            let packet = Packet {
                data: vec![9; 4000],
                hash: Some(control::Hash {
                    kind: 2,
                    value: 0x0102_0304,
                }),
                ..Packet::default()
            };
            back.push(packet);
            back.pass(&mut pages, &mut Script::default())
                .expect("a frontend that is honest");
            let mut slots = Vec::new();
            while let Some(slot) = front.take().expect("an index that is right") {
                slots.push(slot);
            }
            // Data, hash, headroom, data.
            assert_eq!(slots.len(), 4);
            assert_eq!(slots[1], [4, 1, 2, 1, 4, 3, 2, 1]);
            assert_eq!((slots[2][0], slots[2][1], slots[2][3]), (5, 0, 1));
            assert_eq!(pages.0[&0][255..257], [0, 9]);
        });
    }

    #[test]
    fn each_receive_script_costs_its_packet_and_no_other() {
        for &hostile in Hostile::ALL {
            if !hostile.name().starts_with("rx-") {
                continue;
            }
            with_rx(64, Layout::default(), |mut front, mut back| {
                let (mut pages, mut script) = (pages(64), Script::default());
                script.play([hostile]);
                for _ in 0..2 {
                    let data = vec![9; 100];
                    back.push(Packet {
                        data,
                        ..Packet::default()
                    });
                }
                let passed = back.pass(&mut pages, &mut script);
                assert_eq!(script.acts(), 1, "{hostile:?}");
                if matches!(hostile, Hostile::RxNoBuffer | Hostile::RxProducerBackwards) {
                    assert!(passed.is_ok_and(|passed| passed == (0, true)));
                    assert!(front.take().is_err(), "{hostile:?}");
                    return;
                }
                assert!(passed.is_ok_and(|(count, _)| count == 1), "{hostile:?}");
                let got = received(&mut front, &mut Assembler::new(ACCEPTED), &pages);
                let (last, bad) = got.split_last().expect("packets");
                assert!(
                    bad.iter().all(std::result::Result::is_err),
                    "{hostile:?}: {bad:?}"
                );
                let announced = matches!(
                    hostile,
                    Hostile::RxMoreWithoutNext | Hostile::RxExtraMissing | Hostile::RxExtraEndless
                );
                // What was announced is looked for in the next packet.
                assert!(announced || last.is_ok(), "{hostile:?}: {last:?}");
                assert!(announced || !bad.is_empty(), "{hostile:?}");
            });
        }
    }
}
