// SPDX-License-Identifier: GPL-2.0

//! The client, its thread and what follows keys, with a server of the tests at the other end of the page.

mod server;

use abi::xenstore::{
    shares::User,
    wire::Kind, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc, //
    },
    time::Delta,
};
use linux::{
    error::{
        ECONNRESET,
        EPROTO, //
    },
    new_wait_queue,
    sync::wait::{
        Sleep,
        WaitQueue,
        Woken, //
    },
    workqueue::kthread::Thread, //
};

pub(crate) use self::server::{
    Fixture,
    COLLIDING, //
};

use self::server::LONG;
use crate::{
    follow::{
        Complaints,
        Follow,
        Following, //
    },
    store::{
        body::Message,
        client::Within,
        request::{
            Owner,
            Receiver, //
        },
        watches::WatchHandler, //
    },
};

/// Counts what it is told, for those who wait for it.
#[pin_data]
struct Told {
    count: Atomic<u32>,
    #[pin]
    wait: WaitQueue,
}

impl Told {
    fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                count: Atomic::new(0),
                wait <- new_wait_queue!("xenbus::kunit::told"),
            }),
            GFP_KERNEL,
        )
    }

    fn times(&self, count: u32) -> bool {
        let limit = Some(Delta::from_secs(20));
        let enough = || self.count.load(Relaxed) >= count;
        self.wait.wait(Sleep::Killable, limit, enough) == Woken::Ready
    }
}

impl WatchHandler for Told {
    fn changed(&self, _path: &[u8]) {
        self.count.add(1, Relaxed);
        self.wait.wake_all();
    }
}

/// Follows a key; its first look fails.
struct Curious(Arc<Told>);

impl Follow for Curious {
    const KEYS: &'static [&'static str] = &["watched"];

    fn look(&self, _log: &Complaints) -> Result<Option<u32>> {
        self.0.changed(b"");
        match self.0.count.load(Relaxed) {
            1 => Err(EAGAIN),
            _ => Ok(None),
        }
    }

    fn failed(error: Error) {
        pr_err!("a transient error was told as one that stays: {error:?}\n");
    }
}

