// SPDX-License-Identifier: GPL-2.0

//! The devices under `/dev/xen`: commands of `ioctl(2)` and their structures, by Linux's headers for programs.

use super::truth::{structure, Truth};
use abi::userdev::{
    evtchn::{BindInterdomain, BindUnbound, BindVirq, Command as EventCommand, OnePort, Restrict},
    gntalloc::{self, Alloc, Command as AllocCommand, Dealloc},
    gntdev::{self, Command as MapCommand, Find, Map, Ref, Segment, Segments, SetMost, Unmap},
    notify::{self, Notify},
};
use std::mem::{offset_of, size_of};

pub(super) fn all(t: &mut Truth) {
    events(t);
    alloc(t);
    map(t);
}

fn events(t: &mut Truth) {
    structure!(t, BindVirq, "ioctl_evtchn_bind_virq", virq = "virq");
    structure!(
        t,
        BindInterdomain,
        "ioctl_evtchn_bind_interdomain",
        remote = "remote_domain",
        remote_port = "remote_port"
    );
    structure!(
        t,
        BindUnbound,
        "ioctl_evtchn_bind_unbound_port",
        remote = "remote_domain"
    );
    structure!(t, OnePort, "ioctl_evtchn_unbind", port = "port");
    structure!(t, OnePort, "ioctl_evtchn_notify", port = "port");
    structure!(t, Restrict, "ioctl_evtchn_restrict_domid", domain = "domid");
    for (number, command) in EventCommand::ALL {
        let name = match command {
            EventCommand::BindVirq => "IOCTL_EVTCHN_BIND_VIRQ",
            EventCommand::BindInterdomain => "IOCTL_EVTCHN_BIND_INTERDOMAIN",
            EventCommand::BindUnbound => "IOCTL_EVTCHN_BIND_UNBOUND_PORT",
            EventCommand::Unbind => "IOCTL_EVTCHN_UNBIND",
            EventCommand::Notify => "IOCTL_EVTCHN_NOTIFY",
            EventCommand::Reset => "IOCTL_EVTCHN_RESET",
            EventCommand::Restrict => "IOCTL_EVTCHN_RESTRICT_DOMID",
        };
        t.is(name, number);
    }
}

fn alloc(t: &mut Truth) {
    t.is("ioctl_gntalloc_alloc_gref.domid", offset_of!(Alloc, domain));
    t.is("ioctl_gntalloc_alloc_gref.flags", offset_of!(Alloc, flags));
    t.is("ioctl_gntalloc_alloc_gref.count", offset_of!(Alloc, count));
    t.is("ioctl_gntalloc_alloc_gref.index", offset_of!(Alloc, index));
    // Ours ends where the references begin.
    t.is("ioctl_gntalloc_alloc_gref.gref_ids", size_of::<Alloc>());
    t.is("ioctl_gntalloc_alloc_gref", size_of::<Alloc>() + 8);
    structure!(
        t,
        Dealloc,
        "ioctl_gntalloc_dealloc_gref",
        index = "index",
        count = "count"
    );
    structure!(
        t,
        Notify,
        "ioctl_gntalloc_unmap_notify",
        index = "index",
        action = "action",
        port = "event_channel_port"
    );
    for (number, command) in AllocCommand::ALL {
        let name = match command {
            AllocCommand::Alloc => "IOCTL_GNTALLOC_ALLOC_GREF",
            AllocCommand::Dealloc => "IOCTL_GNTALLOC_DEALLOC_GREF",
            AllocCommand::SetNotify => "IOCTL_GNTALLOC_SET_UNMAP_NOTIFY",
        };
        t.is(name, number);
    }
    t.is("GNTALLOC_FLAG_WRITABLE", gntalloc::WRITABLE);
    t.is("UNMAP_NOTIFY_CLEAR_BYTE", notify::CLEAR_BYTE);
    t.is("UNMAP_NOTIFY_SEND_EVENT", notify::SEND_EVENT);
}

fn map(t: &mut Truth) {
    t.is("ioctl_gntdev_map_grant_ref.count", offset_of!(Map, count));
    t.is("ioctl_gntdev_map_grant_ref.index", offset_of!(Map, index));
    // Ours ends where the references begin.
    t.is("ioctl_gntdev_map_grant_ref.refs", size_of::<Map>());
    t.is(
        "ioctl_gntdev_map_grant_ref",
        size_of::<Map>() + size_of::<Ref>(),
    );
    structure!(
        t,
        Ref,
        "ioctl_gntdev_grant_ref",
        domain = "domid",
        gref = "ref"
    );
    structure!(
        t,
        Unmap,
        "ioctl_gntdev_unmap_grant_ref",
        index = "index",
        count = "count"
    );
    structure!(
        t,
        Find,
        "ioctl_gntdev_get_offset_for_vaddr",
        address = "vaddr",
        index = "offset",
        count = "count"
    );
    structure!(t, SetMost, "ioctl_gntdev_set_max_grants", count = "count");
    structure!(
        t,
        Notify,
        "ioctl_gntdev_unmap_notify",
        index = "index",
        action = "action",
        port = "event_channel_port"
    );
    structure!(
        t,
        Segments,
        "ioctl_gntdev_grant_copy",
        count = "count",
        segments = "segments"
    );
    structure!(
        t,
        Segment,
        "gntdev_grant_copy_segment",
        source = "source",
        target = "dest",
        length = "len",
        flags = "flags",
        status = "status"
    );
    // What the words are taken apart by.
    t.is("gntdev_grant_copy_segment.source.foreign.offset", 4);
    t.is("gntdev_grant_copy_segment.source.foreign.domid", 6);
    assert_eq!((gntdev::SOURCE_FOREIGN, gntdev::TARGET_FOREIGN), (1, 2));
    for (number, command) in MapCommand::ALL {
        let name = match command {
            MapCommand::Map => "IOCTL_GNTDEV_MAP_GRANT_REF",
            MapCommand::Unmap => "IOCTL_GNTDEV_UNMAP_GRANT_REF",
            MapCommand::Find => "IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR",
            MapCommand::SetMost => "IOCTL_GNTDEV_SET_MAX_GRANTS",
            MapCommand::SetNotify => "IOCTL_GNTDEV_SET_UNMAP_NOTIFY",
            MapCommand::Copy => "IOCTL_GNTDEV_GRANT_COPY",
        };
        t.is(name, number);
    }
}
