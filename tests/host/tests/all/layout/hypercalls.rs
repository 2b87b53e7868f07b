// SPDX-License-Identifier: GPL-2.0

//! The hypercalls: their numbers and the structures that Xen reads, and the CPUID leaves.

use super::truth::{structure, Truth};
use abi::{
    cpuid::{self, Base, Leaf},
    hypercall::{
        event::*,
        grant::{
            self, Copy, CopyPointer, GetVersion, MapGrantRef, QuerySize, SetVersion, UnmapGrantRef,
        },
        hvm::{self, Param, ParamArg, UpcallVector},
        memory::{self, AddToPhysmap, RemoveFromPhysmap, Reservation, Space},
        sched::{self, Reason},
        vcpu::{self, RunstateInfo, SetSingleshotTimer},
        version::{self, FeatureInfo},
        Hypercall,
    },
    types::VcpuId,
};
use std::mem::{offset_of, size_of};

pub(super) fn all(t: &mut Truth) {
    numbers(t);
    events(t);
    frames(t);
    hvm(t);
    others(t);
    leaves(t);
}

fn numbers(t: &mut Truth) {
    t.is("__HYPERVISOR_memory_op", Hypercall::MemoryOp as usize);
    t.is("__HYPERVISOR_xen_version", Hypercall::XenVersion as usize);
    t.is(
        "__HYPERVISOR_grant_table_op",
        Hypercall::GrantTableOp as usize,
    );
    t.is("__HYPERVISOR_vcpu_op", Hypercall::VcpuOp as usize);
    t.is("__HYPERVISOR_sched_op", Hypercall::SchedOp as usize);
    t.is(
        "__HYPERVISOR_event_channel_op",
        Hypercall::EventChannelOp as usize,
    );
    t.is("__HYPERVISOR_hvm_op", Hypercall::HvmOp as usize);
}

fn events(t: &mut Truth) {
    t.is("EVTCHNOP_bind_interdomain", BIND_INTERDOMAIN);
    t.is("EVTCHNOP_bind_virq", BIND_VIRQ);
    t.is("EVTCHNOP_close", CLOSE);
    t.is("EVTCHNOP_send", SEND);
    t.is("EVTCHNOP_status", STATUS);
    t.is("EVTCHNOP_alloc_unbound", ALLOC_UNBOUND);
    t.is("EVTCHNOP_bind_ipi", BIND_IPI);
    t.is("EVTCHNOP_bind_vcpu", BIND_VCPU);
    t.is("EVTCHNOP_unmask", UNMASK);
    t.is("EVTCHNOP_reset", RESET);
    t.is("EVTCHNOP_init_control", INIT_CONTROL);
    t.is("EVTCHNOP_expand_array", EXPAND_ARRAY);
    t.is("EVTCHNOP_set_priority", SET_PRIORITY);
    t.is("EVTCHNSTAT_closed", STATUS_CLOSED);
    t.is("EVTCHNSTAT_unbound", STATUS_UNBOUND);
    t.is("EVTCHNSTAT_interdomain", STATUS_INTERDOMAIN);
    structure!(
        t,
        BindInterdomain,
        "evtchn_bind_interdomain",
        remote = "remote_dom",
        remote_port = "remote_port",
        port = "local_port"
    );
    structure!(
        t,
        BindVirq,
        "evtchn_bind_virq",
        virq = "virq",
        vcpu = "vcpu",
        port = "port"
    );
    structure!(t, BindIpi, "evtchn_bind_ipi", vcpu = "vcpu", port = "port");
    structure!(t, OnePort, "evtchn_close", port = "port");
    structure!(t, OnePort, "evtchn_send", port = "port");
    structure!(t, OnePort, "evtchn_unmask", port = "port");
    structure!(
        t,
        Status,
        "evtchn_status",
        domain = "dom",
        port = "port",
        status = "status",
        vcpu = "vcpu",
        remote = "u.unbound.dom",
        remote = "u.interdomain.dom",
        remote_port = "u.interdomain.port"
    );
    structure!(
        t,
        AllocUnbound,
        "evtchn_alloc_unbound",
        domain = "dom",
        remote = "remote_dom",
        port = "port"
    );
    structure!(
        t,
        BindVcpu,
        "evtchn_bind_vcpu",
        port = "port",
        vcpu = "vcpu"
    );
    structure!(t, Reset, "evtchn_reset", domain = "dom");
    structure!(
        t,
        InitControl,
        "evtchn_init_control",
        control_gfn = "control_gfn",
        offset = "offset",
        vcpu = "vcpu",
        link_bits = "link_bits"
    );
    structure!(
        t,
        ExpandArray,
        "evtchn_expand_array",
        array_gfn = "array_gfn"
    );
    structure!(
        t,
        SetPriority,
        "evtchn_set_priority",
        port = "port",
        priority = "priority"
    );
}