#[kunit_tests(oxen_xenbus_client)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_size_go_both_ways() -> Result {
        let test = Fixture::new()?;
        assert_eq!(test.store.number::<u32>("value")?, Some(42));
        let long = test.read("long")?;
        assert!(long.len() == LONG && long.iter().all(|byte| *byte == b'l'));
        test.store.write_bytes("long", &long)?;
        assert_eq!(test.store.write_bytes("long", b"short"), Err(EINVAL));
        let too_long = KVec::from_elem(b'l', 4096, GFP_KERNEL)?;
        assert_eq!(test.store.write_bytes("long", &too_long), Err(E2BIG));
        assert_eq!(test.faults(), 0);
        Ok(())
    }

    #[test]
    fn what_is_missing_or_no_number_is_told_apart() -> Result {
        let test = Fixture::new()?;
        assert_eq!(test.read("nothing").err(), Some(ENOENT));
        assert_eq!(test.store.number::<u32>("nothing")?, None);
        assert!(!test.store.exists("nothing")?);
        assert_eq!(test.store.number::<u32>("text"), Err(EINVAL));
        assert_eq!(test.read("no path").err(), Some(EINVAL));
        Ok(())
    }

    #[test]
    fn a_later_request_may_be_answered_first() -> Result {
        let test = Fixture::new()?;
        let answer = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let (store, into) = (test.store.clone(), answer.clone());
        let thread = Thread::spawn(c"oxen_test_reader", move || {
            let value = store.number::<u32>("later").ok().flatten();
            into.store(value.unwrap_or(1), Relaxed);
        })?;
        let desk = &test.desk;
        assert!(desk.comes_to(|| desk.held.load(Relaxed) == 1));
        assert_eq!(answer.load(Relaxed), 0);
        assert_eq!(test.read("value")?.as_slice(), b"42");
        drop(thread);
        assert_eq!(answer.load(Relaxed), 44);
        Ok(())
    }

    #[test]
    fn four_callers_at_once_each_get_their_own() -> Result {
        let test = Fixture::new()?;
        let good = Told::new()?;
        let mut threads = KVec::new();
        for number in 0..4 {
            let (store, good) = (test.store.clone(), good.clone());
            let thread = Thread::spawn(c"oxen_test_reader", move || {
                for _ in 0..100 {
                    let right = match number {
                        0 => store.exists("nothing") == Ok(false),
                        1 => store.read("long").is_ok_and(|v| v.as_bytes().len() == LONG),
                        _ => store.number::<u32>("value") == Ok(Some(42)),
                    };
                    if right {
                        good.changed(b"");
                    }
                }
            })?;
            threads.push(thread, GFP_KERNEL)?;
        }
        assert!(good.times(400));
        drop(threads);
        assert_eq!(test.client.state().outstanding.usage(), (0, 0));
        assert_eq!(test.faults(), 0);
        Ok(())
    }

    #[test]
    fn wrong_replies_are_counted_and_hurt_only_whom_they_are_for() -> Result {
        let test = Fixture::new()?;
        assert_eq!(test.read("mismatch").err(), Some(EPROTO));
        assert_eq!(test.faults(), 1);
        assert_eq!(test.read("stray")?.as_slice(), b"42");
        assert_eq!(test.faults(), 2);
        Ok(())
    }

    #[test]
    fn a_watch_fires_at_once_and_at_changes_until_it_ends() -> Result {
        let test = Fixture::new()?;
        let told = Told::new()?;
        let watch = test.store.watch("watched", told.clone())?;
        assert!(told.times(1));
        test.store.write("watched", "x")?;
        assert!(told.times(2));
        drop(watch);
        test.store.write("watched", "y")?;
        // Replies and events keep their order, so by now the event is known for a stray.
        assert_eq!(test.read("value")?.as_slice(), b"42");
        assert_eq!(told.count.load(Relaxed), 2);
        assert_eq!(test.client.counters.strays.load(Relaxed), 1);
        assert_eq!((test.client.watches().count(), test.faults()), (0, 0));
        Ok(())
    }

    #[test]
    fn keys_are_followed_until_the_end() -> Result {
        let test = Fixture::new()?;
        let told = Told::new()?;
        let following = Following::new(&test.store, Curious(told.clone()))?;
        // The first look fails for a while, and is taken again by itself.
        assert!(told.times(2));
        test.store.write("watched", "x")?;
        assert!(told.times(3));
        drop(following);
        test.store.write("watched", "y")?;
        assert_eq!(test.read("value")?.as_slice(), b"42");
        assert_eq!(told.count.load(Relaxed), 3);
        assert_eq!((test.client.watches().count(), test.faults()), (0, 0));
        Ok(())
    }

    #[test]
    fn rings_that_do_not_fit_are_started_anew_with_their_watches() -> Result {
        let test = Fixture::new()?;
        let told = Told::new()?;
        let _watch = test.store.watch("watched", told.clone())?;
        assert!(told.times(1));
        assert_eq!(test.read("torn").err(), Some(ECONNRESET));
        // What was asked for in the meantime fails as well.
        let value = loop {
            match test.read("value") {
                Err(ECONNRESET) => continue,
                value => break value?,
            }
        };
        assert_eq!(value.as_slice(), b"42");
        assert!(told.times(2));
        assert_eq!(test.client.counters.reconnects.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn transactions_wait_for_a_place_in_the_quota() -> Result {
        let test = Fixture::new()?;
        // The second server has a quota that is smaller than ours.
        for quota in [10, 3] {
            test.desk.quota.store(quota, Relaxed);
            test.desk.most.store(0, Relaxed);
            let good = Told::new()?;
            let mut threads = KVec::new();
            for _ in 0..12 {
                let (store, good) = (test.store.clone(), good.clone());
                let thread = Thread::spawn(c"oxen_test_writer", move || {
                    if store.transaction(|store| store.read("value")).is_ok() {
                        good.changed(b"");
                    }
                })?;
                threads.push(thread, GFP_KERNEL)?;
            }
            assert!(good.times(12));
            drop(threads);
            assert!(test.desk.most.load(Relaxed) <= quota.min(6));
            assert_eq!(test.client.transactions().taken(), 0);
        }
        Ok(())
    }

    #[test]
    fn a_transaction_that_nobody_waits_for_is_ended() -> Result {
        let test = Fixture::with_limit(Delta::from_millis(300))?;
        let client = &test.client;
        // As `begin` does, but for a server that keeps the request back.
        let place = client.transaction_place(User::Kernel)?;
        let message = Message::with_path(&"later")?;
        let (kind, heir) = (Kind::TransactionStart, Owner::Undo(place));
        let answer = client.call_or(User::Kernel, kind, Within::NONE, message, heir);
        assert!(matches!(answer, Err(ETIMEDOUT)));
        assert_eq!(client.transactions().taken(), 1);
        assert_eq!(test.read("value")?.as_slice(), b"42");
        let desk = &test.desk;
        assert!(desk.comes_to(|| desk.aborted.load(Relaxed) == 1));
        assert_eq!(
            (desk.open.load(Relaxed), client.transactions().taken()),
            (0, 0)
        );
        // One that is dropped as well.
        drop(test.store.begin()?);
        assert!(desk.comes_to(|| desk.aborted.load(Relaxed) == 2));
        assert_eq!(desk.open.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn a_transaction_whose_connection_is_lost_is_run_again() -> Result {
        let test = Fixture::new()?;
        let mut runs = 0;
        let value = test.store.transaction(|store| {
            runs += 1;
            store.number::<u32>(if runs == 1 { "torn" } else { "value" })
        })?;
        assert_eq!((value, runs), (Some(42), 2));
        // The first one went with its connection, and nothing is sent in it any more.
        let transaction = test.store.begin()?;
        assert_eq!(test.read("torn").err(), Some(ECONNRESET));
        assert_eq!(transaction.number::<u32>("value"), Err(ECONNRESET));
        drop(transaction);
        assert_eq!(test.store.number::<u32>("value")?, Some(42));
        assert_eq!(test.desk.aborted.load(Relaxed), 0);
        assert_eq!(test.client.transactions().taken(), 0);
        Ok(())
    }

    #[test]
    fn a_request_that_is_half_sent_is_sent_to_its_end() -> Result {
        let test = Fixture::new()?;
        test.desk.takes_no_new_start();
        let store = test.store.clone();
        let reader = Thread::spawn(c"oxen_test_reader", move || {
            let _ = store.read("halves");
        })?;
        let desk = &test.desk;
        assert!(desk.comes_to(|| desk.served.load(Relaxed) == 1));
        let long = KVec::from_elem(b'l', LONG, GFP_KERNEL)?;
        let sent = test.store.write_bytes("long", &long);
        assert_eq!(sent, Err(ECONNRESET));
        drop(reader);
        assert_eq!(test.read("value")?.as_slice(), b"42");
        Ok(())
    }

    #[test]
    fn programs_leave_requests_to_the_kernel() -> Result {
        let test = Fixture::new()?;
        let mut tickets = KVec::new();
        let error = loop {
            match test.client.try_ticket(User::Program) {
                Ok(ticket) => tickets.push(ticket, GFP_KERNEL)?,
                Err(error) => break error,
            }
        };
        assert_eq!((error, tickets.len()), (EAGAIN, 48));
        assert!(!test.client.is_vacant(User::Program));
        assert_eq!(test.read("value")?.as_slice(), b"42");
        drop(tickets);
        assert!(test.client.is_vacant(User::Program));
        Ok(())
    }

    #[test]
    fn answers_are_taken_in_without_io() -> Result {
        struct Checks(Arc<Told>);
        impl Receiver for Checks {
            fn answered(&mut self, answer: Result<&[u8]>, _epoch: u32) {
                if answer == Ok(&b"42"[..]) && linux::mm::reclaim::is_noio() {
                    self.0.changed(b"");
                }
            }
        }
        let test = Fixture::new()?;
        let told = Told::new()?;
        let receiver = KBox::new(Checks(told.clone()), GFP_KERNEL)?;
        let ticket = test.client.try_ticket(User::Program)?;
        let message = Message::with_path(&"value")?;
        let owner = Owner::Receiver(receiver);
        let sent = ticket.send(Kind::Read.number(), Within::NONE, message, owner);
        assert!(sent.is_ok());
        assert!(told.times(1));
        Ok(())
    }

    #[test]
    fn a_closed_client_sends_nothing() -> Result {
        let test = Fixture::new()?;
        test.client.close();
        assert_eq!(test.read("value").err(), Some(ENODEV));
        Ok(())
    }
}
