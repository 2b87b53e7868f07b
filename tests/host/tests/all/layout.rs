// SPDX-License-Identifier: GPL-2.0

//! Layout truth: what `abi` believes against what Xen's public headers say.

mod hypercalls;
mod truth;
mod userdev;

use abi::{
    block::{self, request},
    connection::State,
    console, event, grant,
    net::{gso::GsoType, wire as net},
    pvclock, ring,
    types::DomainId,
    xenstore::{ring as store_ring, wire as store},
};
use std::mem::{offset_of, size_of};
use truth::{structure, Truth};

/// Every entry of the table has its counterpart in `abi`, and every one agrees.
#[test]
fn layouts_are_those_of_xens_headers() {
    let mut truth = Truth::new();
    let t = &mut truth;
    rings(t);
    block(t);
    net(t);
    console(t);
    xenstore(t);
    grant(t);
    events(t);
    time(t);
    hypercalls::all(t);
    userdev::all(t);
    let forgotten: Vec<_> = t
        .table
        .keys()
        .filter(|name| !t.used.contains(*name))
        .collect();
    assert!(
        forgotten.is_empty(),
        "in the table but not compared: {forgotten:?}"
    );
}

fn rings(t: &mut Truth) {
    t.is("blkif_sring.req_prod", ring::REQ_PROD);
    t.is("blkif_sring.req_event", ring::REQ_EVENT);
    t.is("blkif_sring.rsp_prod", ring::RSP_PROD);
    t.is("blkif_sring.rsp_event", ring::RSP_EVENT);
    t.is("blkif_sring.ring", ring::HEADER);
}

fn block(t: &mut Truth) {
    structure!(
        t,
        request::Segment,
        "blkif_request_segment",
        gref = "gref",
        first_sect = "first_sect",
        last_sect = "last_sect"
    );
    structure!(
        t,
        request::Direct,
        "blkif_request",
        operation = "operation",
        nr_segments = "nr_segments",
        handle = "handle",
        id = "id",
        sector_number = "sector_number",
        seg = "seg"
    );
    structure!(
        t,
        request::Indirect,
        "blkif_request_indirect",
        operation = "operation",
        indirect_op = "indirect_op",
        nr_segments = "nr_segments",
        id = "id",
        sector_number = "sector_number",
        handle = "handle",
        indirect_grefs = "indirect_grefs"
    );
    // Xen's ends with the 8 bytes of `nr_sectors` as ours does.
    structure!(
        t,
        request::Discard,
        "blkif_request_discard",
        operation = "operation",
        flag = "flag",
        handle = "handle",
        id = "id",
        sector_number = "sector_number",
        nr_sectors = "nr_sectors"
    );
    t.is("union blkif_sring_entry", size_of::<request::Request>());

    // The fields of a response are private: look where they come out.
    let response = block::response::Response::forge(0x1122_3344_5566_7788, 0x99, -0x1234);
    let bytes = abi::shared::bytes_of(&response).to_vec();
    let find = |wanted: &[u8]| {
        bytes
            .windows(wanted.len())
            .position(|w| w == wanted)
            .unwrap()
    };
    t.is("blkif_response", size_of::<block::response::Response>());
    t.is(
        "blkif_response.id",
        find(&0x1122_3344_5566_7788u64.to_le_bytes()),
    );
    t.is("blkif_response.operation", find(&[0x99]));
    t.is("blkif_response.status", find(&(-0x1234i16).to_le_bytes()));

    use request::Operation as Op;
    t.is("BLKIF_OP_READ", Op::Read.code());
    t.is("BLKIF_OP_WRITE", Op::Write.code());
    t.is("BLKIF_OP_WRITE_BARRIER", Op::WriteBarrier.code());
    t.is("BLKIF_OP_FLUSH_DISKCACHE", Op::Flush.code());
    t.is("BLKIF_OP_DISCARD", Op::Discard.code());
    t.is("BLKIF_OP_INDIRECT", Op::Indirect.code());
    t.is("BLKIF_MAX_SEGMENTS_PER_REQUEST", block::DIRECT_SEGMENTS);
    t.is(
        "BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST",
        block::INDIRECT_PAGES,
    );
    let header = request::Header {
        id: 0,
        handle: 0,
        sector: 0,
    };
    let secure = request::Request::discard(header, 1, true);
    t.is("BLKIF_DISCARD_SECURE", abi::shared::bytes_of(&secure)[1]);

    use block::response::{Outcome, Response};
    let outcome = |status| {
        Response::forge(0, Op::Flush.code(), status)
            .outcome(Op::Flush)
            .unwrap()
    };
    let status = |wanted| {
        (-300..300)
            .find(|status| outcome(*status) == wanted)
            .unwrap()
    };
    t.is("BLKIF_RSP_OKAY", status(Outcome::Done));
    t.is("BLKIF_RSP_EOPNOTSUPP", status(Outcome::NotSupported));
    assert_eq!(outcome(-1), Outcome::Failed);
    t.is("BLKIF_RSP_ERROR", -1);

    use block::geometry::{Described, Geometry};
    let info = |bit| {
        let described = Described {
            sectors: Some(8),
            info: Some(bit),
            ..Described::default()
        };
        Geometry::check(&described).unwrap()
    };
    let bit = |of: fn(&Geometry) -> bool| {
        (0..8)
            .map(|n| 1u64 << n)
            .find(|bit| of(&info(*bit)))
            .unwrap()
    };
    t.is("VDISK_REMOVABLE", bit(Geometry::removable));
    t.is("VDISK_READONLY", bit(Geometry::read_only));
}

