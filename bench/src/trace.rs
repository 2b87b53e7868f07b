// SPDX-License-Identifier: GPL-2.0

//! Files that xentrace writes, by `xen/include/public/trace.h`.
//!
//! A file is one record after the other: a header word (event, number of data words, whether a time follows), the time
//! as two words if so, and up to seven data words. Records of several CPUs are told apart by records of xentrace's
//! own, which say whose the following ones are.

use std::collections::BTreeMap;

/// Records were lost: how many, and whose.
const LOST: u32 = 0x1f001;
/// xentrace: which CPU's records follow.
const CPU_CHANGE: u32 = 0x1f003;
/// The scheduler put one vCPU in another's place: from domain, vCPU, to domain, vCPU.
const SWITCH: u32 = 0x2800a;
const VMX_EXIT: u32 = 0x81002;
const SVM_EXIT: u32 = 0x81003;
const INJECT: u32 = 0x82004;
const MSR_READ: u32 = 0x8200c;
const MSR_WRITE: u32 = 0x8200d;
const CPUID: u32 = 0x8200e;
const HYPERCALL: u32 = 0x82012;
const NESTED_FAULT: u32 = 0x82021;
/// A hypercall of a PV domain, with some of its arguments.
const PV_HYPERCALL: u32 = 0x20100d;
/// Set in an event that carries 64-bit addresses.
const WIDE: u32 = 0x100;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    cpu: u32,
    /// Of the record, or of the last one on its CPU that has one.
    time: u64,
    event: u32,
    words: [u32; 7],
    len: usize,
}

impl Record {
    fn word(&self, at: usize) -> Option<u32> {
        self.words.get(..self.len)?.get(at).copied()
    }

    /// The event of those Xen has in two widths, without its width.
    fn event(&self) -> u32 {
        match self.event & 0xff000 {
            0x81000 | 0x82000 if self.event & 0xe00 == 0 => self.event & !WIDE,
            _ => self.event,
        }
    }
}

/// The records of a file. It ends where the last whole record does.
struct Records<'a> {
    left: &'a [u8],
    cpu: u32,
    times: BTreeMap<u32, u64>,
}

impl Records<'_> {
    fn of(file: &[u8]) -> Records<'_> {
        Records {
            left: file,
            cpu: 0,
            times: BTreeMap::new(),
        }
    }

    fn next_word(&mut self) -> Option<u32> {
        let (word, left) = self.left.split_first_chunk()?;
        self.left = left;
        Some(u32::from_le_bytes(*word))
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let head = self.next_word()?;
        let event = head & 0x0fff_ffff;
        let len = ((head >> 28) & 7) as usize;
        if head >> 31 != 0 {
            let (low, high) = (self.next_word()?, self.next_word()?);
            let time = (u64::from(high) << 32) | u64::from(low);
            self.times.insert(self.cpu, time);
        }
        let mut words = [0; 7];
        for word in words.iter_mut().take(len) {
            *word = self.next_word()?;
        }
        if let (CPU_CHANGE, [cpu, ..]) = (event, words) {
            self.cpu = cpu;
        }
        Some(Record {
            cpu: self.cpu,
            time: self.times.get(&self.cpu).copied().unwrap_or(0),
            event,
            words,
            len,
        })
    }
}

/// How often each key came.
pub(crate) type Tally<K> = BTreeMap<K, u64>;

/// What one domain made Xen do.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Exits, by the processor's reason.
    pub(crate) exits: Tally<u32>,
    /// Whether the reasons are Intel's.
    pub(crate) vmx: bool,
    /// Nested page faults, by page.
    pub(crate) pages: Tally<u64>,
    /// Hypercalls, by number.
    pub(crate) hypercalls: Tally<u32>,
    /// Writes to model-specific registers, by register.
    pub(crate) msr_writes: Tally<u32>,
    /// Reads of them.
    pub(crate) msr_reads: Tally<u32>,
    /// Interrupts that Xen put into the guest, by vector.
    pub(crate) injected: Tally<u32>,
    /// Hypercalls of dom0, by number and first argument.
    pub(crate) dom0: Tally<(u32, u32)>,
    /// Records that Xen had no room for.
    pub(crate) lost: u64,
    /// Ticks of the TSC that this covers.
    pub(crate) ticks: u64,
    /// Whether both marks of the measuring program were found, and only what lies between them was counted.
    pub(crate) marked: bool,
}

