// SPDX-License-Identifier: GPL-2.0

//! The way that a user goes: an installed Debian, booted by SeaBIOS and GRUB on the kernel's own drivers, gets the packages, boots
//! on Oxen, and back.
//!
//! Each test stands on those before it.

use anyhow::{bail, ensure, Context, Result};
use companion::{progress, Companion, Domain, BRIEF, LONG};
use e2e::suite::{Suite, Test};
use e2e::{check, explain, guests};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "installed";

/// The checkout.
const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Where the packages are put in the guest.
const DEBS: &str = "/root/oxen";

/// What must be the same on either drivers: disks and their links, interfaces, routes, mounts, and what says so.
const NAMES: &str = "cd /dev/disk; for dir in by-path by-uuid by-partuuid; do \
    for link in $dir/*; do echo $link $(readlink -f $link); done; done; \
    ls /sys/block | grep -v loop; ip -o link | sed 's/.*: \\(enX[0-9]*\\|eth[0-9]*\\):.*link\\/ether \\([^ ]*\\) .*/\\1 \\2/'; \
    ip -o -4 addr | awk '{ print $2, $4 }'; ip route; findmnt -rn -o SOURCE,TARGET,FSTYPE /; \
    cat /etc/fstab /etc/network/interfaces; hostname";

/// GRUB's menu, without what differs from one run of update-grub to another.
const MENU: &str = "sed -n '/^menuentry/,/^}/p' /boot/grub/grub.cfg";

/// The guest, and what was seen of it before.
pub(crate) struct Way<'a> {
    machine: &'a Companion,
    guest: RefCell<Domain>,
    names: RefCell<String>,
    menu: RefCell<String>,
}

/// On which drivers the guest runs.
#[derive(Clone, Copy, PartialEq)]
enum Drivers {
    Kernel,
    Oxen,
}

pub(crate) fn tests<'a>() -> Vec<Test<Way<'a>>> {
    vec![
        ("installed/on-the-kernels-drivers", |way| {
            way.is_on(Drivers::Kernel)?;
            way.names.replace(way.sh(NAMES)?);
            way.menu.replace(way.sh(MENU)?);
            ensure!(
                way.names.borrow().contains("xen-vbd-51712-part1"),
                "{}",
                way.names.borrow()
            );
            Ok(())
        }),
        ("installed/packages", |way| way.packages()),
        ("installed/on-oxen", |way| {
            way.reboot()?;
            way.is_on(Drivers::Oxen)?;
            way.is_the_same()
        }),
        ("installed/another-kernel", |way| way.another_kernel()),
        ("installed/without-modules", |way| way.without_modules()),
        ("installed/tried-once", |way| way.tried_once()),
        ("installed/purged", |way| way.purged()),
    ]
}

/// Runs them, if any is wanted.
pub(crate) fn on_xen(suite: &mut Suite, machine: &Companion) {
    let tests = tests();
    if !suite.wants_any(&tests) {
        return;
    }
    suite.group(|suite| {
        let boot = || {
            machine
                .create(&guests::installed(NAME))?
                .context("it was not waited for")
        };
        let lost = match suite.stage("installed/boot", boot) {
            None => machine.lost(NAME),
            Some(guest) => {
                let way = Way {
                    machine,
                    guest: RefCell::new(guest),
                    names: RefCell::default(),
                    menu: RefCell::default(),
                };
                let lost = suite.tests(
                    &tests,
                    |test| test(&way).map_err(|why| explain(why, machine, &way.guest.borrow())),
                    || machine.lost(NAME),
                );
                way.guest.borrow().close();
                lost
            }
        };
        machine.destroy(NAME).ok();
        lost
    });
}