fn frames(t: &mut Truth) {
    t.is("XENMEM_decrease_reservation", memory::DECREASE_RESERVATION);
    t.is("XENMEM_populate_physmap", memory::POPULATE_PHYSMAP);
    t.is("XENMEM_add_to_physmap", memory::ADD_TO_PHYSMAP);
    t.is("XENMEM_remove_from_physmap", memory::REMOVE_FROM_PHYSMAP);
    t.is("XENMAPSPACE_shared_info", Space::SharedInfo as u32);
    t.is("XENMAPSPACE_grant_table", Space::GrantTable as u32);
    structure!(
        t,
        AddToPhysmap,
        "xen_add_to_physmap",
        domain = "domid",
        size = "size",
        space = "space",
        index = "idx",
        gfn = "gpfn"
    );
    structure!(
        t,
        RemoveFromPhysmap,
        "xen_remove_from_physmap",
        domain = "domid",
        gfn = "gpfn"
    );
    structure!(
        t,
        Reservation,
        "xen_memory_reservation",
        extent_start = "extent_start",
        extents = "nr_extents",
        order = "extent_order",
        flags = "mem_flags",
        domain = "domid"
    );
}

fn hvm(t: &mut Truth) {
    t.is("HVMOP_set_param", hvm::SET_PARAM);
    t.is("HVMOP_get_param", hvm::GET_PARAM);
    t.is("HVMOP_set_evtchn_upcall_vector", hvm::SET_UPCALL_VECTOR);
    t.is("HVM_PARAM_CALLBACK_IRQ", Param::CallbackIrq as u32);
    t.is("HVM_PARAM_STORE_PFN", Param::StorePfn as u32);
    t.is("HVM_PARAM_STORE_EVTCHN", Param::StoreEvtchn as u32);
    t.is("HVM_PARAM_CONSOLE_PFN", Param::ConsolePfn as u32);
    t.is("HVM_PARAM_CONSOLE_EVTCHN", Param::ConsoleEvtchn as u32);
    // The kind of callback is the highest byte.
    let intx = hvm::callback_via_intx(0, 0, 0, 0);
    t.is("HVM_PARAM_CALLBACK_TYPE_PCI_INTX", intx >> 56);
    let vector = hvm::callback_via_vector(0);
    t.is("HVM_PARAM_CALLBACK_TYPE_VECTOR", vector >> 56);
    structure!(
        t,
        ParamArg,
        "xen_hvm_param",
        domain = "domid",
        index = "index",
        value = "value"
    );
    structure!(
        t,
        UpcallVector,
        "xen_hvm_evtchn_upcall_vector",
        vcpu = "vcpu",
        vector = "vector"
    );
}

fn others(t: &mut Truth) {
    t.is("VCPUOP_get_runstate_info", vcpu::GET_RUNSTATE_INFO);
    t.is("VCPUOP_stop_periodic_timer", vcpu::STOP_PERIODIC_TIMER);
    t.is("VCPUOP_set_singleshot_timer", vcpu::SET_SINGLESHOT_TIMER);
    t.is("VCPUOP_stop_singleshot_timer", vcpu::STOP_SINGLESHOT_TIMER);
    t.is("VIRQ_TIMER", vcpu::VIRQ_TIMER);
    structure!(
        t,
        SetSingleshotTimer,
        "vcpu_set_singleshot_timer",
        timeout = "timeout_abs_ns",
        flags = "flags"
    );
    structure!(
        t,
        RunstateInfo,
        "vcpu_runstate_info",
        state = "state",
        state_entry_time = "state_entry_time",
        time = "time"
    );
    t.is("SCHEDOP_yield", sched::YIELD);
    t.is("SCHEDOP_shutdown", sched::SHUTDOWN);
    t.is("SCHEDOP_watchdog", sched::WATCHDOG);
    t.is("SHUTDOWN_poweroff", Reason::Poweroff as u32);
    t.is("SHUTDOWN_reboot", Reason::Reboot as u32);
    t.is("SHUTDOWN_suspend", Reason::Suspend as u32);
    t.is("SHUTDOWN_crash", Reason::Crash as u32);
    t.is("SHUTDOWN_watchdog", Reason::Watchdog as u32);
    t.is("SHUTDOWN_soft_reset", Reason::SoftReset as u32);
    structure!(t, sched::Shutdown, "sched_shutdown", reason = "reason");
    structure!(
        t,
        sched::Watchdog,
        "sched_watchdog",
        id = "id",
        timeout = "timeout"
    );
    t.is("XENVER_version", version::VERSION);
    t.is("XENVER_extraversion", version::EXTRAVERSION);
    t.is("XENVER_get_features", version::GET_FEATURES);
    t.is(
        "XENFEAT_hvm_callback_vector",
        version::FEATURE_CALLBACK_VECTOR,
    );
    t.is("XENFEAT_hvm_safe_pvclock", version::FEATURE_SAFE_PVCLOCK);
    structure!(
        t,
        FeatureInfo,
        "xen_feature_info",
        index = "submap_idx",
        submap = "submap"
    );
    t.is("GNTTABOP_query_size", grant::QUERY_SIZE);
    mappings(t);
    t.is("GNTTABOP_set_version", grant::SET_VERSION);
    t.is("GNTTABOP_get_version", grant::GET_VERSION);
    structure!(
        t,
        QuerySize,
        "gnttab_query_size",
        domain = "dom",
        frames = "nr_frames",
        max_frames = "max_nr_frames",
        status = "status"
    );
    structure!(t, SetVersion, "gnttab_set_version", version = "version");
    structure!(
        t,
        GetVersion,
        "gnttab_get_version",
        domain = "dom",
        version = "version"
    );
}

