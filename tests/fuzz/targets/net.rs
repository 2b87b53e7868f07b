// SPDX-License-Identifier: GPL-2.0

//! Received slots put together to packets, and answers to transmitted ones.

#![no_main]

use abi::{
    net::{
        gso::GsoAccepted,
        rx::{Assembler, Part, Progress},
        tx::{InFlight, Ledger, Sent},
        wire::TxResponse,
    },
    slots::Slot,
};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;

fuzz_target!(|bytes: &[u8]| {
    let mut assembler = Assembler::new(GsoAccepted {
        v4: true,
        v6: false,
    });
    let (mut len, mut first) = (0, None);
    for slot in bytes.chunks_exact(8) {
        let (part, progress) = assembler.slot(slot.try_into().unwrap());
        if let Part::Data(fragment) = part {
            assert!(fragment.offset() + fragment.len() <= 4096);
            len += fragment.len();
            first.get_or_insert(fragment);
        }
        if let Progress::End(end) = progress {
            if let Ok(packet) = end {
                // What was left free before the data does not count.
                let whole = first.unwrap();
                let room = packet.first.offset() - whole.offset();
                assert!(packet.first.len() + room == whole.len());
                assert!(packet.len == len - room && (1..=18).contains(&packet.fragments));
            }
            (len, first) = (0, None);
        }
    }

    let mut ledger: Ledger<u32, (), Vec<Slot<Sent<u32>>>, Vec<Slot<InFlight<()>>>> = Ledger::new(
        (0..8).map(|_| Slot::new()).collect(),
        (0..8).map(|_| Slot::new()).collect(),
    );
    let mut grants = BTreeSet::new();
    for (serial, step) in bytes.chunks_exact(4).enumerate() {
        let serial = serial as u32;
        match step[0] % 3 {
            0 if ledger.free() > 0 => {
                let packet = ledger.begin(()).unwrap();
                ledger.slot(packet, serial).unwrap();
                grants.insert(serial);
            }
            1 => ledger.extra(),
            _ => {
                let response = TxResponse {
                    id: step[1].into(),
                    status: (step[2] as i8).into(),
                };
                let _ = ledger.answer(response, |grant, ()| assert!(grants.remove(&grant)));
            }
        }
    }
    ledger.abandon(|grant, ()| assert!(grants.remove(&grant)), |()| {});
    assert!(grants.is_empty());
});