impl Trace {
    /// Counts what `domain` did, between the marks of its measuring program when `marks` are to be there.
    pub(crate) fn read(file: &[u8], domain: u32, marks: bool) -> Trace {
        let (mut first, mut last) = (u64::MAX, 0);
        let (mut begin, mut end) = (None, None);
        let mut running = BTreeMap::new();
        for record in Records::of(file).filter(|record| record.time != 0) {
            first = first.min(record.time);
            last = last.max(record.time);
            track(&mut running, &record);
            if record.event() == CPUID && running.get(&record.cpu) == Some(&domain) {
                match record.word(0) {
                    Some(agent::marks::BEGIN) => begin = begin.or(Some(record.time)),
                    Some(agent::marks::END) => end = Some(record.time),
                    _ => {}
                }
            }
        }
        let mut trace = Trace::default();
        if let (true, Some(begin), Some(end)) = (marks, begin, end) {
            (first, last) = (begin, end);
            trace.marked = true;
        }
        trace.ticks = last.saturating_sub(first);

        running.clear();
        for record in Records::of(file) {
            track(&mut running, &record);
            if record.event == LOST {
                trace.lost += u64::from(record.word(0).unwrap_or(1));
            }
            if (first..=last).contains(&record.time) {
                trace.count(&record, running.get(&record.cpu) == Some(&domain));
            }
        }
        trace
    }

    fn count(&mut self, record: &Record, ours: bool) {
        let (zeroth, first) = (record.word(0), record.word(1));
        let add = |tally: &mut Tally<u32>, key: Option<u32>| {
            if let Some(key) = key {
                *tally.entry(key).or_default() += 1;
            }
        };
        match record.event() {
            // Only dom0 is a PV domain here.
            PV_HYPERCALL => {
                let op = zeroth.unwrap_or(0);
                // The first argument, if it is there, is the next word: 32 or 64 bits of it.
                let sub = if (op >> 20) & 3 == 0 { None } else { first };
                *self
                    .dom0
                    .entry((op & 0xfffff, sub.unwrap_or(u32::MAX)))
                    .or_default() += 1;
            }
            _ if !ours => {}
            SVM_EXIT => add(&mut self.exits, zeroth),
            VMX_EXIT => {
                self.vmx = true;
                // The uppermost bit tells of a failed entry.
                add(&mut self.exits, zeroth.map(|reason| reason & 0xffff));
            }
            // The second word says that it is only a request to exit as soon as the guest takes interrupts.
            INJECT if first == Some(0) => {
                add(&mut self.injected, zeroth.map(|vector| vector & 0xff))
            }
            MSR_READ => add(&mut self.msr_reads, zeroth),
            MSR_WRITE => add(&mut self.msr_writes, zeroth),
            HYPERCALL => add(&mut self.hypercalls, zeroth),
            NESTED_FAULT => {
                if let (Some(low), Some(high)) = (zeroth, first) {
                    let page = ((u64::from(high) << 32) | u64::from(low)) >> 12;
                    *self.pages.entry(page).or_default() += 1;
                }
            }
            _ => {}
        }
    }
}