/// The numbers are private to `abi::cpuid`: what it finds with Xen's is compared.
fn leaves(t: &mut Truth) {
    let mut xen = |name| u32::try_from(t.take(name)).unwrap();
    let first = xen("XEN_CPUID_FIRST_LEAF");
    let signature = Leaf {
        eax: first + cpuid::HVM_LEAF,
        ebx: xen("XEN_CPUID_SIGNATURE_EBX"),
        ecx: xen("XEN_CPUID_SIGNATURE_ECX"),
        edx: xen("XEN_CPUID_SIGNATURE_EDX"),
    };
    let answer = |leaf| {
        if leaf == first {
            signature
        } else {
            Leaf::default()
        }
    };
    let base = Base::find(answer).expect("Xen's own signature");
    assert_eq!(base.leaf(0), first);
    for bit in 0..32 {
        let leaf = Leaf {
            eax: 1 << bit,
            ebx: 7,
            ..Leaf::default()
        };
        let tells = leaf.eax == xen("XEN_HVM_CPUID_VCPU_ID_PRESENT");
        assert_eq!(cpuid::vcpu_id(leaf), tells.then_some(VcpuId(7)));
    }
    t.is(
        "XEN_HVM_CPUID_APIC_ACCESS_VIRT | XEN_HVM_CPUID_X2APIC_VIRT",
        cpuid::APIC_VIRTUALISED,
    );
    t.is(
        "XEN_CPUID_TSC_MODE_NEVER_EMULATE",
        cpuid::TSC_NEVER_EMULATED,
    );
}

fn mappings(t: &mut Truth) {
    t.is("GNTTABOP_map_grant_ref", grant::MAP_GRANT_REF);
    t.is("GNTTABOP_unmap_grant_ref", grant::UNMAP_GRANT_REF);
    t.is("GNTTABOP_copy", grant::COPY);
    t.is("GNTMAP_host_map", grant::MAP_HOST);
    t.is("GNTMAP_readonly", grant::MAP_READONLY);
    t.is("GNTCOPY_source_gref", grant::COPY_SOURCE_GREF);
    t.is("GNTCOPY_dest_gref", grant::COPY_TARGET_GREF);
    t.is("GNTST_okay", grant::OKAY);
    t.is("GNTST_no_device_space", grant::NO_SPACE);
    t.is("GNTST_eagain", grant::TRY_AGAIN);
    structure!(
        t,
        MapGrantRef,
        "gnttab_map_grant_ref",
        address = "host_addr",
        flags = "flags",
        gref = "ref",
        domain = "dom",
        status = "status",
        handle = "handle",
        device_address = "dev_bus_addr"
    );
    structure!(
        t,
        UnmapGrantRef,
        "gnttab_unmap_grant_ref",
        address = "host_addr",
        device_address = "dev_bus_addr",
        handle = "handle",
        status = "status"
    );
    structure!(
        t,
        Copy,
        "gnttab_copy",
        source = "source",
        target = "dest",
        length = "len",
        flags = "flags",
        status = "status"
    );
    t.is("gnttab_copy.source.u", offset_of!(CopyPointer, page));
    t.is("gnttab_copy.source.domid", offset_of!(CopyPointer, domain));
    t.is("gnttab_copy.source.offset", offset_of!(CopyPointer, offset));
}
