// SPDX-License-Identifier: GPL-2.0

//! Operations of HVM guests: `hvm/hvm_op.h`.

use super::command;
use abi::{
    hypercall::{
        hvm::{
            self,
            Param,
            ParamArg,
            UpcallVector, //
        },
        Hypercall,
    },
    types::{
        DomainId,
        VcpuId, //
    },
};
use kernel::prelude::*;

/// Reads a parameter of this domain.
///
/// # Errors
///
/// `EINVAL` when Xen does not know it.
pub fn param(index: Param) -> Result<u64> {
    let mut argument = ParamArg {
        domain: DomainId::SELF,
        pad: 0,
        index: index as u32,
        value: 0,
    };
    // SAFETY: Number and structure belong together; Xen writes only the structure.
    unsafe { command(Hypercall::HvmOp, hvm::GET_PARAM, &mut argument) }?;
    Ok(argument.value)
}

/// Writes a parameter of this domain.
///
/// # Errors
///
/// `EINVAL` when Xen does not take it, `EPERM` when it is not ours to write.
pub fn set_param(index: Param, value: u64) -> Result {
    let mut argument = ParamArg {
        domain: DomainId::SELF,
        pad: 0,
        index: index as u32,
        value,
    };
    // SAFETY: Number and structure belong together; these parameters decide where events go, not what memory holds.
    unsafe { command(Hypercall::HvmOp, hvm::SET_PARAM, &mut argument) }.map(|_| ())
}

/// Makes upcalls of a vCPU come as `vector` of its local APIC; it cannot be switched off again, only pointed elsewhere.
///
/// # Errors
///
/// `EINVAL` for a vector below 0x10, `ENOENT` when there is no such vCPU.
pub fn set_upcall_vector(vcpu: VcpuId, vector: u8) -> Result {
    let mut argument = UpcallVector {
        vcpu,
        vector,
        pad: [0; 3],
    };
    // SAFETY: Number and structure belong together; an interrupt without a handler is only counted by Linux.
    unsafe { command(Hypercall::HvmOp, hvm::SET_UPCALL_VECTOR, &mut argument) }.map(|_| ())
}
