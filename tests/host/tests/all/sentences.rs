// SPDX-License-Identifier: GPL-2.0

//! What is said about a bad peer: one line each, its own, with the number that is at fault.

use abi::{
    block::{
        geometry::{BadGeometry, Described, Geometry},
        request::Operation,
        response::{Response, WrongOperation},
        vbd::{Vbd, VbdError},
    },
    connection::{BadState, Replaced, State},
    control::{self, Asked},
    net::{
        gso::GsoError,
        mac::{Mac, MacError},
        rx::RxError,
        tx::TxError,
    },
    ring::Broken,
    slots::UnknownId,
    types::{GrantRef, Port},
    xenstore::value::BadNumber,
};
use std::{collections::BTreeSet, fmt::Display};

/// The sentences of one type: each is one line that differs from the others.
fn differ(sentences: &[&dyn Display]) {
    let texts: BTreeSet<String> = sentences.iter().map(|said| said.to_string()).collect();
    assert_eq!(texts.len(), sentences.len(), "two are the same: {texts:?}");
    for text in texts {
        assert!(text.len() > 8 && text.is_ascii(), "{text:?} says nothing");
        assert!(
            !text.contains('\n') && !text.ends_with('.'),
            "{text:?} is no part of a line"
        );
    }
}

#[test]
fn every_fault_of_a_peer_has_its_own_sentence() {
    differ(&[&MacError::Malformed, &MacError::NotUnicast]);
    differ(&[&VbdError::Unknown, &VbdError::TooLarge]);
    differ(&[
        &BadGeometry::NoSectors,
        &BadGeometry::TooLarge,
        &BadGeometry::SectorSize,
    ]);
    differ(&[&Replaced::Moved, &Replaced::Anew]);
    differ(&[&UnknownId::OutOfRange, &UnknownId::NotHeld]);
    differ(&[
        &TxError::Unknown(3, UnknownId::NotHeld),
        &TxError::Unknown(3, UnknownId::OutOfRange),
        &TxError::NoExtra,
    ]);
    differ(&[
        &GsoError::OtherExtra,
        &GsoError::ZeroSize,
        &GsoError::BadType,
    ]);
    differ(&[
        &RxError::Status(-3),
        &RxError::BeyondPage,
        &RxError::Empty,
        &RxError::ShortHeader,
        &RxError::TooManySlots,
        &RxError::BadExtra(9),
        &RxError::BadGso(GsoError::ZeroSize),
        &RxError::GsoPrefix,
        &RxError::CutOff,
    ]);
    differ(&[
        &BadNumber::Empty,
        &BadNumber::Negative,
        &BadNumber::TooLarge,
        &BadNumber::NotADigit(4),
        &BadState::OutOfRange(12),
    ]);
    let refused: Vec<_> = [
        control::shutdown(b"fly", false),
        control::shutdown(b"reboot", true),
    ]
    .into_iter()
    .filter_map(|asked| match asked {
        Asked::Refused(refusal) => Some(refusal),
        _ => None,
    })
    .collect();
    let Asked::Refused(no_key) = control::sysrq(b"fly") else {
        panic!("a word is no key");
    };
    differ(&[&refused[0], &refused[1], &no_key]);
}

#[test]
fn a_sentence_names_the_number_at_fault() {
    let says = |said: &dyn Display, number: &str| {
        let text = said.to_string();
        assert!(text.contains(number), "{text:?} does not say {number}");
    };
    says(&RxError::Status(-3), "-3");
    says(&RxError::BadExtra(9), "type 9");
    says(&TxError::Unknown(300, UnknownId::NotHeld), "id 300");
    says(&BadNumber::NotADigit(4), "position 4");
    says(&BadState::OutOfRange(12), "12");
    says(&BadState::Number(BadNumber::NotADigit(4)), "position 4");
    let judged: Result<_, WrongOperation> = Response::forge(1, 7, 0).outcome(Operation::Read);
    says(&judged.unwrap_err(), "7");
    let broken = Broken {
        rsp_prod: 0x2a,
        rsp_cons: 5,
        outstanding: 3,
    };
    says(&broken, "0x2a");
    says(&broken, "3 requests");
}

#[test]
fn numbers_are_shown_as_they_are() {
    assert_eq!(Port(7).to_string(), "7");
    assert_eq!(u32::from(GrantRef(9)), 9);
    assert_eq!(State::InitWait.to_string(), State::InitWait.name());
    let mac = Mac::parse(b"00:16:3E:0a:bC:ff").unwrap();
    assert_eq!(
        format!("{mac:?} {mac}"),
        "00:16:3e:0a:bc:ff 00:16:3e:0a:bc:ff"
    );
    let vbd = Vbd::parse(202 << 8 | 16 | 2).unwrap();
    assert_eq!((vbd.partition(), vbd.is_partition()), (2, true));
}

#[test]
fn a_description_is_read_key_by_key() {
    let described = Described::read(|key| match key {
        "sectors" => Some(2048),
        "sector-size" => Some(4096),
        "physical-sector-size" => Some(8192),
        "info" => Some(4),
        key => panic!("{key} is no key of a disk"),
    });
    let geometry = Geometry::check(&described).unwrap();
    assert_eq!(
        (
            geometry.sectors(),
            geometry.sector_size(),
            geometry.physical_sector_size()
        ),
        (2048, 4096, 8192)
    );
    assert!(geometry.read_only());
}
