// SPDX-License-Identifier: GPL-2.0

//! Disks that do nothing but fail, each in its own way: what becomes of their requests.
//!
//! The block layer looks for partitions on a new disk, and so reads without anybody asking.

use super::{
    Disk,
    HwQueue,
    Limits,
    Major,
    Name,
    Op,
    Operations,
    QueueRef,
    Rejected,
    Request,
    Status, //
};
use crate::{
    testing::Steps,
    workqueue::kthread::{
        self,
        Thread, //
    },
    Own, //
};
use kernel::{
    faux,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

/// What a disk does with a request before it fails it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Nothing.
    Fail,
    /// Forgets it.
    Drop,
    /// Rejects it once.
    Reject,
    /// Has it offered again once.
    Requeue,
    /// Stops the queue, once.
    Stop,
}

struct Data {
    manner: Manner,
    offered: Atomic<u32>,
    /// Offered again after the manner was shown.
    again: Atomic<u32>,
    wrong: Atomic<u32>,
    /// Pdus that exist.
    pdus: Arc<Atomic<u32>>,
    stopped: Arc<Steps>,
}

/// Counts itself.
struct Pdu {
    pdus: Arc<Atomic<u32>>,
    shown: bool,
}

impl Drop for Pdu {
    fn drop(&mut self) {
        self.pdus.fetch_sub(1, Relaxed);
    }
}

struct Failing;

impl Operations for Failing {
    type OwnerModule = Own;
    type Data = Data;
    type Pdu = Pdu;

    fn new_pdu(data: &Data) -> Result<Pdu> {
        data.pdus.add(1, Relaxed);
        Ok(Pdu {
            pdus: data.pdus.clone(),
            shown: false,
        })
    }

    fn queue_rq(
        data: &Data,
        queue: HwQueue<'_>,
        mut request: Request<Self>,
        _last: bool,
    ) -> Result<(), Rejected<Self>> {
        data.offered.add(1, Relaxed);
        let mut bytes = 0;
        let mut whole = queue.index() == 0 && request.op() == Op::Read;
        for segment in request.segments() {
            bytes += segment.len();
            whole &= !segment.is_empty() && segment.offset() + segment.len() <= 4096;
        }
        if !whole || bytes != request.bytes() {
            data.wrong.add(1, Relaxed);
        }
        if core::mem::replace(&mut request.pdu_mut().shown, true) {
            data.again.add(1, Relaxed);
            request.pdu_mut().shown = false;
            request.complete(Status::IoError);
            return Ok(());
        }
        match data.manner {
            Manner::Fail => {
                request.pdu_mut().shown = false;
                request.complete(Status::IoError);
            }
            Manner::Drop => {
                request.pdu_mut().shown = false;
                drop(request);
            }
            Manner::Reject => return Err(request.reject(Status::Resource)),
            Manner::Requeue => request.requeue(),
            Manner::Stop => {
                queue.stop();
                data.stopped.step();
                return Err(request.reject(Status::DeviceResource));
            }
        }
        Ok(())
    }

    fn commit_rqs(_data: &Data, _queue: HwQueue<'_>) {}

    fn timed_out(_data: &Data, _queue: u32, _tag: u32) {}
}

/// A disk, and what it needs.
struct Fixture {
    disk: Disk<Failing>,
    pdus: Arc<Atomic<u32>>,
    _major: Major,
    parent: faux::Registration,
}

/// Requests of the disk.
const DEPTH: u32 = 8;

/// The block layer has one more request for flushes.
const PDUS: u32 = DEPTH + 1;

impl Fixture {
    fn with(manner: Manner, limits: &Limits, name: kernel::fmt::Arguments<'_>) -> Result<Self> {
        let pdus = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let data = Data {
            manner,
            offered: Atomic::new(0),
            again: Atomic::new(0),
            wrong: Atomic::new(0),
            pdus: pdus.clone(),
            stopped: Steps::new()?,
        };
        let data = Arc::new(data, GFP_KERNEL)?;
        let major = Major::register(241, c"oxen-test-disk")?;
        let name = Name {
            name,
            major: major.number(),
            first_minor: 0,
            minors: 16,
            partitions: true,
            removable: false,
        };
        Ok(Self {
            disk: Disk::new(data, 1, DEPTH, limits, name)?,
            pdus,
            _major: major,
            parent: faux::Registration::new(c"oxen-test-disk", None)?,
        })
    }

