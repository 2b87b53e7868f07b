// SPDX-License-Identifier: GPL-2.0

//! Tries event channels on the machine that it is loaded on, and tells in the kernel log what it saw.
//!
//! Built only with `OXEN_TESTS=1`, never installed, and loaded by the end-to-end suite. Ports are connected to ports of this
//! domain itself, so no backend is needed. The line `evtchn_test: passed` ends a good run; anything else makes the load fail.

use abi::types::DomainId;
use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use evtchn::{
    Channel,
    Event,
    Handler,
    Listener, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    },
};
use linux::cpu;

module! {
    type: EvtchnTest,
    name: "evtchn_test",
    authors: ["Oxen developers"],
    description: "Test of event channels",
    license: "GPL",
}

linux::param!(PINGS: u32 = 200, "pings", c"pings", "Pings per pair of CPUs");
linux::param!(PORTS: u32 = 64, "ports", c"ports", "Ports that are open at once");

const CPUS: usize = 64;

/// Counts events by the CPU that they came on.
struct Count {
    all: AtomicU32,
    by_cpu: [AtomicU32; CPUS],
    /// Ends every event as spurious.
    spurious: bool,
    /// Is notified again in every event.
    echo: Option<Channel>,
}

impl Count {
    fn new(spurious: bool, echo: Option<Channel>) -> Result<Arc<Self>> {
        let this = Self {
            all: AtomicU32::new(0),
            by_cpu: [const { AtomicU32::new(0) }; CPUS],
            spurious,
            echo,
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    fn all(&self) -> u32 {
        self.all.load(Ordering::SeqCst)
    }

    fn on(&self, cpu: u32) -> u32 {
        self.by_cpu
            .get(cpu as usize)
            .map_or(0, |count| count.load(Ordering::SeqCst))
    }
}

impl Handler for Count {
    fn event(&self, event: Event) {
        if let Some(count) = self.by_cpu.get(cpu::current() as usize) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        self.all.fetch_add(1, Ordering::SeqCst);
        if let Some(echo) = &self.echo {
            echo.notify();
        }
        if self.spurious {
            event.spurious();
        }
    }
}

/// Waits until `done`, for 10 s at most: an emulated machine can take a second for an event.
fn wait(done: impl Fn() -> bool) -> bool {
    let limit = cpu::ticks() + 10 * u64::from(cpu::ticks_per_second());
    while cpu::ticks() < limit {
        if done() {
            return true;
        }
        fsleep(Delta::from_millis(1));
    }
    done()
}

/// A port of ours that is listened to, and the other end of it.
fn pair(handler: &Arc<Count>) -> Result<(Listener<Count>, Channel)> {
    let near = Channel::alloc_unbound(DomainId::SELF)?;
    let far = Channel::bind_interdomain(DomainId::SELF, near.port())?;
    let listener = Listener::new(near, fmt!("evtchn_test"), handler.clone())?;
    Ok((listener, far))
}

/// Every ping arrives, on the CPU that the port was moved to.
fn pings(count: u32) -> Result {
    for cpu in cpu::online() {
        let handler = Count::new(false, None)?;
        let (listener, far) = pair(&handler)?;
        if let Err(error) = listener.set_affinity([cpu]) {
            pr_info!("port does not move to CPU {cpu} ({error:?})\n");
            continue;
        }
        let (before, before_on) = (handler.all(), handler.on(cpu));
        for ping in 1..=count {
            far.notify();
            let wanted = before.wrapping_add(ping);
            if !wait(|| handler.all() >= wanted) {
                pr_err!("ping {ping} of {count} to CPU {cpu} was lost\n");
                return Err(EIO);
            }
        }
        let on = handler.on(cpu).wrapping_sub(before_on);
        pr_info!("{count} pings, {on} of them on CPU {cpu}\n");
    }
    Ok(())
}

/// A port is moved to and fro while it fires, and no event is lost.
fn moves(count: u32) -> Result {
    let handler = Count::new(false, None)?;
    let (listener, far) = pair(&handler)?;
    for round in 1..=count {
        let cpu = cpu::online()
            .nth(round as usize % cpu::online().count())
            .unwrap_or(0);
        let seen = handler.all();
        far.notify();
        let _ = listener.set_affinity([cpu]);
        far.notify();
        if !wait(|| handler.all() > seen) {
            pr_err!("an event was lost in move {round}\n");
            return Err(EIO);
        }
        // Whatever is still on its way belongs to this round.
        let seen = handler.all();
        listener.poke();
        if !wait(|| handler.all() > seen) {
            pr_err!("a poke was lost in move {round}\n");
            return Err(EIO);
        }
    }
    pr_info!("{count} moves under fire\n");
    Ok(())
}

/// A port that fires without end leaves the machine alive, and slows down when its events are spurious.
fn storm(spurious: bool) -> Result<u32> {
    let near = Channel::alloc_unbound(DomainId::SELF)?;
    let far = Channel::bind_interdomain(DomainId::SELF, near.port())?;
    let handler = Count::new(spurious, Some(far))?;
    let listener = Listener::new(near, fmt!("evtchn_test storm"), handler.clone())?;
    listener.poke();
    fsleep(Delta::from_millis(3000));
    let all = handler.all();
    drop(listener);
    Ok(all)
}

/// Many ports at once, beyond one page of event words if asked for.
fn many(count: u32) -> Result {
    let handler = Count::new(false, None)?;
    let mut pairs = KVec::new();
    for _ in 0..count {
        pairs.push(pair(&handler)?, GFP_KERNEL)?;
    }
    let before = handler.all();
    for (_, far) in &pairs {
        far.notify();
    }
    if !wait(|| handler.all() >= before.wrapping_add(count)) {
        pr_err!(
            "{} of {count} ports fired\n",
            handler.all().wrapping_sub(before)
        );
        return Err(EIO);
    }
    let mut spread = KVec::new();
    for cpu in cpu::online() {
        spread.push(handler.on(cpu), GFP_KERNEL)?;
    }
    pr_info!("{count} ports at once, events by CPU {spread:?}\n");
    Ok(())
}

/// The module.
struct EvtchnTest;

impl kernel::Module for EvtchnTest {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        evtchn::require()?;
        let count = PINGS.get();
        pings(count)?;
        moves(count)?;
        many(PORTS.get())?;
        let (useful, useless) = (storm(false)?, storm(true)?);
        pr_info!("storm of 3 s: {useful} events, {useless} when spurious\n");
        if useful == 0 || useless == 0 || useless > 40 {
            pr_err!("the storm was not held back, or its port got stuck\n");
            return Err(EIO);
        }
        pr_info!("passed\n");
        Ok(Self)
    }
}
