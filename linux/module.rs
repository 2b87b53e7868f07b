// SPDX-License-Identifier: GPL-2.0

//! Keeping a module loaded: with a reference, or for its tests.
//!
//! C header: `include/linux/module.h`

pub mod param;

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

/// Has modprobe, and what makes an initramfs, load modules before and after this one. They may be missing.
///
/// One macro for both: modprobe reads the first such line of a module only.
///
/// ```ignore
/// linux::load_around!(before = "oxen_time", after = "oxen_control oxen_balloon");
/// ```
#[macro_export]
macro_rules! load_around {
    (before = $before:literal, after = $after:literal) => {
        const _: () = {
            const TEXT: &str = concat!("softdep=pre: ", $before, " post: ", $after, "\0");
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static MODINFO: [u8; TEXT.len()] = $crate::module::param::modinfo(TEXT);
        };
    };
}

/// The module that a crate's code is in; [`own_module!`](crate::own_module) makes one.
///
/// The `kernel` crate's `ModuleMetadata` tells it from Linux 7.3 on only.
///
/// # Safety
///
/// `THIS` is that module.
pub unsafe trait OwnModule: 'static {
    /// The module.
    const THIS: ThisModule;
}

/// Returns the module that the code of `T`'s crate is in.
pub const fn this_module<T: OwnModule>() -> &'static ThisModule {
    &T::THIS
}

/// Makes `Own`, which stands for the module that the crate becomes, in the crate's root.
#[macro_export]
macro_rules! own_module {
    () => {
        /// The module that this crate's code is in.
        pub(crate) struct Own;

        // SAFETY: modpost makes `__this_module` for each module, and it lives as long as the module is loaded.
        unsafe impl $crate::module::OwnModule for Own {
            const THIS: ::kernel::ThisModule = {
                #[allow(improper_ctypes)]
                extern "C" {
                    static __this_module: ::kernel::types::Opaque<::kernel::bindings::module>;
                }
                // SAFETY: As above.
                unsafe { ::kernel::ThisModule::from_ptr(__this_module.get()) }
            };
        }
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