    fn new(manner: Manner) -> Result<Self> {
        Self::with(manner, &Limits::default(), fmt!("oxentest"))
    }

    /// Has the disk read, and returns how often a request was offered, at first and again.
    fn read(&mut self) -> Result<(u32, u32)> {
        self.disk.set_capacity(2048);
        self.disk.add(Some(self.parent.as_ref().as_ref()))?;
        let data = self.disk.data();
        if data.wrong.load(Relaxed) != 0 {
            return Err(EIO);
        }
        let again = data.again.load(Relaxed);
        Ok((data.offered.load(Relaxed) - again, again))
    }

    /// Takes the disk away, and returns how many pdus there were before and are now.
    fn end(self) -> (u32, u32) {
        let Self { disk, pdus, .. } = self;
        let before = pdus.load(Relaxed);
        drop(disk);
        (before, pdus.load(Relaxed))
    }
}

#[kunit_tests(oxen_block_disk)]
mod tests {
    use super::*;

    #[test]
    fn requests_end_once_and_their_pdus_with_the_disk() -> Result {
        for manner in [Manner::Fail, Manner::Drop] {
            let mut test = Fixture::new(manner)?;
            let (first, again) = test.read()?;
            assert!(first > 0);
            assert_eq!(again, 0);
            assert_eq!(test.end(), (PDUS, 0));
        }
        Ok(())
    }

    #[test]
    fn what_is_rejected_or_requeued_is_offered_again() -> Result {
        for manner in [Manner::Reject, Manner::Requeue] {
            let mut test = Fixture::new(manner)?;
            let (first, again) = test.read()?;
            assert!(first > 0);
            assert_eq!(again, first);
            assert_eq!(test.end(), (PDUS, 0));
        }
        Ok(())
    }

    #[test]
    fn a_stopped_queue_waits_until_it_is_started() -> Result {
        let mut test = Fixture::new(Manner::Stop)?;
        let queue: QueueRef = test.disk.queue().ok_or(ENODEV)?;
        let stopped = test.disk.data().stopped.clone();
        let starter = Thread::spawn(c"oxen_test", move || {
            let mut seen = 0;
            while !kthread::should_stop() {
                if stopped.count() > seen {
                    seen += 1;
                    queue.start_stopped();
                }
                let _ = stopped.wait(seen + 1, 20);
            }
        })?;
        let (first, again) = test.read()?;
        assert!(first > 0);
        assert_eq!(again, first);
        drop(starter);
        assert_eq!(test.end(), (PDUS, 0));
        Ok(())
    }

    #[test]
    fn a_dead_disk_is_offered_nothing() -> Result {
        let test = Fixture::new(Manner::Fail)?;
        test.disk.mark_dead();
        assert!(test.disk.queue().is_none());
        test.disk.remove();
        assert!(!test.disk.is_added());
        assert_eq!(test.end(), (PDUS, 0));
        Ok(())
    }

    #[test]
    fn a_disk_that_makes_no_sense_is_refused() {
        let odd = Limits {
            logical_block_size: 513,
            ..Limits::default()
        };
        let refused = Fixture::with(Manner::Fail, &odd, fmt!("oxentest"));
        assert_eq!(refused.err(), Some(EINVAL));
        let long = fmt!("a-name-of-more-than-thirty-one-letters");
        let refused = Fixture::with(Manner::Fail, &Limits::default(), long);
        assert_eq!(refused.err(), Some(EINVAL));
    }
}
