// SPDX-License-Identifier: GPL-2.0

//! Numbers and argument structures of the hypercalls that we make.
//!
//! Implements parts of Xen's public headers `xen.h`, `event_channel.h`, `memory.h`, `hvm/hvm_op.h`, `hvm/params.h`,
//! `sched.h`, `vcpu.h`, `version.h` and `grant_table.h` for 64-bit x86. Only the hypervisor reads and writes these structures.

use crate::types::{DomainId, Gfn, Port, VcpuId};

/// The hypercalls (`__HYPERVISOR_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Hypercall {
    /// Guest memory: where frames lie.
    MemoryOp = 12,
    /// Version and features.
    XenVersion = 17,
    /// Grant table.
    GrantTableOp = 20,
    /// Virtual CPUs.
    VcpuOp = 24,
    /// Scheduling and shutdown.
    SchedOp = 29,
    /// Event channels.
    EventChannelOp = 32,
    /// What only HVM guests have.
    HvmOp = 34,
}

/// Event channels: `event_channel.h`.
pub mod event {
    use super::{DomainId, Port, VcpuId};

    /// `EVTCHNOP_bind_interdomain`.
    pub const BIND_INTERDOMAIN: usize = 0;
    /// `EVTCHNOP_bind_virq`.
    pub const BIND_VIRQ: usize = 1;
    /// `EVTCHNOP_close`.
    pub const CLOSE: usize = 3;
    /// `EVTCHNOP_send`.
    pub const SEND: usize = 4;
    /// `EVTCHNOP_status`.
    pub const STATUS: usize = 5;
    /// `EVTCHNOP_alloc_unbound`.
    pub const ALLOC_UNBOUND: usize = 6;
    /// `EVTCHNOP_bind_ipi`.
    pub const BIND_IPI: usize = 7;
    /// `EVTCHNOP_bind_vcpu`.
    pub const BIND_VCPU: usize = 8;
    /// `EVTCHNOP_unmask`.
    pub const UNMASK: usize = 9;
    /// `EVTCHNOP_reset`.
    pub const RESET: usize = 10;
    /// `EVTCHNOP_init_control`.
    pub const INIT_CONTROL: usize = 11;
    /// `EVTCHNOP_expand_array`.
    pub const EXPAND_ARRAY: usize = 12;
    /// `EVTCHNOP_set_priority`.
    pub const SET_PRIORITY: usize = 13;

    /// State of a port in [`Status`]: closed.
    pub const STATUS_CLOSED: u32 = 0;
    /// State of a port: waits for the remote domain to bind.
    pub const STATUS_UNBOUND: u32 = 1;
    /// State of a port: connected to a remote port.
    pub const STATUS_INTERDOMAIN: u32 = 2;

