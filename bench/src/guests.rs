// SPDX-License-Identifier: GPL-2.0

//! The two guests, alike but for their drivers, of which one runs at a time.

use crate::peer;
use anyhow::{Context, Result};
use companion::{progress, Background, Companion, Disk, Domain, GuestConfig, Vif, BRIEF, LONG};
use std::thread;
use std::time::Duration;

/// Size in MiB of the disk in a file.
const DISK: u32 = 64;
/// Seconds that a guest takes to boot, about.
pub(crate) const SECONDS: u32 = 70;
/// How long a guest that goes on is left alone before it is measured.
const SETTLE: Duration = Duration::from_secs(1);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Oxen,
    C,
}

impl Side {
    pub(crate) const BOTH: [Side; 2] = [Side::Oxen, Side::C];

    /// As people read it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Side::Oxen => "Oxen",
            Side::C => "C",
        }
    }

    /// Name of the domain.
    pub(crate) fn guest(self) -> &'static str {
        match self {
            Side::Oxen => "bench-oxen",
            Side::C => "bench-c",
        }
    }

    /// Each has a bridge of its own: what is sent to nobody must not wake the other.
    fn bridge(self) -> u8 {
        match self {
            Side::Oxen => 0,
            Side::C => 1,
        }
    }

    /// What it is made of; `parameters` are for Oxen's kernel.
    fn config(self, vcpus: u32, parameters: &[String]) -> GuestConfig {
        let mut config = GuestConfig::new(self.guest());
        config.vcpus = vcpus;
        config.memory += 256;
        config.root = true;
        config.disks = vec![Disk::new("xvdb", DISK)];
        let bridge = self.bridge();
        config.vifs = vec![Vif::new(bridge, &format!("xenbr{bridge}"))];
        match self {
            Side::Oxen => {
                config.modules = Some(e2e::modules());
                config.load = modules();
                config.extra = parameters.join(" ");
            }
            Side::C => {
                config.nopv = false;
                config.early = vec!["xen-blkfront".into(), "xen-netfront".into()];
            }
        }
        config
    }
}

/// Our modules in the order in which they load: those that were built, so that older ones can be measured too.
fn modules() -> Vec<String> {
    e2e::MODULES
        .iter()
        .filter(|name| e2e::module(name).is_ok())
        .map(|name| name.to_string())
        .collect()
}

/// A guest that runs or waits.
pub(crate) struct Guest {
    pub(crate) side: Side,
    pub(crate) domain: Domain,
    pub(crate) id: u32,
    /// The third guest, while there is one.
    pub(crate) peer: Option<Domain>,
}

impl Guest {
    /// Its address.
    pub(crate) fn address(&self) -> String {
        format!("10.{}.0.2", 77 + self.side.bridge())
    }

    /// Dom0's address on its bridge.
    pub(crate) fn host(&self) -> String {
        format!("10.{}.0.1", 77 + self.side.bridge())
    }

    /// The bridge.
    pub(crate) fn bridge(&self) -> String {
        format!("xenbr{}", self.side.bridge())
    }

    /// The first interface's other end, in dom0.
    pub(crate) fn vif(&self) -> String {
        format!("vif{}.0", self.id)
    }
}

/// The machine with both guests.
pub(crate) struct Arena<'a> {
    pub(crate) machine: &'a Companion,
    vcpus: u32,
    parameters: &'a [String],
    guests: Vec<Guest>,
    running: Option<Side>,
    peer: Option<Domain>,
    /// Answers `agent measure echo` in dom0.
    _echo: Background,
    /// What became of guests that had to be booted again.
    pub(crate) ended: Vec<String>,
}