fn net(t: &mut Truth) {
    structure!(
        t,
        net::TxRequest,
        "netif_tx_request",
        gref = "gref",
        offset = "offset",
        flags = "flags",
        id = "id",
        size = "size"
    );
    structure!(
        t,
        net::TxResponse,
        "netif_tx_response",
        id = "id",
        status = "status"
    );
    structure!(
        t,
        net::RxRequest,
        "netif_rx_request",
        id = "id",
        pad = "pad",
        gref = "gref"
    );
    structure!(
        t,
        net::RxResponse,
        "netif_rx_response",
        id = "id",
        offset = "offset",
        flags = "flags",
        status = "status"
    );
    structure!(
        t,
        net::ExtraInfo,
        "netif_extra_info",
        kind = "type",
        flags = "flags",
        data = "u"
    );
    t.is("union netif_tx_sring_entry", net::TX_SLOT);
    t.is("union netif_rx_sring_entry", net::RX_SLOT);
    // What is encoded by hand is what lies in memory.
    let tx = net::TxRequest {
        gref: 0x0403_0201,
        offset: 0x0605,
        flags: 0x0807,
        id: 0x0a09,
        size: 0x0c0b,
    };
    assert_eq!(tx.encode(), abi::shared::bytes_of(&tx));
    let rx = net::RxResponse {
        id: 0x0201,
        offset: 0x0403,
        flags: 0x0605,
        status: 0x0807,
    };
    assert_eq!(rx.encode(), abi::shared::bytes_of(&rx));
    let rx = net::RxRequest {
        id: 0x0201,
        pad: 0,
        gref: 0x0807_0605,
    };
    assert_eq!(rx.encode(), abi::shared::bytes_of(&rx));
    let gso = net::ExtraInfo::gso(GsoType::TcpV6, 0xabcd).encode_rx();
    let find = |wanted: &[u8]| gso.windows(wanted.len()).position(|w| w == wanted).unwrap();
    t.is("netif_extra_info.u.gso.size", find(&[0xcd, 0xab]));
    t.is(
        "netif_extra_info.u.gso.type",
        find(&[0xab, GsoType::TcpV6.to_wire()]) + 1,
    );

    t.is("NETTXF_csum_blank", net::tx_flags::CSUM_BLANK);
    t.is("NETTXF_data_validated", net::tx_flags::DATA_VALIDATED);
    t.is("NETTXF_more_data", net::tx_flags::MORE_DATA);
    t.is("NETTXF_extra_info", net::tx_flags::EXTRA_INFO);
    t.is("NETRXF_data_validated", net::rx_flags::DATA_VALIDATED);
    t.is("NETRXF_csum_blank", net::rx_flags::CSUM_BLANK);
    t.is("NETRXF_more_data", net::rx_flags::MORE_DATA);
    t.is("NETRXF_extra_info", net::rx_flags::EXTRA_INFO);
    t.is("NETRXF_gso_prefix", net::rx_flags::GSO_PREFIX);
    t.is("NETIF_RSP_DROPPED", net::status::DROPPED);
    t.is("NETIF_RSP_ERROR", net::status::ERROR);
    t.is("NETIF_RSP_OKAY", net::status::OKAY);
    t.is("NETIF_RSP_NULL", net::status::NULL);
    t.is("XEN_NETIF_EXTRA_TYPE_NONE", net::extra_type::NONE);
    t.is("XEN_NETIF_EXTRA_TYPE_GSO", net::extra_type::GSO);
    t.is("XEN_NETIF_EXTRA_TYPE_MCAST_ADD", net::extra_type::MCAST_ADD);
    t.is("XEN_NETIF_EXTRA_TYPE_MCAST_DEL", net::extra_type::MCAST_DEL);
    t.is("XEN_NETIF_EXTRA_TYPE_HASH", net::extra_type::HASH);
    t.is("XEN_NETIF_EXTRA_TYPE_MAX", net::extra_type::MAX);
    t.is("XEN_NETIF_EXTRA_FLAG_MORE", net::EXTRA_FLAG_MORE);
    t.is("XEN_NETIF_GSO_TYPE_TCPV4", GsoType::TcpV4.to_wire());
    t.is("XEN_NETIF_GSO_TYPE_TCPV6", GsoType::TcpV6.to_wire());
    t.is("XEN_NETIF_NR_SLOTS_MIN", abi::net::MAX_PACKET_SLOTS as u64);
}