/// Notes which domain a CPU runs from here on.
fn track(running: &mut BTreeMap<u32, u32>, record: &Record) {
    if let (SWITCH, Some(next)) = (record.event, record.word(2)) {
        running.insert(record.cpu, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Padding to the end of Xen's ring.
    const WRAP: u32 = 0x1f002;

    /// A record as it lies in a file.
    fn record(event: u32, time: Option<u64>, words: &[u32]) -> Vec<u8> {
        let len = u32::try_from(words.len()).expect("few words");
        let mut all = vec![event | (len << 28) | (u32::from(time.is_some()) << 31)];
        if let Some(time) = time {
            all.extend([time as u32, (time >> 32) as u32]);
        }
        all.extend(words);
        all.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn exit(time: u64, reason: u32) -> Vec<u8> {
        record(SVM_EXIT | WIDE, Some(time), &[reason, 0, 0])
    }

    fn to(time: u64, domain: u32) -> Vec<u8> {
        record(SWITCH, Some(time), &[0x7fff, 0, domain, 0])
    }

    fn on(cpu: u32) -> Vec<u8> {
        record(CPU_CHANGE, None, &[cpu, 0x1000])
    }

    #[test]
    fn each_domain_is_counted_on_its_own() {
        let file = [
            on(0),
            exit(1, 0x78),
            to(2, 5),
            exit(3, 0x78),
            exit(4, 0x400),
            record(
                NESTED_FAULT,
                None,
                &[0xfee0_00b0, 0, 0xffff_ffff, 0xffff_ffff, 0, 4],
            ),
            to(5, 6),
            exit(6, 0x81),
        ]
        .concat();
        let trace = Trace::read(&file, 5, false);
        assert_eq!(trace.exits, Tally::from([(0x78, 1), (0x400, 1)]));
        assert_eq!(trace.pages, Tally::from([(0xfee00, 1)]));
        assert_eq!(trace.ticks, 5);
        assert!(!trace.vmx && trace.lost == 0);
        assert_eq!(Trace::read(&file, 6, false).exits, Tally::from([(0x81, 1)]));
    }

    #[test]
    fn cpus_take_turns() {
        let file = [
            on(0),
            to(10, 5),
            on(1),
            to(5, 7),
            exit(6, 0x78),
            on(0),
            exit(11, 0x78),
            record(HYPERCALL, None, &[29]),
        ]
        .concat();
        let trace = Trace::read(&file, 5, false);
        assert_eq!(trace.exits, Tally::from([(0x78, 1)]));
        assert_eq!(trace.hypercalls, Tally::from([(29, 1)]));
    }

    #[test]
    fn padding_is_skipped_and_losses_are_told() {
        let file = [
            on(0),
            to(1, 5),
            exit(2, 0x78),
            record(WRAP, Some(0), &[0, 0, 0]),
            record(WRAP, None, &[]),
            record(LOST, Some(3), &[17, 5, 0, 0]),
            record(LOST, Some(4), &[3, 5, 0, 0]),
            exit(5, 0x78),
        ]
        .concat();
        let trace = Trace::read(&file, 5, false);
        assert_eq!(trace.lost, 20);
        assert_eq!(trace.exits, Tally::from([(0x78, 2)]));
    }

    #[test]
    fn marks_bound_what_is_counted() {
        let mark = |time, leaf| record(CPUID, Some(time), &[leaf, 0, 0, 0, 0, 0]);
        let file = [
            on(0),
            to(1, 5),
            exit(2, 0x78),
            mark(3, agent::marks::BEGIN),
            exit(4, 0x78),
            record(INJECT, Some(5), &[0xec, 0]),
            record(INJECT, Some(5), &[0, 1]),
            record(MSR_WRITE, Some(6), &[0x80b, 0, 0]),
            mark(7, agent::marks::END),
            exit(8, 0x78),
        ]
        .concat();
        let trace = Trace::read(&file, 5, true);
        assert!(trace.marked);
        assert_eq!((trace.ticks, trace.exits.get(&0x78)), (4, Some(&1)));
        assert_eq!(trace.injected, Tally::from([(0xec, 1)]));
        assert_eq!(trace.msr_writes, Tally::from([(0x80b, 1)]));
        let trace = Trace::read(&file, 5, false);
        assert_eq!((trace.marked, trace.exits.get(&0x78)), (false, Some(&3)));
        assert!(!Trace::read(&file, 6, true).marked);
    }

    #[test]
    fn hypercalls_of_dom0_are_told_apart() {
        let file = [
            on(0),
            to(1, 0),
            record(PV_HYPERCALL, Some(2), &[0x0110_0014, 5, 32]),
            record(PV_HYPERCALL, Some(3), &[0x0110_0014, 5, 1]),
            record(PV_HYPERCALL, Some(4), &[0x20]),
        ]
        .concat();
        let trace = Trace::read(&file, 5, false);
        assert_eq!(trace.dom0, Tally::from([((20, 5), 2), ((32, u32::MAX), 1)]));
    }

    #[test]
    fn a_file_cut_short_ends_with_its_last_whole_record() {
        let mut file = [on(0), to(1, 5), exit(2, 0x78), exit(3, 0x78)].concat();
        file.truncate(file.len() - 3);
        assert_eq!(Trace::read(&file, 5, false).exits, Tally::from([(0x78, 1)]));
        assert_eq!(Trace::read(&[], 5, true).ticks, 0);
    }
}
