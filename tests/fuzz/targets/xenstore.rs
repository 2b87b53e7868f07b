// SPDX-License-Identifier: GPL-2.0

//! The xenstore's stream and every parser of a message's body, the connection's states and the keys.

#![no_main]

use abi::{
    block::vbd::Vbd,
    connection::{Frontend, State, Step},
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
}

fuzz_target!(|bytes: &[u8]| {
    body(bytes);
    let mut rest = bytes;
    let mut assembler = Assembler::new();
    while let Ok(Some(message)) = assembler.step(|into| {
        let count = into.len().min(rest.len());
        into[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        count
    }) {
        body(message.body);
    }
    let mut connection = Frontend::new();
    for byte in bytes {
        match State::from_number(u32::from(byte % 9)).map(|state| connection.otherend(state)) {
            Some(Step::Detach | Step::Abandon) => connection.closed(),
            Some(Step::Restart) => connection.restarted(),
            _ => {}
        }
    }
});
