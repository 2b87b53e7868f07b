// SPDX-License-Identifier: GPL-2.0

//! Keeping a module loaded.
//!
//! C header: `include/linux/module.h`

use kernel::{
    bindings,
    ThisModule, //
};

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
        pinned.then_some(Self(module))
    }
}

impl Drop for ModulePin {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the reference is ours. If the caller's own code is in that module, the module's
        // exit waits for the caller (see `work::flush`).
        unsafe { bindings::module_put(self.0) };
    }
}
