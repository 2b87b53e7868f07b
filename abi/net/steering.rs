// SPDX-License-Identifier: GPL-2.0

//! How the backend is told to hash packets, and to spread them over the queues by their hashes (receive side scaling).
//!
//! The frontend asks over a control ring, one request after the other: algorithm, what is hashed, key, size of the table
//! and the table itself. Implements `struct xen_netif_ctrl_request` and its response of Xen's `io/netif.h`.

use super::wire::ExtraInfo;
use crate::types::GrantRef;
use core::fmt;

/// Bytes of a slot of the control ring.
pub const CONTROL_SLOT: usize = 16;

/// Bytes of a key: what the hash needs for IPv6 addresses and ports.
pub const KEY: usize = 40;

/// Entries of the table from hashes to queues. No backend takes more today.
pub const TABLE: usize = 128;

/// `XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ`
const TOEPLITZ: u8 = 1;

/// Addresses of IPv4 and IPv6, each without and with the ports of TCP (`XEN_NETIF_CTRL_HASH_TYPE_*`).
const ALL_TYPES: u32 = 0xf;

crate::shared::wire! {
    /// A request (`struct xen_netif_ctrl_request`).
    pub struct ControlRequest {
        /// Repeated in the response.
        pub id: u16,
        /// What is asked for (`XEN_NETIF_CTRL_TYPE_*`).
        pub kind: u16,
        /// What the kind makes of it.
        pub data: [u32; 3],
    }

    /// Its response (`struct xen_netif_ctrl_response`); the rest of the slot is stale.
    pub struct ControlResponse {
        /// That of the request.
        pub id: u16,
        /// That of the request.
        pub kind: u16,
        /// 0 if it was done (`XEN_NETIF_CTRL_STATUS_*`).
        pub status: u32,
        /// What the kind makes of it.
        pub data: u32,
    }
}

/// What is asked for, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Whether there are hashes at all.
    Algorithm,
    /// What is hashed.
    Types,
    /// The key.
    Key,
    /// How long the table is.
    TableSize,
    /// The table.
    Table,
}

impl Step {
    const fn kind(self) -> u16 {
        match self {
            Step::Algorithm => 7,
            Step::Types => 2,
            Step::Key => 3,
            Step::TableSize => 5,
            Step::Table => 6,
        }
    }

    const fn next(self) -> Option<Self> {
        match self {
            Step::Algorithm => Some(Step::Types),
            Step::Types => Some(Step::Key),
            Step::Key => Some(Step::TableSize),
            Step::TableSize => Some(Step::Table),
            Step::Table => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Algorithm => "the algorithm",
            Step::Types => "what is hashed",
            Step::Key => "the key",
            Step::TableSize => "the size of the table",
            Step::Table => "the table",
        })
    }
}

/// Where the asking stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// This is to be asked next.
    Ask(ControlRequest),
    /// The backend does as it was told: it hashes, or not.
    Done(bool),
    /// It does not: it has refused this, with this status.
    Refused(Step, u32),
}

/// The backend answered what was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongAnswer {
    id: u16,
    kind: u16,
}

impl fmt::Display for WrongAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, kind } = self;
        write!(f, "response {id} of type {kind}, which was not asked for")
    }
}

/// Asks for hashes, or for none; one request at a time.
#[derive(Debug)]
pub struct Asking {
    key: GrantRef,
    table: GrantRef,
    on: bool,
    id: u16,
    /// What was asked and not answered yet.
    step: Option<Step>,
    /// What is wanted has changed since it was asked.
    again: bool,
}

impl Asking {
    /// Key and table are in pages of their own, granted to the backend, at their begin.
    pub const fn new(key: GrantRef, table: GrantRef) -> Self {
        Self {
            key,
            table,
            on: false,
            id: 0,
            step: None,
            again: false,
        }
    }

    /// Hashes are wanted, or none, with the key and the table that are in their pages now. Gives what to ask at once.
    pub fn begin(&mut self, on: bool) -> Option<ControlRequest> {
        self.on = on;
        self.again = self.step.is_some();
        (!self.again).then(|| self.ask(Step::Algorithm))
    }

    /// Takes a response.
    ///
    /// # Errors
    ///
    /// It is none to what was asked.
    pub fn answer(&mut self, response: &ControlResponse) -> Result<Progress, WrongAnswer> {
        let &ControlResponse { id, kind, .. } = response;
        let wrong = WrongAnswer { id, kind };
        let step = self.step.ok_or(wrong)?;
        if id != self.id || kind != step.kind() {
            return Err(wrong);
        }
        self.step = None;
        if core::mem::take(&mut self.again) {
            return Ok(Progress::Ask(self.ask(Step::Algorithm)));
        }
        if response.status != 0 {
            return Ok(Progress::Refused(step, response.status));
        }
        Ok(match step.next().filter(|_| self.on) {
            Some(next) => Progress::Ask(self.ask(next)),
            None => Progress::Done(self.on),
        })
    }

