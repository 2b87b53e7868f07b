// SPDX-License-Identifier: GPL-2.0

//! What is measured: a name, a unit of work, and where the work comes from.

/// Where the work comes from.
pub(crate) enum Kind {
    /// `agent measure WORD [seconds] WORD…` in the guest, which leaves marks in the trace.
    Agent(&'static str, &'static [&'static str]),
    /// Nothing runs; Xen's trace says what the guest does all the same.
    Idle,
    /// fio reads from this disk of the guest's at random.
    Disk(&'static str),
    /// One TCP stream, from the guest or to it.
    Tcp { from_guest: bool },
    /// Packets from the guest's kernel.
    Packets,
}

/// One of them.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// What the figure is.
    pub(crate) rate: &'static str,
    /// What counts are given for each of.
    pub(crate) unit: &'static str,
    /// Whether less is better.
    pub(crate) fewer: bool,
    pub(crate) kind: Kind,
}

/// All there are, in the order in which they run.
pub(crate) const ALL: &[Workload] = &[
    Workload {
        name: "clock",
        rate: "calls/s",
        unit: "call",
        fewer: false,
        kind: Kind::Agent("clock", &[]),
    },
    Workload {
        name: "pipe-1cpu",
        rate: "round trips/s",
        unit: "round trip",
        fewer: false,
        kind: Kind::Agent("pipe", &["0", "0"]),
    },
    Workload {
        name: "pipe-2cpu",
        rate: "round trips/s",
        unit: "round trip",
        fewer: false,
        kind: Kind::Agent("pipe", &["0", "1"]),
    },
    Workload {
        name: "wake",
        rate: "wake-ups/s",
        unit: "wake-up",
        fewer: false,
        kind: Kind::Agent("wake", &["4"]),
    },
    Workload {
        name: "idle",
        rate: "exits/s",
        unit: "second",
        fewer: true,
        kind: Kind::Idle,
    },
    Workload {
        name: "blk-rr-32",
        rate: "reads/s",
        unit: "read",
        fewer: false,
        kind: Kind::Disk("xvdb"),
    },
    Workload {
        name: "null-rr-32",
        rate: "reads/s",
        unit: "read",
        fewer: false,
        kind: Kind::Disk("xvdn"),
    },
    Workload {
        name: "net-tx",
        rate: "Mbit/s",
        unit: "MiB",
        fewer: false,
        kind: Kind::Tcp { from_guest: true },
    },
    Workload {
        name: "net-rx",
        rate: "Mbit/s",
        unit: "MiB",
        fewer: false,
        kind: Kind::Tcp { from_guest: false },
    },
    Workload {
        name: "pktgen",
        rate: "packets/s",
        unit: "packet",
        fewer: false,
        kind: Kind::Packets,
    },
];