    crate::shared::wire! {
        /// `evtchn_bind_interdomain`.
        pub struct BindInterdomain {
            /// In: the domain that made the port.
            pub remote: DomainId,
            /// Padding.
            pub pad: u16,
            /// In: its port.
            pub remote_port: Port,
            /// Out: our port.
            pub port: Port,
        }

        /// `evtchn_bind_virq`.
        pub struct BindVirq {
            /// In: the virtual irq.
            pub virq: u32,
            /// In: the vCPU that gets it.
            pub vcpu: VcpuId,
            /// Out: our port.
            pub port: Port,
        }

        /// `evtchn_bind_ipi`.
        pub struct BindIpi {
            /// In: the vCPU that gets it.
            pub vcpu: VcpuId,
            /// Out: our port.
            pub port: Port,
        }

        /// `evtchn_close`, `evtchn_send` and `evtchn_unmask`.
        pub struct OnePort {
            /// In: our port.
            pub port: Port,
        }

        /// `evtchn_status`.
        pub struct Status {
            /// In: the domain, normally ourselves.
            pub domain: DomainId,
            /// Padding.
            pub pad: u16,
            /// In: its port.
            pub port: Port,
            /// Out: `STATUS_*`.
            pub status: u32,
            /// Out: the vCPU that the port is bound to.
            pub vcpu: VcpuId,
            /// Out, for unbound and interdomain ports: the remote domain.
            pub remote: DomainId,
            /// Padding.
            pub pad2: u16,
            /// Out, for interdomain ports: the remote port.
            pub remote_port: Port,
        }

        /// `evtchn_alloc_unbound`.
        pub struct AllocUnbound {
            /// In: the domain that gets the port.
            pub domain: DomainId,
            /// In: the domain that may bind to it.
            pub remote: DomainId,
            /// Out: the port.
            pub port: Port,
        }

        /// `evtchn_bind_vcpu`.
        pub struct BindVcpu {
            /// In: our port.
            pub port: Port,
            /// In: the vCPU that shall get its events.
            pub vcpu: VcpuId,
        }

        /// `evtchn_reset`.
        pub struct Reset {
            /// In: the domain.
            pub domain: DomainId,
        }

        /// `evtchn_init_control`.
        pub struct InitControl {
            /// In: frame that holds the control block.
            pub control_gfn: u64,
            /// In: its offset in the frame.
            pub offset: u32,
            /// In: whose it is.
            pub vcpu: VcpuId,
            /// Out: how many bits of an event word are a link.
            pub link_bits: u8,
            /// Padding.
            pub pad: [u8; 7],
        }

        /// `evtchn_expand_array`.
        pub struct ExpandArray {
            /// In: frame that holds the next event words.
            pub array_gfn: u64,
        }

        /// `evtchn_set_priority`.
        pub struct SetPriority {
            /// In: our port.
            pub port: Port,
            /// In: 0 (highest) to 15.
            pub priority: u32,
        }
    }
}

/// Guest memory: `memory.h`.
pub mod memory {
    use super::{DomainId, Gfn};

    /// `XENMEM_decrease_reservation`.
    pub const DECREASE_RESERVATION: usize = 1;
    /// `XENMEM_populate_physmap`.
    pub const POPULATE_PHYSMAP: usize = 6;
    /// `XENMEM_add_to_physmap`.
    pub const ADD_TO_PHYSMAP: usize = 7;
    /// `XENMEM_remove_from_physmap`.
    pub const REMOVE_FROM_PHYSMAP: usize = 15;

    /// What a frame can be replaced by (`XENMAPSPACE_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u32)]
    pub enum Space {
        /// The shared info page; the index is 0.
        SharedInfo = 0,
        /// A frame of the grant table; the index is its number.
        GrantTable = 1,
    }

    crate::shared::wire! {
        /// `xen_add_to_physmap`.
        pub struct AddToPhysmap {
            /// In: the domain.
            pub domain: DomainId,
            /// Unused here.
            pub size: u16,
            /// In: a [`Space`].
            pub space: u32,
            /// In: index in the space.
            pub index: u64,
            /// In: the frame to replace.
            pub gfn: Gfn,
        }

        /// `xen_remove_from_physmap`.
        pub struct RemoveFromPhysmap {
            /// In: the domain.
            pub domain: DomainId,
            /// Padding.
            pub pad: [u16; 3],
            /// In: the frame.
            pub gfn: Gfn,
        }

        /// `xen_memory_reservation`.
        pub struct Reservation {
            /// In: address of an array of frame numbers.
            pub extent_start: u64,
            /// In: how many.
            pub extents: u64,
            /// In: size of each as a power of two pages.
            pub order: u32,
            /// In: where and how; 0 for anywhere.
            pub flags: u32,
            /// In: the domain.
            pub domain: DomainId,
            /// Padding.
            pub pad: [u16; 3],
        }
    }
}

/// What only HVM guests have: `hvm/hvm_op.h` and `hvm/params.h`.
pub mod hvm {
    use super::{DomainId, VcpuId};