    fn ask(&mut self, step: Step) -> ControlRequest {
        self.step = Some(step);
        self.id = self.id.wrapping_add(1);
        let data = match step {
            Step::Algorithm if self.on => [TOEPLITZ.into(), 0, 0],
            Step::Algorithm => [0; 3],
            Step::Types => [ALL_TYPES, 0, 0],
            Step::Key => [self.key.0, KEY as u32, 0],
            Step::TableSize => [TABLE as u32, 0, 0],
            Step::Table => [self.table.0, TABLE as u32, 0],
        };
        ControlRequest {
            id: self.id,
            kind: step.kind(),
            data,
        }
    }
}

/// Entry `index` of a table that spreads the hashes evenly over so many queues.
pub const fn even(index: u32, queues: u32) -> u32 {
    match index.checked_rem(queues) {
        Some(queue) => queue,
        None => 0,
    }
}

/// The hash of a received packet, by the backend's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// Its value.
    pub value: u32,
    /// The ports went into it.
    pub ports: bool,
}

impl Hash {
    /// Reads it out of an extra info; `None` if it is of a kind that is unknown.
    pub fn from_extra(extra: &ExtraInfo) -> Option<Self> {
        let [kind, algorithm, value @ ..] = extra.data;
        (kind < 4 && algorithm == TOEPLITZ).then(|| Self {
            value: u32::from_le_bytes(value),
            ports: kind & 1 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::size_of;

    fn good(request: &ControlRequest) -> ControlResponse {
        ControlResponse {
            id: request.id,
            kind: request.kind,
            status: 0,
            data: 0,
        }
    }

    fn asking() -> Asking {
        Asking::new(GrantRef(8), GrantRef(9))
    }

    #[test]
    fn sizes_are_those_of_the_header() {
        assert_eq!(size_of::<ControlRequest>(), CONTROL_SLOT);
        assert_eq!(size_of::<ControlResponse>(), 12);
    }

    #[test]
    fn all_is_asked_in_order() {
        let mut asking = asking();
        let mut request = asking.begin(true).unwrap();
        let mut asked = Vec::new();
        loop {
            asked.push((request.kind, request.data));
            match asking.answer(&good(&request)).unwrap() {
                Progress::Ask(next) => request = next,
                end => break assert_eq!(end, Progress::Done(true)),
            }
        }
        assert_eq!(
            asked,
            [
                (7, [1, 0, 0]),
                (2, [15, 0, 0]),
                (3, [8, 40, 0]),
                (5, [128, 0, 0]),
                (6, [9, 128, 0])
            ]
        );
    }

    #[test]
    fn no_hashes_are_asked_for_at_once() {
        let mut asking = asking();
        let request = asking.begin(false).unwrap();
        assert_eq!((request.kind, request.data), (7, [0; 3]));
        assert_eq!(asking.answer(&good(&request)), Ok(Progress::Done(false)));
    }

    #[test]
    fn a_change_waits_for_the_answer() {
        let mut asking = asking();
        let first = asking.begin(true).unwrap();
        assert_eq!(asking.begin(false), None);
        // Whatever the answer: it was about what is wanted no more.
        let refused = ControlResponse {
            status: 2,
            ..good(&first)
        };
        let Ok(Progress::Ask(second)) = asking.answer(&refused) else {
            panic!("it is not asked again");
        };
        assert_eq!((second.kind, second.data), (7, [0; 3]));
        assert_eq!(asking.answer(&good(&second)), Ok(Progress::Done(false)));
    }

    #[test]
    fn a_refusal_ends_it() {
        let mut asking = asking();
        let request = asking.begin(true).unwrap();
        let refused = ControlResponse {
            status: 1,
            ..good(&request)
        };
        let end = asking.answer(&refused);
        assert_eq!(end, Ok(Progress::Refused(Step::Algorithm, 1)));
        assert!(asking.begin(true).is_some());
    }

    #[test]
    fn only_what_was_asked_can_be_answered() {
        let mut asking = asking();
        let request = asking.begin(true).unwrap();
        for (id, kind) in [(0, 0), (request.id, 2), (request.id.wrapping_add(1), 7)] {
            let response = ControlResponse {
                id,
                kind,
                status: 0,
                data: 0,
            };
            assert_eq!(asking.answer(&response), Err(WrongAnswer { id, kind }));
        }
        assert!(asking.answer(&good(&request)).is_ok());
        assert!(asking.answer(&good(&request)).is_err(), "twice");
    }

    #[test]
    fn hashes_of_known_kinds_are_used() {
        let extra = |kind, algorithm| ExtraInfo {
            kind: 4,
            flags: 0,
            data: [kind, algorithm, 1, 2, 3, 4],
        };
        let hash = |ports| {
            Some(Hash {
                value: 0x0403_0201,
                ports,
            })
        };
        for (kind, found) in [
            (0, hash(false)),
            (1, hash(true)),
            (3, hash(true)),
            (4, None),
        ] {
            assert_eq!(Hash::from_extra(&extra(kind, 1)), found);
        }
        assert_eq!(Hash::from_extra(&extra(1, 0)), None);
    }

    #[test]
    fn an_even_table_has_all_queues() {
        assert_eq!([0, 1, 2, 3].map(|index| even(index, 3)), [0, 1, 2, 0]);
        assert_eq!(even(5, 0), 0);
    }
}
