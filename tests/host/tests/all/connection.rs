// SPDX-License-Identifier: GPL-2.0

//! The connection: texts that may stand for a state, and nodes that belong to another device. What a frontend does
//! upon every sequence of states is explored in `abi/connection/life/tests.rs`.

use abi::connection::{replaced, BadState, Otherend, Replaced, State, Written};
use abi::types::DomainId;
use proptest::prelude::*;

#[test]
fn state_values_outside_0_to_8() {
    for (text, number) in [
        ("9", 9),
        ("10", 10),
        ("255", 255),
        ("256", 256),
        ("4294967295", u32::MAX),
    ] {
        assert_eq!(
            State::parse(text.as_bytes()),
            Err(BadState::OutOfRange(number))
        );
        assert_eq!(State::from_number(number), None);
    }
    for text in [
        "",
        "-1",
        "4294967296",
        "99999999999999999999999",
        "4 ",
        " 4",
        "4\0",
        "four",
        "0x4",
        "+4",
        "4\n",
    ] {
        assert!(
            matches!(State::parse(text.as_bytes()), Err(BadState::Number(_))),
            "{text:?}"
        );
    }
    for state in State::ALL {
        assert_eq!(State::parse(state.as_text().as_bytes()), Ok(state));
        assert_eq!(State::from_number(state.number().into()), Some(state));
    }
}

proptest! {
    #[test]
    fn any_text_is_a_state_or_an_error(text in prop::collection::vec(any::<u8>(), 0..12)) {
        if let Ok(state) = State::parse(&text) {
            // Leading zeroes are the only freedom.
            let number: u32 = std::str::from_utf8(&text).unwrap().parse().unwrap();
            prop_assert_eq!(u32::from(state.number()), number);
        }
    }
}

#[test]
fn backend_id_changed_under_a_device() {
    let other = |path: &'static [u8], id| Otherend {
        path,
        id: DomainId(id),
    };
    let known = other(b"/local/domain/0/backend/vbd/3/51712", 0);
    for own in State::ALL {
        for state in State::ALL {
            let moved = |present| {
                let mut written = Written::found(own);
                replaced(known, present, &mut written, state) == Some(Replaced::Moved)
            };
            // Another domain, another directory, a shorter and a longer one.
            assert!(moved(other(known.path, 1)));
            assert!(moved(other(b"/local/domain/0/backend/vbd/3/51713", 0)));
            assert!(moved(other(b"/local/domain/0/backend/vbd/3/5171", 0)));
            assert!(moved(other(b"/local/domain/0/backend/vbd/3/51712/", 0)));
            assert!(!moved(known));
        }
    }
}