    /// `HVMOP_set_param`.
    pub const SET_PARAM: usize = 0;
    /// `HVMOP_get_param`.
    pub const GET_PARAM: usize = 1;
    /// `HVMOP_set_evtchn_upcall_vector`.
    pub const SET_UPCALL_VECTOR: usize = 23;

    /// Parameters of the domain (`HVM_PARAM_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u32)]
    pub enum Param {
        /// How upcalls come.
        CallbackIrq = 0,
        /// Frame of the xenstore ring.
        StorePfn = 1,
        /// Port of the xenstore ring.
        StoreEvtchn = 2,
        /// Frame of the console ring.
        ConsolePfn = 17,
        /// Port of the console ring.
        ConsoleEvtchn = 18,
    }

    /// [`Param::CallbackIrq`]: upcalls come by per-vCPU vectors; any small number tells that there are PV drivers.
    pub const CALLBACK_PER_VCPU: u64 = 1;

    /// [`Param::CallbackIrq`]: no upcalls.
    pub const CALLBACK_NONE: u64 = 0;

    /// [`Param::CallbackIrq`]: upcalls raise `vector` on every vCPU, without its local APIC and so without an end of
    /// interrupt (`HVM_PARAM_CALLBACK_TYPE_VECTOR`).
    pub const fn callback_via_vector(vector: u8) -> u64 {
        (2 << 56) | vector as u64
    }

    /// [`Param::CallbackIrq`]: upcalls raise a pin (0 is INTA) of a PCI device.
    pub const fn callback_via_intx(domain: u16, bus: u8, devfn: u8, pin: u8) -> u64 {
        (1 << 56)
            | ((domain as u64) << 32)
            | ((bus as u64) << 16)
            | ((devfn as u64) << 8)
            | (pin as u64 & 3)
    }

    crate::shared::wire! {
        /// `xen_hvm_param`.
        pub struct ParamArg {
            /// In: the domain.
            pub domain: DomainId,
            /// Padding.
            pub pad: u16,
            /// In: a [`Param`].
            pub index: u32,
            /// In or out.
            pub value: u64,
        }

        /// `xen_hvm_evtchn_upcall_vector`.
        pub struct UpcallVector {
            /// In: the vCPU.
            pub vcpu: VcpuId,
            /// In: the vector on its local APIC.
            pub vector: u8,
            /// Padding.
            pub pad: [u8; 3],
        }
    }
}

/// Scheduling: `sched.h`.
pub mod sched {
    /// `SCHEDOP_yield`.
    pub const YIELD: usize = 0;
    /// `SCHEDOP_shutdown`.
    pub const SHUTDOWN: usize = 2;
    /// `SCHEDOP_watchdog`.
    pub const WATCHDOG: usize = 6;

    /// Why the domain stops (`SHUTDOWN_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u32)]
    pub enum Reason {
        /// Powered off.
        Poweroff = 0,
        /// To be started again.
        Reboot = 1,
        /// To be saved; the call returns when it was restored.
        Suspend = 2,
        /// Crashed.
        Crash = 3,
        /// The watchdog's time has passed.
        Watchdog = 4,
        /// To be given a clean state, as kexec needs.
        SoftReset = 5,
    }

    crate::shared::wire! {
        /// `sched_shutdown`.
        pub struct Shutdown {
            /// In: a [`Reason`].
            pub reason: u32,
        }

        /// `sched_watchdog`.
        pub struct Watchdog {
            /// In: 0 for a new one, else the number that Xen gave it.
            pub id: u32,
            /// In: seconds until the domain is shut down with [`Reason::Watchdog`]; 0 ends the watchdog.
            pub timeout: u32,
        }
    }
}

/// Virtual CPUs: `vcpu.h`.
pub mod vcpu {
    /// `VCPUOP_get_runstate_info`.
    pub const GET_RUNSTATE_INFO: usize = 4;
    /// `VCPUOP_stop_periodic_timer`.
    pub const STOP_PERIODIC_TIMER: usize = 7;
    /// `VCPUOP_set_singleshot_timer`.
    pub const SET_SINGLESHOT_TIMER: usize = 8;
    /// `VCPUOP_stop_singleshot_timer`.
    pub const STOP_SINGLESHOT_TIMER: usize = 9;