impl Way<'_> {
    fn sh(&self, script: &str) -> Result<String> {
        self.guest.borrow().sh_for(script, LONG * 3)
    }

    /// Has it boot what GRUB boots by itself, as another domain.
    fn reboot(&self) -> Result<()> {
        let dom0 = self.machine.dom0();
        let former = check::domid(dom0, NAME)?;
        self.guest.borrow().try_sh("systemctl reboot", BRIEF).ok();
        self.guest.borrow().close();
        // Paused until all of it is there, the agent's socket too.
        dom0.until(
            &format!(
                "id=$(xl domid {NAME}) && [ $id -gt {former} ] && xl list $id | tail -n 1 | awk '{{ print $5 }}' | grep -qv p"
            ),
            LONG,
        )
        .with_context(|| self.machine.report(Some(NAME)))?;
        dom0.sh(&format!(
            "! xl dmesg | grep 'd{former}v[0-9]* Triple fault'"
        ))?;
        let guest = self.machine.guest(NAME, LONG)?;
        self.guest.replace(guest);
        Ok(())
    }

    /// It is up, on these drivers and no others, and reaches dom0.
    fn is_on(&self, drivers: Drivers) -> Result<()> {
        self.guest
            .borrow()
            .until("systemctl -q is-active multi-user.target", LONG)?;
        let (nopv, bus) = match drivers {
            Drivers::Kernel => (0, "xen"),
            Drivers::Oxen => (1, "oxen"),
        };
        self.sh(&format!(
            "set -e; [ $(grep -cw nopv /proc/cmdline) = {nopv} ]; \
             [ $(basename $(readlink -f /sys/block/xvda/device/subsystem)) = {bus} ]; \
             [ $(basename $(readlink -f /sys/class/net/enX0/device/subsystem)) = {bus} ]; \
             [ $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource) = {bus} ]; \
             [ $(ls /sys/block | grep -c '^[sh]d') = 0 ]"
        ))?;
        self.guest
            .borrow()
            .until("ping -c 1 -W 5 10.77.0.1", BRIEF)?;
        if drivers == Drivers::Oxen {
            // The console's login comes with its driver.
            self.guest
                .borrow()
                .until("systemctl -q is-active serial-getty@hvc0", BRIEF)?;
            self.sh("! lsmod | grep -E '^xen_(blk|net)front'")?;
            check::dmesg_is_clean(&self.guest.borrow())?;
        }
        Ok(())
    }

    /// Names, routes and mounts are what they were at first.
    fn is_the_same(&self) -> Result<()> {
        let now = self.sh(NAMES)?;
        let before = self.names.borrow();
        ensure!(
            now == *before,
            "names, routes or mounts have changed\n--- before\n{before}--- now\n{now}"
        );
        Ok(())
    }

    /// How many entries GRUB has that boot on Oxen, and which one it boots by itself.
    fn entries(&self) -> Result<(usize, String)> {
        let count = self.sh("grep -c '^menuentry .*, with Oxen' /boot/grub/grub.cfg || true")?;
        let default = self.sh(
            "sed -n 's/^[[:space:]]*set default=\"\\(oxen-.*\\)\"/\\1/p' /boot/grub/grub.cfg",
        )?;
        Ok((count.trim().parse()?, default.trim().into()))
    }

    /// GRUB boots Oxen on this kernel by itself, or nothing of Oxen.
    fn menu_has(&self, oxen: bool) -> Result<()> {
        let found = self.entries()?;
        let wanted = if oxen {
            (1, format!("oxen-{}", self.machine.assets().release()))
        } else {
            (0, String::new())
        };
        ensure!(found == wanted, "GRUB's menu has {found:?}, not {wanted:?}");
        Ok(())
    }

    /// The packages go in by one command, and the next boot is on them.
    fn packages(&self) -> Result<()> {
        for deb in debs()? {
            let name = deb.file_name().context("a package has a name")?;
            let to = format!("{DEBS}/{}", name.to_string_lossy());
            self.guest.borrow().put(&deb, &to)?;
        }
        self.sh(&format!(
            "DEBIAN_FRONTEND=noninteractive apt-get -qy install {DEBS}/oxen-guest_*.deb {DEBS}/oxen-modules-*.deb"
        ))?;
        self.menu_has(true)
    }

    /// A kernel that there are no modules for gets no entry, although it is the newest.
    fn another_kernel(&self) -> Result<()> {
        let kernels = self.sh("ls /boot/vmlinuz-* | wc -l")?;
        self.sh("DEBIAN_FRONTEND=noninteractive apt-get -qy install /srv/kernel/*.deb")?;
        ensure!(self.sh("ls /boot/vmlinuz-* | wc -l")? > kernels);
        self.menu_has(true)
    }

    /// Without modules it boots on the kernel's own drivers, of the entry that was always there.
    fn without_modules(&self) -> Result<()> {
        let other = "apt-get -qy purge $(ls /srv/kernel | sed 's/_.*//')";
        self.sh(&format!("DEBIAN_FRONTEND=noninteractive {other}"))?;
        self.sh("dpkg -r $(dpkg-query -f '${Package}\\n' -W 'oxen-modules-*')")?;
        self.menu_has(false)?;
        self.reboot()?;
        self.is_on(Drivers::Kernel)?;
        self.is_the_same()
    }

    /// A boot on Oxen that was asked for once.
    fn tried_once(&self) -> Result<()> {
        self.sh("echo OXEN_DEFAULT=no >>/etc/default/grub")?;
        self.sh(&format!("dpkg -i {DEBS}/oxen-modules-*.deb"))?;
        let release = self.machine.assets().release();
        ensure!(self.entries()? == (1, String::new()));
        self.sh(&format!("grub-reboot oxen-{release}"))?;
        self.reboot()?;
        self.is_on(Drivers::Oxen)?;
        self.is_the_same()?;
        self.reboot()?;
        self.is_on(Drivers::Kernel)
    }

    /// The packages leave nothing behind.
    fn purged(&self) -> Result<()> {
        self.sh("sed -i /OXEN_DEFAULT/d /etc/default/grub")?;
        self.sh("dpkg -P $(dpkg-query -f '${Package}\\n' -W 'oxen-*')")?;
        self.menu_has(false)?;
        let (now, before) = (self.sh(MENU)?, self.menu.borrow());
        ensure!(
            now == *before,
            "GRUB's menu has changed\n--- before\n{before}--- now\n{now}"
        );
        drop(before);
        self.reboot()?;
        self.is_on(Drivers::Kernel)?;
        self.is_the_same()
    }
}

/// Makes the packages.
fn debs() -> Result<Vec<PathBuf>> {
    progress("installed: making the packages");
    // Not where `make deb` has them, which may run beside.
    let folder = Path::new(TOP).join("build/installed");
    let status = Command::new(Path::new(TOP).join("scripts/deb"))
        .env("OXEN_DEB", &folder)
        .status()
        .context("scripts/deb cannot be run")?;
    ensure!(status.success(), "scripts/deb failed, see above");
    let mut debs = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let wanted = ["oxen-guest_", "oxen-modules-"];
        if name.ends_with(".deb") && wanted.iter().any(|begin| name.starts_with(begin)) {
            debs.push(path);
        }
    }
    if debs.len() != 2 {
        bail!("scripts/deb made {debs:?}");
    }
    Ok(debs)
}
