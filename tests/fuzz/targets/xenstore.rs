// SPDX-License-Identifier: GPL-2.0

//! The xenstore's stream and every parser of a message's body, the connection's states and the keys.

#![no_main]

use abi::{
    block::vbd::Vbd,
    connection::{Input, Life, State, Step},
    control::{self, Asked},
    net::{features, mac::Mac},
    xenstore::{
        directory::{Names, Part},
        error::StoreError,
        path::DevicePath,
        stream::Assembler,
        value::parse_u64,
        watch::{Token, WatchEvent},
    },
};
use libfuzzer_sys::fuzz_target;

fn body(body: &[u8]) {
    if let Ok(names) = Names::parse(body) {
        assert!(names.count() <= body.len());
    }
    if let Ok(part) = Part::parse(body) {
        assert!(part.last || part.advance > 0);
    }
    if let Ok(event) = WatchEvent::parse(body) {
        let _ = DevicePath::parse(event.path);
        let _ = Token::decode(event.token);
    }
    let _ = (
        StoreError::parse(body),
        Mac::parse(body),
        features::number(body),
    );
    if let Ok(number) = parse_u64(body) {
        if let Ok(vbd) = Vbd::parse(number as u32) {
            let _ = vbd.to_string();
        }
    }
    let _ = State::parse(body);
    if let Asked::Refused(refusal) = control::shutdown(body, body.len() % 2 == 0) {
        one_line(&refusal.to_string());
    }
    if let Asked::Refused(refusal) = control::sysrq(body) {
        one_line(&refusal.to_string());
    }
}

/// What the log tells of a value is short and cannot play tricks on a terminal.
fn one_line(said: &str) {
    assert!(said.len() < 256 && said.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
}

fuzz_target!(|bytes: &[u8]| {
    body(bytes);
    let mut rest = bytes;
    let mut assembler = Assembler::new([0; 4096]);
    while let Ok(Some(message)) = assembler.step(|into| {
        let count = into.len().min(rest.len());
        into[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        count
    }) {
        body(message.body);
    }
    let mut life = Life::new(State::Initialising, State::Connected);
    for byte in bytes {
        let online = byte & 0x80 == 0;
        life.input(match State::from_number(u32::from(byte & 0xf)) {
            Some(state) => Input::Otherend { state, online },
            None if online => Input::Garbled,
            None => Input::Overdue,
        });
        for steps in 0.. {
            assert!(steps < 12);
            let step = life.next();
            if step == Step::Wait {
                break;
            }
            life.done(step);
        }
    }
});