impl Arena<'_> {
    /// Boots both guests, one after the other; both are paused then.
    ///
    /// # Errors
    ///
    /// When one does not come up, or lacks its disks or its network.
    pub(crate) fn new<'a>(
        machine: &'a Companion,
        vcpus: u32,
        parameters: &'a [String],
    ) -> Result<Arena<'a>> {
        let dom0 = machine.dom0();
        dom0.sh("modprobe -r null_blk; modprobe null_blk gb=1; until [ -b /dev/nullb0 ]; do sleep 0.1; done")?;
        let mut arena = Arena {
            machine,
            vcpus,
            parameters,
            guests: Vec::new(),
            running: None,
            peer: None,
            _echo: dom0.spawn_sh("exec /run/companion/agent echo")?,
            ended: Vec::new(),
        };
        arena.anew()?;
        Ok(arena)
    }

    /// Boots both guests, in place of those that there are; both are paused then.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub(crate) fn anew(&mut self) -> Result<()> {
        self.running = None;
        for side in Side::BOTH {
            if let Err(why) = self.boot(side) {
                let how = self.machine.lost(side.guest()).ok_or(why)?;
                self.again(side, &how)?;
            }
        }
        Ok(())
    }

    /// Boots a guest; it is paused then.
    fn boot(&mut self, side: Side) -> Result<()> {
        let (machine, name) = (self.machine, side.guest());
        let dom0 = machine.dom0();
        progress(&format!("{}: booting Debian, about a minute", side.label()));
        self.guests.retain(|guest| guest.side != side);
        machine.destroy(name)?;
        let domain = machine
            .create(&side.config(self.vcpus, self.parameters))?
            .context("the guest was created but not waited for")?;
        let id = dom0.sh(&format!("xl domid {name}"))?.trim().parse()?;
        let guest = Guest {
            side,
            domain,
            id,
            peer: self.peer.clone(),
        };
        set_up(dom0, &guest)
            .map_err(|why| e2e::explain(why, machine, &guest.domain))
            .with_context(|| format!("{}: set up", side.label()))?;
        dom0.sh(&format!("xl pause {name}"))?;
        self.guests.push(guest);
        Ok(())
    }

    fn again(&mut self, side: Side, how: &str) -> Result<()> {
        let what = format!("{}: {how}; it was booted again", side.label());
        progress(&what);
        self.ended.push(what);
        self.boot(side)
    }

    /// Boots the third guest if there is to be one and none is, or takes it away.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub(crate) fn accompany(&mut self, wanted: bool) -> Result<()> {
        if wanted == self.peer.is_some() {
            return Ok(());
        }
        if let Some(peer) = self.peer.take() {
            peer.close();
            self.machine.destroy(peer::NAME)?;
        }
        if wanted {
            self.peer = Some(match peer::boot(self.machine) {
                Ok(peer) => peer,
                Err(why) => {
                    let how = self.machine.lost(peer::NAME).ok_or(why)?;
                    self.ended
                        .push(format!("the third guest: {how}; it was booted again"));
                    peer::boot(self.machine)?
                }
            });
        }
        for guest in &mut self.guests {
            guest.peer.clone_from(&self.peer);
        }
        Ok(())
    }

    /// Boots the guest that runs again, if it has ended. Says whether it had.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub(crate) fn revive(&mut self) -> Result<bool> {
        if self.peer.is_some() {
            if let Some(how) = self.machine.lost(peer::NAME) {
                self.ended
                    .push(format!("the third guest: {how}; it was booted again"));
                self.accompany(false)?;
                return Ok(true);
            }
        }
        let Some(guest) = self
            .guests
            .iter()
            .find(|guest| Some(guest.side) == self.running)
        else {
            return Ok(false);
        };
        let side = guest.side;
        // The emulator's fault, or perhaps the driver's: no suite, the bench goes on, but never without a word.
        let how = match self.machine.lost(side.guest()) {
            Some(how) => how,
            None if guest.domain.is_gone() => "the guest has ended".into(),
            None => return Ok(false),
        };
        self.running = None;
        self.again(side, &how)?;
        Ok(true)
    }

    /// Lets that guest run, and it alone: the other one's ticks would be served on the same CPUs.
    ///
    /// # Errors
    ///
    /// When it does not answer then.
    pub(crate) fn only(&mut self, side: Side) -> Result<&Guest> {
        let dom0 = self.machine.dom0();
        if self.running != Some(side) {
            if let Some(other) = self.running.take() {
                dom0.sh(&format!("xl pause {}", other.guest()))?;
            }
            dom0.sh(&format!("xl unpause {}", side.guest()))?;
            self.running = Some(side);
        }
        let guest = self
            .guests
            .iter()
            .find(|guest| guest.side == side)
            .context("both guests were made")?;
        guest.domain.until("true", BRIEF)?;
        thread::sleep(SETTLE);
        Ok(guest)
    }

    /// Takes over the domain as which that guest was restored; it runs.
    ///
    /// # Errors
    ///
    /// When there is none, or it does not answer.
    pub(crate) fn restored(&mut self, side: Side) -> Result<()> {
        let name = side.guest();
        let guest = Guest {
            side,
            domain: self.machine.guest(name, LONG)?,
            id: self
                .machine
                .dom0()
                .sh(&format!("xl domid {name}"))?
                .trim()
                .parse()?,
            peer: self.peer.clone(),
        };
        self.guests.retain(|other| other.side != side);
        self.guests.push(guest);
        Ok(())
    }

    /// Adds to an error what Xen and dom0 know of the guest that runs.
    pub(crate) fn explain(&self, why: anyhow::Error) -> anyhow::Error {
        let guest = self
            .guests
            .iter()
            .find(|guest| Some(guest.side) == self.running);
        match guest {
            Some(guest) => e2e::explain(why, self.machine, &guest.domain),
            None => why,
        }
    }

    /// Takes all guests away.
    pub(crate) fn close(mut self) {
        self.accompany(false).ok();
        for guest in &self.guests {
            guest.domain.close();
            self.machine.destroy(guest.side.guest()).ok();
        }
    }
}

/// The disks, and the network.
fn set_up(dom0: &Domain, guest: &Guest) -> Result<()> {
    let name = guest.side.guest();
    // Blocks of its own for the whole file, in dom0's memory: a hole is no disk.
    dom0.sh(&format!(
        "dd if=/dev/zero of={} bs=1M count={DISK} conv=notrunc 2>/dev/null; sync",
        Disk::new("xvdb", DISK).image(name)
    ))?;
    dom0.sh(&format!(
        "xl block-attach {name} 'format=raw,vdev=xvdn,access=ro,script=/run/companion/block,target=/dev/nullb0'"
    ))?;
    guest
        .domain
        .until("[ -b /dev/xvdb ] && [ -b /dev/xvdn ]", BRIEF)?;
    guest.domain.until("[ -d /sys/class/net/eth0 ]", BRIEF)?;
    guest.domain.sh(&format!(
        "ip addr flush dev eth0; ip addr add {}/24 dev eth0; ip link set eth0 up",
        guest.address()
    ))?;
    guest
        .domain
        .until(&format!("ping -c 1 -W 5 {}", guest.host()), BRIEF)?;
    guest.domain.sh("modprobe pktgen")?;
    Ok(())
}