fn console(t: &mut Truth) {
    t.is("xencons_interface.in", 0);
    t.is("xencons_interface.in()", console::IN_SIZE);
    t.is("xencons_interface.out", console::OUT);
    t.is("xencons_interface.out()", console::OUT_SIZE);
    t.is("xencons_interface.in_cons", console::IN_CONS);
    t.is("xencons_interface.in_prod", console::IN_PROD);
    t.is("xencons_interface.out_cons", console::OUT_CONS);
    t.is("xencons_interface.out_prod", console::OUT_PROD);
    // The connection field is younger than some headers, and then ours is all that is longer.
    let size = t.table["xencons_interface"] as usize;
    t.used.insert("xencons_interface");
    assert!(size == console::SIZE || size == console::CONNECTION);
    if t.table.contains_key("XENCONSOLE_DISCONNECTED") {
        t.is("xencons_interface.connection", console::CONNECTION);
        t.is("XENCONSOLE_DISCONNECTED", console::DISCONNECTED);
    }
}

fn xenstore(t: &mut Truth) {
    structure!(
        t,
        store::Header,
        "xsd_sockmsg",
        kind = "type",
        request = "req_id",
        transaction = "tx_id",
        length = "len"
    );
    t.is("XENSTORE_PAYLOAD_MAX", store::PAYLOAD_MAX);
    t.is("XENSTORE_ABS_PATH_MAX", store::ABSOLUTE_PATH_MAX);
    t.is("XENSTORE_REL_PATH_MAX", store::RELATIVE_PATH_MAX);
    t.is("XENSTORE_RING_SIZE", store_ring::RING_SIZE);
    // The interface has a flexible end: ours is up to its last field.
    t.is("xenstore_domain_interface", store_ring::INTERFACE_SIZE);
    for (name, kind) in [
        ("XS_CONTROL", store::Kind::Control),
        ("XS_DIRECTORY", store::Kind::Directory),
        ("XS_READ", store::Kind::Read),
        ("XS_GET_PERMS", store::Kind::GetPerms),
        ("XS_WATCH", store::Kind::Watch),
        ("XS_UNWATCH", store::Kind::Unwatch),
        ("XS_TRANSACTION_START", store::Kind::TransactionStart),
        ("XS_TRANSACTION_END", store::Kind::TransactionEnd),
        ("XS_INTRODUCE", store::Kind::Introduce),
        ("XS_RELEASE", store::Kind::Release),
        ("XS_GET_DOMAIN_PATH", store::Kind::GetDomainPath),
        ("XS_WRITE", store::Kind::Write),
        ("XS_MKDIR", store::Kind::Mkdir),
        ("XS_RM", store::Kind::Rm),
        ("XS_SET_PERMS", store::Kind::SetPerms),
        ("XS_WATCH_EVENT", store::Kind::WatchEvent),
        ("XS_ERROR", store::Kind::Error),
        ("XS_IS_DOMAIN_INTRODUCED", store::Kind::IsDomainIntroduced),
        ("XS_RESUME", store::Kind::Resume),
        ("XS_SET_TARGET", store::Kind::SetTarget),
        ("XS_RESET_WATCHES", store::Kind::ResetWatches),
        ("XS_DIRECTORY_PART", store::Kind::DirectoryPart),
    ] {
        t.is(name, kind.number());
        assert_eq!(store::Kind::from_number(kind.number()), Some(kind));
    }
    xenstore_page(t);
    for state in State::ALL {
        let name = *t
            .table
            .keys()
            .find(|n| **n == format!("XenbusState{}", state.name()))
            .unwrap();
        t.is(name, state.number());
        assert_eq!(state.as_text(), state.number().to_string());
    }
}