    /// `VIRQ_TIMER`: the virtual irq of a vCPU's timer.
    pub const VIRQ_TIMER: u32 = 0;

    crate::shared::wire! {
        /// `vcpu_set_singleshot_timer`.
        pub struct SetSingleshotTimer {
            /// In: system time of the event, in nanoseconds. One in the past fires at once.
            pub timeout: u64,
            /// In: 0; with `VCPU_SSHOTTMR_future` a time in the past is an error.
            pub flags: u32,
            /// Padding.
            pub pad: u32,
        }

        /// `vcpu_runstate_info`.
        pub struct RunstateInfo {
            /// Out: what the vCPU does now, an index into `time`.
            pub state: u32,
            /// Padding.
            pub pad: u32,
            /// Out: system time at which it began to, in nanoseconds.
            pub state_entry_time: u64,
            /// Out: nanoseconds running, runnable (stolen by others), blocked (idle) and offline.
            pub time: [u64; 4],
        }
    }
}

/// Version and features: `version.h` and `features.h`.
pub mod version {
    /// `XENVER_version`.
    pub const VERSION: usize = 0;
    /// `XENVER_extraversion`.
    pub const EXTRAVERSION: usize = 1;
    /// `XENVER_get_features`.
    pub const GET_FEATURES: usize = 6;

    /// `XENFEAT_hvm_callback_vector`: upcalls can come by vector.
    pub const FEATURE_CALLBACK_VECTOR: u32 = 8;
    /// `XENFEAT_hvm_safe_pvclock`: an HVM guest can use time records and timers.
    pub const FEATURE_SAFE_PVCLOCK: u32 = 9;

    crate::shared::wire! {
        /// `xen_feature_info`.
        pub struct FeatureInfo {
            /// In: which 32 features.
            pub index: u32,
            /// Out: a bit for each.
            pub submap: u32,
        }
    }
}

/// The grant table: `grant_table.h`.
pub mod grant {
    use super::DomainId;
    use crate::types::GrantRef;

    /// `GNTTABOP_map_grant_ref`.
    pub const MAP_GRANT_REF: usize = 0;
    /// `GNTTABOP_unmap_grant_ref`.
    pub const UNMAP_GRANT_REF: usize = 1;
    /// `GNTTABOP_copy`.
    pub const COPY: usize = 5;
    /// `GNTTABOP_query_size`.
    pub const QUERY_SIZE: usize = 6;
    /// `GNTTABOP_set_version`.
    pub const SET_VERSION: usize = 8;
    /// `GNTTABOP_get_version`.
    pub const GET_VERSION: usize = 10;

    /// In [`MapGrantRef::flags`]: for the CPU (`GNTMAP_host_map`).
    pub const MAP_HOST: u32 = 2;
    /// In [`MapGrantRef::flags`]: for reading only (`GNTMAP_readonly`).
    pub const MAP_READONLY: u32 = 4;
    /// In [`Copy::flags`]: the source is granted (`GNTCOPY_source_gref`).
    pub const COPY_SOURCE_GREF: u16 = 1;
    /// In [`Copy::flags`]: so is the target (`GNTCOPY_dest_gref`).
    pub const COPY_TARGET_GREF: u16 = 2;

    /// What Xen says of an operation (`GNTST_*`): all is well.
    pub const OKAY: i16 = 0;
    /// There is no place for another mapping (`GNTST_no_device_space`).
    pub const NO_SPACE: i16 = -7;
    /// The page is swapped out (`GNTST_eagain`).
    pub const TRY_AGAIN: i16 = -12;

