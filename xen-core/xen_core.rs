// SPDX-License-Identifier: GPL-2.0

//! What all of this stands on: finding Xen, hypercalls, frames in common with it, the platform device, unplugging of
//! emulated devices, and the order in which all comes up again after a migration.
//!
//! This crate and `linux` are the home of `unsafe`; what they offer is safe.

use abi::unplug::Kinds;
use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    driver,
    pci,
    prelude::*,
    sync::Arc, //
};
use linux::{
    module::or_idle,
    power::shutdown::Hook, //
};

pub mod balloon;
mod debugfs;
mod detect;
pub mod foreign;
pub mod frame;
pub mod hypercall;
mod platform;
pub mod resume;
mod shared_info;
mod suspend;
mod unplug;

pub use abi::hypercall::hvm::Param;
pub use debugfs::dir as debugfs_dir;
pub use detect::{
    is_apic_virtualised,
    is_tsc_native,
    vcpu_id, //
};
pub use frame::{
    toolstack_page,
    ToolstackPage, //
};
pub use platform::{
    intx,
    Intx, //
};
pub use shared_info::{
    shared_info,
    SharedInfo, //
};
pub use suspend::{
    can_suspend,
    suspend, //
};
pub use unplug::{
    emulated_twin_attached,
    Twin, //
};

module! {
    type: XenCore,
    name: "oxen_xen_core",
    authors: ["Oxen developers"],
    description: "Xen guest core",
    license: "GPL",
}

linux::text_param!(
    UNPLUG,
    "unplug",
    c"unplug",
    "Emulated devices to unplug: all (default), none, or a list of disks, nics, aux-disks, nvme"
);

/// What the other crates reach through functions of this one, from `init` until the drop.
struct Globals {
    _shutdown: Pin<KBox<Hook<SharedInfo>>>,
    _resume: [resume::Registration; 2],
    _file: Pin<KBox<File<debugfs::Facts>>>,
}

impl Globals {
    fn new(kinds: Kinds) -> Result<Self> {
        let page = shared_info::map()?;
        let shared = Arc::new(page.clone(), GFP_KERNEL)?;
        let shutdown = Hook::new(shared.clone())?;
        let again = Arc::new(unplug::Again(kinds), GFP_KERNEL)?;
        let registrations = [
            resume::Registration::new(resume::Stage::SharedInfo, shared)?,
            resume::Registration::new(resume::Stage::SharedInfo, again)?,
        ];
        let root = Dir::new(c"oxen");
        let file = KBox::pin_init(debugfs::file(&root), GFP_KERNEL)?;
        *shared_info::PAGE.lock() = Some(page);
        *debugfs::ROOT.lock() = Some(root);
        Ok(Self {
            _shutdown: shutdown,
            _resume: registrations,
            _file: file,
        })
    }
}

impl Drop for Globals {
    fn drop(&mut self) {
        *debugfs::ROOT.lock() = None;
        *shared_info::PAGE.lock() = None;
    }
}

/// What the module does on Xen.
#[pin_data]
struct Running {
    #[pin]
    platform: driver::Registration<pci::Adapter<platform::PlatformDevice>>,
    globals: Globals,
}

/// What to unplug, by the parameter.
fn kinds() -> Result<Kinds> {
    match UNPLUG.get() {
        "" => Ok(Kinds::ALL),
        text => Kinds::parse(text).ok_or_else(|| {
            pr_err!("unplug={text} is none of all, none, disks, nics, aux-disks and nvme.\n");
            EINVAL
        }),
    }
}

impl Running {
    fn new(module: &'static ThisModule) -> Result<Pin<KBox<Self>>> {
        let xen = detect::detect()?;
        let kinds = kinds()?;
        let globals = Globals::new(kinds)?;
        unplug::unplug(kinds);
        pr_info!("Xen {}.{}\n", xen.version.major, xen.version.minor);
        KBox::pin_init(
            try_pin_init!(Self {
                platform <- driver::Registration::new(c"oxen-platform-pci", module),
                globals,
            }? Error),
            GFP_KERNEL,
        )
    }
}

/// The module.
pub struct XenCore {
    _running: Option<Pin<KBox<Running>>>,
}

impl kernel::Module for XenCore {
    fn init(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: `init` runs once, and before everything else here.
        unsafe {
            debugfs::ROOT.init();
            platform::PIN.init();
            resume::CHAIN.init();
            shared_info::PAGE.init();
        }
        linux::hvc::load()?;
        let running = or_idle(Running::new(module)).inspect_err(|_| linux::hvc::unload())?;
        Ok(Self { _running: running })
    }
}

impl Drop for XenCore {
    fn drop(&mut self) {
        linux::hvc::unload();
    }
}

/// Ties a user to this module: modpost sees the dependency only in a call.
///
/// # Errors
///
/// `ENODEV` when Xen was not found.
#[inline(never)]
pub fn require() -> Result {
    detect::found().map(|_| ()).ok_or(ENODEV)
}
