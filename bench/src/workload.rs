// SPDX-License-Identifier: GPL-2.0

//! What is measured: a name, a unit of work, and where the work comes from.

/// Where the work comes from.
pub(crate) enum Kind {
    /// `agent measure WORD [seconds] WORD…` in the guest, which leaves marks in the trace.
    Agent(&'static str, &'static [&'static str]),
    /// Nothing runs; Xen's trace says what the guest does all the same.
    Idle,
    /// fio, past the guest's cache.
    Disk(Fio),
    /// Streams of TCP, from the guest or to it.
    Tcp { from_guest: bool, streams: u32 },
    /// Small datagrams of UDP from the guest.
    Datagrams,
    /// `agent measure echo` in the guest, which dom0 answers.
    Echo,
    /// One stream of TCP to a third guest.
    Guest,
    /// Packets from the guest's kernel.
    Packets,
    /// A restored guest goes on and answers again.
    Resume,
}

/// What fio does.
#[derive(Clone, Copy)]
pub(crate) struct Fio {
    /// The disk of the guest's.
    pub(crate) disk: &'static str,
    /// As its option `rw`, with those that go with it.
    pub(crate) rw: &'static str,
    /// Bytes of one request.
    pub(crate) bytes: u32,
    /// Requests at a time.
    pub(crate) depth: u32,
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

impl Workload {
    /// Whether a unit is so short that it matters where the kernel and its modules lie, which is random: the emulator's
    /// caches then favour one guest or the other until it is booted again.
    pub(crate) fn is_short(&self) -> bool {
        matches!(self.kind, Kind::Agent("clock", _))
    }

    /// How many CPUs a guest needs for it.
    pub(crate) fn vcpus(&self) -> u32 {
        match self.kind {
            Kind::Agent("pipe", [_, "1"]) => 2,
            _ => 1,
        }
    }

    /// Whether packets are all that it makes.
    pub(crate) fn is_network(&self) -> bool {
        matches!(
            self.kind,
            Kind::Tcp { .. } | Kind::Datagrams | Kind::Echo | Kind::Guest | Kind::Packets
        )
    }

    /// How much of its unit one of what dom0's backend counts is: bytes are counted, and MiB spoken of.
    pub(crate) fn unit_of_count(&self) -> f64 {
        match self.kind {
            Kind::Tcp { .. } | Kind::Guest => 1.0 / 1_048_576.0,
            _ => 1.0,
        }
    }
}

/// What a disk's figure is, and what counts are given for each of.
type Figure = (&'static str, &'static str);

const READS: Figure = ("reads/s", "read");
const WRITES: Figure = ("writes/s", "write");
const REQUESTS: Figure = ("requests/s", "request");

const fn disk(
    name: &'static str,
    (rate, unit): Figure,
    disk: &'static str,
    rw: &'static str,
    bytes: u32,
    depth: u32,
) -> Workload {
    rated(
        name,
        rate,
        unit,
        Kind::Disk(Fio {
            disk,
            rw,
            bytes,
            depth,
        }),
    )
}

/// More of it is better.
const fn rated(name: &'static str, rate: &'static str, unit: &'static str, kind: Kind) -> Workload {
    Workload {
        name,
        rate,
        unit,
        fewer: false,
        kind,
    }
}

const fn tcp(name: &'static str, from_guest: bool, streams: u32) -> Workload {
    let kind = Kind::Tcp {
        from_guest,
        streams,
    };
    rated(name, "Mbit/s", "MiB", kind)
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
    disk("blk-rr-1", READS, "xvdb", "randread", 4096, 1),
    disk("blk-rr-32", READS, "xvdb", "randread", 4096, 32),
    disk("blk-rw-1", WRITES, "xvdb", "randwrite", 4096, 1),
    disk("blk-rw-32", WRITES, "xvdb", "randwrite", 4096, 32),
    disk(
        "blk-mix-32",
        REQUESTS,
        "xvdb",
        "randrw --rwmixread=70",
        4096,
        32,
    ),
    disk("blk-seq-128k", READS, "xvdb", "read", 128 << 10, 8),
    disk("blk-seq-1m", READS, "xvdb", "read", 1 << 20, 8),
    disk("null-rr-32", READS, "xvdn", "randread", 4096, 32),
    tcp("net-tx", true, 1),
    tcp("net-tx-4", true, 4),
    tcp("net-rx", false, 1),
    tcp("net-rx-4", false, 4),
    rated("net-udp", "packets/s", "packet", Kind::Datagrams),
    rated("net-rr", "round trips/s", "round trip", Kind::Echo),
    rated("net-guest", "Mbit/s", "MiB", Kind::Guest),
    rated("pktgen", "packets/s", "packet", Kind::Packets),
    // The last: the guests are other domains afterwards.
    Workload {
        name: "resume",
        rate: "seconds",
        unit: "resume",
        fewer: true,
        kind: Kind::Resume,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        for (number, workload) in ALL.iter().enumerate() {
            assert!(ALL
                .iter()
                .skip(number + 1)
                .all(|other| other.name != workload.name));
        }
    }

    #[test]
    fn bytes_are_counted_for_what_is_given_in_mib() {
        for workload in ALL {
            assert_eq!(workload.unit == "MiB", workload.unit_of_count() < 1.0);
        }
    }
}