/// The places in the xenstore page are private: find out which ones the code uses.
fn xenstore_page(t: &mut Truth) {
    use abi::shared::Memory;
    use host_tests::peer::{Access, Idle, Peer};
    use std::{cell::RefCell, rc::Rc};

    let at = |t: &Truth, field: &str| {
        t.table[format!("xenstore_domain_interface.{field}").as_str()] as usize
    };
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = seen.clone();
    let page = Peer::new(4096, move |_: &mut [u8], access: Access| {
        log.borrow_mut().push(access)
    });
    page.poke(at(t, "rsp_prod"), 1);
    let mut ring = store_ring::Ring::new(&page);
    ring.write(b"x").unwrap();
    let stores = |seen: &RefCell<Vec<Access>>| {
        let all: Vec<_> = seen
            .borrow()
            .iter()
            .filter_map(|a| match a {
                Access::Store(at, _) | Access::Release(at, _) => Some(*at),
                _ => None,
            })
            .collect();
        all
    };
    assert_eq!(stores(&seen), [at(t, "req"), at(t, "req_prod")]);
    seen.borrow_mut().clear();
    ring.read(&mut [0; 4]).unwrap();
    assert_eq!(stores(&seen), [at(t, "rsp_cons")]);
    assert!(seen.borrow().contains(&Access::Load(at(t, "rsp"), 1)));
    assert!(seen
        .borrow()
        .contains(&Access::Acquire(at(t, "rsp_prod"), 4)));
    for field in [
        "req",
        "rsp",
        "req_cons",
        "req_prod",
        "rsp_cons",
        "rsp_prod",
        "server_features",
        "connection",
        "error",
    ] {
        let name = *t
            .table
            .keys()
            .find(|n| **n == format!("xenstore_domain_interface.{field}"))
            .unwrap();
        t.used.insert(name);
    }
    // Each in a place of its own, each known by what it does.
    let page = Peer::new(4096, Idle);
    let mut ring = store_ring::Ring::new(&page);
    page.poke(at(t, "req_cons"), 5);
    assert_eq!(ring.indices(), [5, 0, 0, 0]);
    t.is("XENSTORE_SERVER_FEATURE_RECONNECTION", 1);
    t.is("XENSTORE_SERVER_FEATURE_ERROR", 2);
    page.poke(at(t, "server_features"), 1);
    assert!(ring.can_reconnect());
    page.poke(at(t, "error"), 77);
    assert_eq!(ring.server_error(), 0);
    page.poke(at(t, "server_features"), 2);
    assert!(!ring.can_reconnect());
    assert_eq!(ring.server_error(), 77);
    ring.begin_reconnect();
    t.is("XENSTORE_RECONNECT", page.load_u32(at(t, "connection")));
    assert!(!ring.reconnected());
    t.is("XENSTORE_CONNECTED", 0);
    page.poke(at(t, "connection"), 0);
    assert!(ring.reconnected());
}

fn grant(t: &mut Truth) {
    structure!(
        t,
        grant::Entry,
        "grant_entry_v1",
        flags = "flags",
        domain = "domid",
        frame = "frame"
    );
    assert_eq!(grant::ENTRY_SIZE, size_of::<grant::Entry>());
    assert_eq!(grant::ENTRIES_PER_FRAME as usize * grant::ENTRY_SIZE, 4096);
    t.is("GTF_invalid", grant::INVALID);
    t.is("GTF_permit_access", grant::PERMIT_ACCESS);
    t.is("GTF_type_mask", grant::TYPE_MASK);
    t.is("GTF_readonly", grant::READONLY);
    t.is("GTF_reading", grant::READING);
    t.is("GTF_writing", grant::WRITING);
    t.is("GNTTAB_NR_RESERVED_ENTRIES", grant::RESERVED_ENTRIES);
    t.is("DOMID_SELF", DomainId::SELF.0);
    t.is("DOMID_FIRST_RESERVED", DomainId::FIRST_RESERVED.0);
}