    crate::shared::wire! {
        /// `gnttab_map_grant_ref`.
        pub struct MapGrantRef {
            /// In: guest-physical address of the frame.
            pub address: u64,
            /// In: `MAP_*`.
            pub flags: u32,
            /// In: the reference.
            pub gref: GrantRef,
            /// In: the domain that granted.
            pub domain: DomainId,
            /// Out: `GNTST_*`, 0 when all is well.
            pub status: i16,
            /// Out: what unmaps it.
            pub handle: u32,
            /// Out: for devices.
            pub device_address: u64,
        }

        /// `gnttab_unmap_grant_ref`.
        pub struct UnmapGrantRef {
            /// In: guest-physical address of the frame.
            pub address: u64,
            /// In: 0.
            pub device_address: u64,
            /// In: what mapping it gave.
            pub handle: u32,
            /// Out: `GNTST_*`, 0 when all is well.
            pub status: i16,
            /// Padding.
            pub pad: u16,
        }

        /// An end of a [`struct@Copy`] (`gnttab_copy_ptr`).
        pub struct CopyPointer {
            /// In: a reference, or a frame of the domain.
            pub page: u64,
            /// In: the domain.
            pub domain: DomainId,
            /// In: the first byte in the page.
            pub offset: u16,
            /// Padding.
            pub pad: u32,
        }

        /// `gnttab_copy`.
        pub struct Copy {
            /// In: from where.
            pub source: CopyPointer,
            /// In: to where.
            pub target: CopyPointer,
            /// In: how many bytes.
            pub length: u16,
            /// In: `COPY_*`.
            pub flags: u16,
            /// Out: `GNTST_*`, 0 when all is well.
            pub status: i16,
            /// Padding.
            pub pad: u16,
        }

        /// `gnttab_query_size`.
        pub struct QuerySize {
            /// In: the domain.
            pub domain: DomainId,
            /// Padding.
            pub pad: u16,
            /// Out: frames that the table has.
            pub frames: u32,
            /// Out: frames that it may have.
            pub max_frames: u32,
            /// Out: `GNTST_*`, 0 when all is well.
            pub status: i16,
            /// Padding.
            pub pad2: u16,
        }

        /// `gnttab_set_version`.
        pub struct SetVersion {
            /// In and out: 1 or 2.
            pub version: u32,
        }

        /// `gnttab_get_version`.
        pub struct GetVersion {
            /// In: the domain.
            pub domain: DomainId,
            /// Padding.
            pub pad: u16,
            /// Out: 1 or 2.
            pub version: u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    #[test]
    fn structures_have_the_size_that_xen_reads() {
        assert_eq!(size_of::<event::BindInterdomain>(), 12);
        assert_eq!(size_of::<event::Status>(), 24);
        assert_eq!(offset_of!(event::Status, remote), 16);
        assert_eq!(offset_of!(event::Status, remote_port), 20);
        assert_eq!(size_of::<event::AllocUnbound>(), 8);
        assert_eq!(size_of::<event::InitControl>(), 24);
        assert_eq!(size_of::<memory::AddToPhysmap>(), 24);
        assert_eq!(size_of::<memory::RemoveFromPhysmap>(), 16);
        assert_eq!(size_of::<memory::Reservation>(), 32);
        assert_eq!(size_of::<hvm::ParamArg>(), 16);
        assert_eq!(size_of::<hvm::UpcallVector>(), 8);
        assert_eq!(size_of::<grant::QuerySize>(), 16);
        assert_eq!(size_of::<vcpu::SetSingleshotTimer>(), 16);
        assert_eq!(size_of::<vcpu::RunstateInfo>(), 48);
    }

    #[test]
    fn intx_is_packed() {
        assert_eq!(hvm::callback_via_intx(0, 0, 0x10, 0), 0x0100_0000_0000_1000);
        assert_eq!(hvm::callback_via_intx(1, 2, 3, 3), 0x0100_0001_0002_0303);
        assert_eq!(hvm::callback_via_vector(0xec), 0x0200_0000_0000_00ec);
    }
}
