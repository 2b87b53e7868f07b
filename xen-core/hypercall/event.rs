// SPDX-License-Identifier: GPL-2.0

//! Event channel operations: `event_channel.h`.

use super::command;
use crate::frame::EventPage;
use abi::{
    hypercall::{
        event::{
            self,
            AllocUnbound,
            BindInterdomain,
            BindIpi,
            BindVcpu,
            BindVirq,
            ExpandArray,
            InitControl,
            OnePort,
            Reset,
            SetPriority,
            Status, //
        },
        Hypercall,
    },
    shared::{
        zeroed,
        Pod, //
    },
    types::{
        DomainId,
        Port,
        VcpuId, //
    },
};
use kernel::prelude::*;
use linux::error::EOPNOTSUPP;

/// Makes an event channel operation.
fn operation<T: Pod>(number: usize, argument: &mut T) -> Result {
    // SAFETY: The callers below pair numbers with structures. Event channel operations touch no memory but the pages
    // that `EventPage` keeps allocated for as long.
    unsafe { command(Hypercall::EventChannelOp, number, argument) }.map(|_| ())
}

/// Makes a port that `remote` may bind to.
///
/// # Errors
///
/// `ENOSPC` when the domain has no port left.
pub fn alloc_unbound(remote: DomainId) -> Result<Port> {
    let mut argument = AllocUnbound {
        domain: DomainId::SELF,
        remote,
        port: Port(0),
    };
    operation(event::ALLOC_UNBOUND, &mut argument)?;
    Ok(argument.port)
}

/// Connects a new port to `remote_port` of `remote`.
///
/// # Errors
///
/// `EINVAL` when that port is not there for us, `ENOSPC` when no port is left.
pub fn bind_interdomain(remote: DomainId, remote_port: Port) -> Result<Port> {
    let mut argument = BindInterdomain {
        remote,
        pad: 0,
        remote_port,
        port: Port(0),
    };
    operation(event::BIND_INTERDOMAIN, &mut argument)?;
    Ok(argument.port)
}

/// Makes a port for a virtual irq of a vCPU.
///
/// # Errors
///
/// `EEXIST` when it has one, `EINVAL` when there is no such virtual irq.
pub fn bind_virq(virq: u32, vcpu: VcpuId) -> Result<Port> {
    let mut argument = BindVirq {
        virq,
        vcpu,
        port: Port(0),
    };
    operation(event::BIND_VIRQ, &mut argument)?;
    Ok(argument.port)
}

/// Makes a port that raises an event on a vCPU when it is notified.
///
/// # Errors
///
/// `ENOENT` when there is no such vCPU, `ENOSPC` when no port is left.
pub fn bind_ipi(vcpu: VcpuId) -> Result<Port> {
    let mut argument = BindIpi {
        vcpu,
        port: Port(0),
    };
    operation(event::BIND_IPI, &mut argument)?;
    Ok(argument.port)
}

/// Closes a port.
///
/// # Errors
///
/// `EINVAL` when there is no such port.
pub fn close(port: Port) -> Result {
    operation(event::CLOSE, &mut OnePort { port })
}

/// Notifies the other end of a port.
///
/// # Errors
///
/// `EINVAL` when the port has none.
#[inline]
pub fn send(port: Port) -> Result {
    operation(event::SEND, &mut OnePort { port })
}

/// Asks what a port is.
///
/// # Errors
///
/// `EINVAL` when there is no such port.
pub fn status(port: Port) -> Result<Status> {
    let mut argument = Status {
        domain: DomainId::SELF,
        port,
        ..zeroed()
    };
    operation(event::STATUS, &mut argument)?;
    Ok(argument)
}

/// Makes a port raise its events on another vCPU.
///
/// # Errors
///
/// `ENOENT` when there is no such vCPU, `EINVAL` when the port cannot be moved.
pub fn bind_vcpu(port: Port, vcpu: VcpuId) -> Result {
    operation(event::BIND_VCPU, &mut BindVcpu { port, vcpu })
}

/// Unmasks a port, and raises the event if it is pending.
///
/// # Errors
///
/// `EINVAL` when there is no such port.
#[inline]
pub fn unmask(port: Port) -> Result {
    operation(event::UNMASK, &mut OnePort { port })
}

/// Closes every port of this domain and leaves the FIFO ABI: the pages that Xen was given are ours alone again.
///
/// # Errors
///
/// As Xen says.
pub fn reset() -> Result {
    operation(
        event::RESET,
        &mut Reset {
            domain: DomainId::SELF,
        },
    )?;
    EventPage::released_by_xen();
    Ok(())
}

/// Enters the FIFO ABI, with the control block of a vCPU at `offset` in `page`; works once per vCPU until [`reset`].
///
/// Returns how many bits a link in an event word has.
///
/// # Errors
///
/// `EINVAL` when the vCPU has a control block.
pub fn init_control(page: &EventPage, offset: u32, vcpu: VcpuId) -> Result<u8> {
    let mut argument = InitControl {
        control_gfn: page.gfn().0,
        offset,
        vcpu,
        link_bits: 0,
        pad: [0; 7],
    };
    EventPage::given_to_xen();
    operation(event::INIT_CONTROL, &mut argument)?;
    Ok(argument.link_bits)
}

/// Appends a page to the array of event words.
///
/// # Errors
///
/// `EOPNOTSUPP` when this domain has not entered the FIFO ABI, `ENOSPC` when the array is complete.
pub fn expand_array(page: &EventPage) -> Result {
    EventPage::given_to_xen();
    operation(
        event::EXPAND_ARRAY,
        &mut ExpandArray {
            array_gfn: page.gfn().0,
        },
    )
}

/// Tells whether this domain is in the FIFO ABI, which an earlier kernel or module may have left on.
pub fn is_fifo() -> bool {
    // No frame has this number: the call fails either way, but differently.
    let mut argument = ExpandArray {
        array_gfn: u64::MAX >> 12,
    };
    operation(event::EXPAND_ARRAY, &mut argument) != Err(EOPNOTSUPP)
}

/// Sets the priority of a port in the FIFO ABI: 0 (highest) to 15.
///
/// # Errors
///
/// `EINVAL` when there is no such port or priority, `ENOSYS` in the 2-level ABI.
pub fn set_priority(port: Port, priority: u32) -> Result {
    operation(event::SET_PRIORITY, &mut SetPriority { port, priority })
}
