// SPDX-License-Identifier: GPL-2.0

//! Keeping a module loaded: with a reference, or for its tests.
//!
//! C header: `include/linux/module.h`

use kernel::{
    bindings,
    prelude::*,
    ThisModule, //
};

/// Lets a module load that found nothing to do, if the kernel has KUnit built in: its suites run only then.
///
/// # Errors
///
/// That of `made`, unless it is `ENODEV` and the kernel has KUnit.
pub fn or_idle<T>(made: Result<T>) -> Result<Option<T>> {
    match made {
        Err(ENODEV) if cfg!(CONFIG_KUNIT = "y") => {
            pr_info!("nothing to drive here; the module stays for its KUnit suites only\n");
            Ok(None)
        }
        made => made.map(Some),
    }
}

/// Has modprobe, and what makes an initramfs, load another module before this one. It may be missing.
///
/// ```ignore
/// linux::load_before!("oxen_time");
/// ```
#[macro_export]
macro_rules! load_before {
    ($module:literal) => {
        const _: () = {
            const TEXT: &str = concat!("softdep=pre: ", $module, "\0");
            #[link_section = ".modinfo"]
            #[used]
            static MODINFO: [u8; TEXT.len()] = $crate::param::modinfo(TEXT);
        };
    };
}

/// Keeps a module from being unloaded as long as this value lives.
///
/// # Invariants
///
/// One of the module's references is ours.
pub struct ModulePin(*mut bindings::module);

// SAFETY: The reference count is atomic; the pointer is not used for anything else.
unsafe impl Send for ModulePin {}
// SAFETY: As above.
unsafe impl Sync for ModulePin {}

impl ModulePin {
    /// Pins `module`, unless it is already going away.
    pub fn new(module: &ThisModule) -> Option<Self> {
        let module = module.as_ptr();
        // SAFETY: A `ThisModule` points to a module whose code runs now.
        let pinned = unsafe { bindings::try_module_get(module) };
        // INVARIANT: The call above took the reference.
        pinned.then(|| Self(module))
    }
}

impl Drop for ModulePin {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the reference is ours. If the caller's own code is in that module, the module's
        // exit waits for the caller (see `work::flush`).
        unsafe { bindings::module_put(self.0) };
    }
}
