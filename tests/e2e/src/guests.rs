// SPDX-License-Identifier: GPL-2.0

//! The guests that the tests use. A boot costs a minute, so there are few.

use crate::MODULES;
use companion::{Disk, GuestConfig, Kind, Vif};

/// A guest for our modules. The checking kernel needs twice the memory, and its first complaint is its last.
fn ours(name: &str) -> GuestConfig {
    let mut config = GuestConfig::new(name);
    config.modules = Some(crate::modules());
    // Half of the exits of a boot read the time, from the HPET if there is one. The checking kernel has no other clock.
    config.hpet = crate::checking_kernel();
    if crate::checking_kernel() {
        config.memory *= 2;
        // What it says has to reach the serial port before it panics.
        config.extra = "panic_on_warn=1 loglevel=5".into();
    }
    config
}

/// Debian with its root disk, network and console on Oxen: three disks (and one that may only be
/// read), two network interfaces. It has the HPET that Xen gives by default. Of our modules its initramfs asks for
/// what it has devices for, and for the one for programs; the others come with them.
pub fn debian(name: &str) -> GuestConfig {
    let mut config = ours(name);
    config.hpet = true;
    config.memory += 256;
    config.root = true;
    config.load = [
        "oxen_console",
        "oxen_blkfront",
        "oxen_netfront",
        "oxen_userdev",
    ]
    .map(String::from)
    .into();
    config.disks = vec![
        Disk::new("xvdb", 256),
        Disk::new("xvdc", 128),
        Disk {
            writable: false,
            ..Disk::new("xvdd", 16)
        },
    ];
    config.vifs = vec![Vif::new(0, "xenbr0"), Vif::new(1, "xenbr1")];
    config.extra.push_str(" console=hvc0");
    // To tell a fault of ours from one of the tests or of the machine below: the same guest on
    // the kernel's own frontends. What names our drivers then fails, and nothing else.
    if std::env::var("OXEN_FRONTENDS").is_ok_and(|value| value == "kernel") {
        config.nopv = false;
        config.load = Vec::new();
        config.early = vec!["xen-blkfront".into(), "xen-netfront".into()];
    }
    config
}

/// An initramfs with no module of ours loaded yet; few grant frames, so that they run out soon,
/// and one disk whose emulated twin is in use.
pub fn bare(name: &str) -> GuestConfig {
    let mut config = ours(name);
    config.disks = vec![Disk::new("xvdb", 64), Disk::new("hdc", 16)];
    config.early = vec!["ata_piix".into(), "sd_mod".into()];
    config.vifs = vec![Vif::new(2, "xenbr0")];
    config.lines = vec!["max_grant_frames = 8".into()];
    config
}

/// An initramfs that loads our modules, with room for another kernel and for one to crash into.
pub fn kexec(name: &str) -> GuestConfig {
    let mut config = ours(name);
    config.memory += 512;
    config.load = MODULES.map(String::from).into();
    config.disks = vec![Disk::new("xvdb", 128)];
    config.vifs = vec![Vif::new(3, "xenbr0")];
    config.extra.push_str(" crashkernel=256M");
    config
}

/// Debian with its root disk on Oxen and nothing else asked for; it starts again when it reboots.
pub fn life(name: &str) -> GuestConfig {
    let mut config = ours(name);
    config.memory += 256;
    config.root = true;
    config.load = vec!["oxen_blkfront".into()];
    config.lines = vec!["on_reboot = \"restart\"".into()];
    config
}

/// An initramfs in which the toolstack's requests are heard; kept when it ends, so that the reason can be seen.
pub fn ending(name: &str) -> GuestConfig {
    let mut config = ours(name);
    config.load = vec!["oxen_control".into()];
    config.lines = ["poweroff", "watchdog"]
        .map(|reason| format!("on_{reason} = \"preserve\""))
        .into();
    config
}

/// An initramfs, in a guest that was built with twice the memory that it may use.
pub fn large(name: &str) -> GuestConfig {
    let mut config = ours(name);
    config.load = vec!["oxen_balloon".into()];
    config.lines = vec![format!("maxmem = {}", config.memory * 2)];
    config
}

/// Little memory to be saved, and all of our modules.
pub fn suspend(name: &str) -> GuestConfig {
    let mut config = ours(name);
    config.memory /= 2;
    config.load = MODULES.map(String::from).into();
    config.disks = vec![Disk::new("xvdb", 64)];
    config.vifs = vec![Vif::new(4, "xenbr0")];
    config
}

/// Our modules, a disk and an interface on Linux's backends, two channels on QEMU's, room for devices on our own, and for
/// more CPUs than it boots with.
pub fn hostile(name: &str) -> GuestConfig {
    let mut config = ours(name);
    config.lines = vec![
        "channel = [ 'connection=pty,name=org.oxen.one', 'connection=pty,name=org.oxen.two' ]"
            .into(),
        "maxvcpus = 4".into(),
    ];
    config.load = MODULES.map(String::from).into();
    config.disks = vec![Disk::new("xvdb", 8)];
    config.vifs = vec![Vif::new(3, "xenbr0")];
    config
}

/// An initramfs with the devices for Xen's libraries and nothing else.
pub fn tools(name: &str) -> GuestConfig {
    let mut config = ours(name);
    config.load = ["oxen_userdev", "oxen_xenbus", "oxen_control"]
        .map(String::from)
        .into();
    config
}

/// A guest in which the kernel's own Xen support is on.
pub fn with_c_support(name: &str) -> GuestConfig {
    let mut config = GuestConfig::new(name);
    config.modules = Some(crate::modules());
    config.nopv = false;
    config
}

/// A PVH guest, which tries our first module by itself: no agent can be reached in it.
pub fn pvh(name: &str) -> GuestConfig {
    let mut config = with_c_support(name);
    config.kind = Kind::Pvh;
    config.load = vec!["oxen_xen_core".into()];
    config.vcpus = 1;
    config.wait = false;
    config
}