fn events(t: &mut Truth) {
    use abi::{
        event::{fifo, two_level, vcpu_info},
        shared::Memory,
        types::{Port, VcpuId},
    };
    use host_tests::peer::{Idle, Peer};

    t.is("vcpu_info", vcpu_info::SIZE);
    t.is("vcpu_info.evtchn_upcall_pending", vcpu_info::UPCALL_PENDING);
    t.is("vcpu_info.evtchn_pending_sel", vcpu_info::PENDING_SEL);
    // We never write the mask; Xen ignores it for a guest with upcall vectors.
    t.is(
        "vcpu_info.evtchn_upcall_mask",
        vcpu_info::UPCALL_PENDING + 1,
    );
    t.is("XEN_LEGACY_MAX_VCPUS", vcpu_info::COUNT);
    t.is(
        "shared_info.vcpu_info",
        vcpu_info::offset(VcpuId(0)).unwrap(),
    );
    t.is("EVTCHN_2L_NR_CHANNELS", two_level::PORTS);
    let page = Peer::new(4096, Idle);
    assert!(t.table["shared_info"] <= 4096);
    t.used.insert("shared_info");
    let words = two_level::TwoLevel::new(&page);
    words.set_pending(Port(65));
    let pending = (0..4096)
        .step_by(8)
        .find(|at| page.load_u64(*at) == 2)
        .unwrap();
    t.is("shared_info.evtchn_pending", pending - 8);
    words.mask(Port(64));
    let mask = (0..4096)
        .step_by(8)
        .find(|at| page.load_u64(*at) == 1)
        .unwrap();
    t.is("shared_info.evtchn_mask", mask - 8);

    t.is("EVTCHN_FIFO_NR_CHANNELS", fifo::PORTS);
    t.is("EVTCHN_FIFO_MAX_QUEUES", fifo::QUEUES);
    t.is("EVTCHN_FIFO_LINK_MASK", fifo::LINK);
    for (name, bit) in [
        ("EVTCHN_FIFO_PENDING", fifo::PENDING),
        ("EVTCHN_FIFO_MASKED", fifo::MASKED),
        ("EVTCHN_FIFO_LINKED", fifo::LINKED),
        ("EVTCHN_FIFO_BUSY", fifo::BUSY),
    ] {
        // The header has the number of the bit.
        t.is(name, bit.trailing_zeros());
        assert!(bit.is_power_of_two());
    }
    // The control block: a ready bit and a head are found where the header has them.
    let (ready, head) = (
        t.table["evtchn_fifo_control_block.ready"] as usize,
        t.table["evtchn_fifo_control_block.head"] as usize,
    );
    let control = Peer::new(4096, Idle);
    struct OnePage(Peer<Idle>);
    impl fifo::Words for OnePage {
        type Page = Peer<Idle>;
        fn page(&self, index: usize) -> Option<&Peer<Idle>> {
            (index == 0).then_some(&self.0)
        }
    }
    let page = OnePage(Peer::new(4096, Idle));
    page.0.poke(9 * 4, fifo::PENDING | fifo::LINKED);
    control.poke(ready, 1 << 3);
    control.poke(head + 3 * 4, 9);
    let mut ports = Vec::new();
    assert!(fifo::Queues::new().scan(&page, &control, 10, |port| ports.push(port)));
    assert_eq!(ports, [Port(9)]);
    t.used.extend([
        "evtchn_fifo_control_block.ready",
        "evtchn_fifo_control_block.head",
    ]);
    t.is("evtchn_fifo_control_block", head + fifo::QUEUES * 4);
    let _ = event::storm::PER_UPCALL;
}

fn time(t: &mut Truth) {
    structure!(
        t,
        pvclock::TimeInfo,
        "vcpu_time_info",
        version = "version",
        tsc_timestamp = "tsc_timestamp",
        system_time = "system_time",
        tsc_to_system_mul = "tsc_to_system_mul",
        tsc_shift = "tsc_shift",
        flags = "flags"
    );
    t.is("vcpu_info.time", pvclock::VCPU_TIME);
    t.is("XEN_PVCLOCK_TSC_STABLE_BIT", pvclock::TSC_STABLE);
    t.is(
        "shared_info.wc_version",
        pvclock::WALL_CLOCK + offset_of!(pvclock::WallClock, version),
    );
    t.is(
        "shared_info.wc_sec",
        pvclock::WALL_CLOCK + offset_of!(pvclock::WallClock, sec),
    );
    t.is(
        "shared_info.wc_nsec",
        pvclock::WALL_CLOCK + offset_of!(pvclock::WallClock, nsec),
    );
    t.is(
        "shared_info.wc_sec_hi",
        pvclock::WALL_CLOCK + offset_of!(pvclock::WallClock, sec_hi),
    );
}
