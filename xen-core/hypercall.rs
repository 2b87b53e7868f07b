// SPDX-License-Identifier: GPL-2.0

//! Hypercalls: the only way into Xen, with a safe function for each that we make.
//!
//! The instruction is inline and chosen by the CPU's vendor. The hypercall page is not used: the functions that Xen
//! writes there end in a bare `ret` (XSA-466).

pub mod event;
pub mod grant;
pub mod hvm;
pub(crate) mod memory;
pub mod sched;
pub mod vcpu;
pub mod version;

use crate::detect;
use abi::{
    cpuid::Gate,
    hypercall::Hypercall,
    shared::Pod, //
};
use core::arch::asm;
use kernel::prelude::*;

/// Enters Xen.
///
/// # Safety
///
/// As the hypercall demands: pointers among the arguments point to what it reads and writes, and what it does to this
/// guest breaks nothing that Rust relies on.
unsafe fn enter(gate: Gate, call: Hypercall, arguments: [usize; 3]) -> isize {
    let [first, second, third] = arguments;
    let result: isize;
    // Xen may clobber the argument registers.
    match gate {
        // SAFETY: By the requirements of this function; Xen keeps all other registers.
        Gate::Vmcall => unsafe {
            asm!(
                "vmcall",
                inlateout("rax") call as isize => result,
                inlateout("rdi") first => _,
                inlateout("rsi") second => _,
                inlateout("rdx") third => _,
                options(nostack)
            );
        },
        // SAFETY: As above.
        Gate::Vmmcall => unsafe {
            asm!(
                "vmmcall",
                inlateout("rax") call as isize => result,
                inlateout("rdi") first => _,
                inlateout("rsi") second => _,
                inlateout("rdx") third => _,
                options(nostack)
            );
        },
    }
    result
}

/// Makes a hypercall of three arguments.
///
/// # Safety
///
/// As for [`enter`].
unsafe fn call(number: Hypercall, arguments: [usize; 3]) -> Result<usize> {
    let gate = detect::found().ok_or(ENODEV)?.gate;
    // SAFETY: By the requirements of this function.
    let result = unsafe { enter(gate, number, arguments) };
    usize::try_from(result)
        .map_err(|_| Error::from_errno(i32::try_from(result).unwrap_or(EIO.to_errno())))
}

/// Makes a hypercall of a sub-command and one structure, which Xen reads and may write.
///
/// # Safety
///
/// `argument` is the structure that the command takes; addresses in it are valid; the rest as for [`enter`].
unsafe fn command<T: Pod>(number: Hypercall, command: usize, argument: &mut T) -> Result<usize> {
    let address = core::ptr::from_mut(argument) as usize;
    // SAFETY: By the requirements of this function; `T: Pod` may be written with anything.
    unsafe { call(number, [command, address, 0]) }
}
