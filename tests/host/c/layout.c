// SPDX-License-Identifier: GPL-2.0
/*
 * What Xen's public headers say, as the C compiler understands it. tests/all/layout.rs compares abi with it.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>
#define __XEN_INTERFACE_VERSION__ 0x00040e00
#define xen_mb() __sync_synchronize()
#define xen_rmb() __sync_synchronize()
#define xen_wmb() __sync_synchronize()
#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/memory.h>
#include <xen/sched.h>
#include <xen/vcpu.h>
#include <xen/version.h>
#include <xen/features.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/arch-x86/cpuid.h>
#include <xen/io/ring.h>
#include <xen/io/blkif.h>
#include <xen/io/netif.h>
#include <xen/io/console.h>
#include <xen/io/xenbus.h>
#include <xen/io/xs_wire.h>
/* For programs, by Linux. */
#include <sys/ioctl.h>
#include <xen/evtchn.h>
#include <xen/gntalloc.h>
#define __user
#include <xen/gntdev.h>

struct entry {
	const char *name;
	uint64_t value;
};

#define S(type) { #type, sizeof(struct type) },
#define F(type, field) { #type "." #field, offsetof(struct type, field) },
#define C(name) { #name, (uint64_t)(name) },

const struct entry layout_table[] = {
	/* io/ring.h, as every ring has it. */
	F(blkif_sring, req_prod) F(blkif_sring, req_event) F(blkif_sring, rsp_prod)
	F(blkif_sring, rsp_event) F(blkif_sring, ring)

	/* io/blkif.h */
	S(blkif_request_segment) F(blkif_request_segment, gref)
	F(blkif_request_segment, first_sect) F(blkif_request_segment, last_sect)
	S(blkif_request) F(blkif_request, operation) F(blkif_request, nr_segments)
	F(blkif_request, handle) F(blkif_request, id) F(blkif_request, sector_number)
	F(blkif_request, seg)
	S(blkif_request_indirect) F(blkif_request_indirect, operation)
	F(blkif_request_indirect, indirect_op) F(blkif_request_indirect, nr_segments)
	F(blkif_request_indirect, id) F(blkif_request_indirect, sector_number)
	F(blkif_request_indirect, handle) F(blkif_request_indirect, indirect_grefs)
	S(blkif_request_discard) F(blkif_request_discard, operation)
	F(blkif_request_discard, flag) F(blkif_request_discard, handle)
	F(blkif_request_discard, id) F(blkif_request_discard, sector_number)
	F(blkif_request_discard, nr_sectors)
	S(blkif_response) F(blkif_response, id) F(blkif_response, operation)
	F(blkif_response, status)
	{ "union blkif_sring_entry", sizeof(union blkif_sring_entry) },
	C(BLKIF_OP_READ) C(BLKIF_OP_WRITE) C(BLKIF_OP_WRITE_BARRIER)
	C(BLKIF_OP_FLUSH_DISKCACHE) C(BLKIF_OP_DISCARD) C(BLKIF_OP_INDIRECT)
	C(BLKIF_DISCARD_SECURE) C(BLKIF_RSP_OKAY) C(BLKIF_RSP_ERROR) C(BLKIF_RSP_EOPNOTSUPP)
	C(BLKIF_MAX_SEGMENTS_PER_REQUEST) C(BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST)
	C(VDISK_REMOVABLE) C(VDISK_READONLY)

	/* io/netif.h */
	S(netif_tx_request) F(netif_tx_request, gref) F(netif_tx_request, offset)
	F(netif_tx_request, flags) F(netif_tx_request, id) F(netif_tx_request, size)
	S(netif_tx_response) F(netif_tx_response, id) F(netif_tx_response, status)
	S(netif_rx_request) F(netif_rx_request, id) F(netif_rx_request, pad)
	F(netif_rx_request, gref)
	S(netif_rx_response) F(netif_rx_response, id) F(netif_rx_response, offset)
	F(netif_rx_response, flags) F(netif_rx_response, status)
	S(netif_extra_info) F(netif_extra_info, type) F(netif_extra_info, flags)
	F(netif_extra_info, u) F(netif_extra_info, u.gso.size) F(netif_extra_info, u.gso.type)
	{ "union netif_tx_sring_entry", sizeof(union netif_tx_sring_entry) },
	{ "union netif_rx_sring_entry", sizeof(union netif_rx_sring_entry) },
	C(NETTXF_csum_blank) C(NETTXF_data_validated) C(NETTXF_more_data) C(NETTXF_extra_info)
	C(NETRXF_data_validated) C(NETRXF_csum_blank) C(NETRXF_more_data) C(NETRXF_extra_info)
	C(NETRXF_gso_prefix)
	C(NETIF_RSP_DROPPED) C(NETIF_RSP_ERROR) C(NETIF_RSP_OKAY) C(NETIF_RSP_NULL)
	C(XEN_NETIF_EXTRA_TYPE_NONE) C(XEN_NETIF_EXTRA_TYPE_GSO)
	C(XEN_NETIF_EXTRA_TYPE_MCAST_ADD) C(XEN_NETIF_EXTRA_TYPE_MCAST_DEL)
	C(XEN_NETIF_EXTRA_TYPE_HASH) C(XEN_NETIF_EXTRA_TYPE_MAX) C(XEN_NETIF_EXTRA_FLAG_MORE)
	C(XEN_NETIF_GSO_TYPE_TCPV4) C(XEN_NETIF_GSO_TYPE_TCPV6) C(XEN_NETIF_NR_SLOTS_MIN)

	/* io/console.h */
	S(xencons_interface) F(xencons_interface, in) F(xencons_interface, out)
	F(xencons_interface, in_cons) F(xencons_interface, in_prod)
	F(xencons_interface, out_cons) F(xencons_interface, out_prod)
	{ "xencons_interface.in()", sizeof(((struct xencons_interface *)0)->in) },
	{ "xencons_interface.out()", sizeof(((struct xencons_interface *)0)->out) },
#ifdef XENCONSOLE_CONNECTED
	F(xencons_interface, connection) C(XENCONSOLE_DISCONNECTED)
#endif

	/* io/xs_wire.h */
	S(xsd_sockmsg) F(xsd_sockmsg, type) F(xsd_sockmsg, req_id) F(xsd_sockmsg, tx_id)
	F(xsd_sockmsg, len)
	S(xenstore_domain_interface) F(xenstore_domain_interface, req)
	F(xenstore_domain_interface, rsp) F(xenstore_domain_interface, req_cons)
	F(xenstore_domain_interface, req_prod) F(xenstore_domain_interface, rsp_cons)
	F(xenstore_domain_interface, rsp_prod) F(xenstore_domain_interface, server_features)
	F(xenstore_domain_interface, connection) F(xenstore_domain_interface, error)
	C(XENSTORE_RING_SIZE) C(XENSTORE_PAYLOAD_MAX) C(XENSTORE_ABS_PATH_MAX)
	C(XENSTORE_REL_PATH_MAX) C(XENSTORE_SERVER_FEATURE_RECONNECTION)
	C(XENSTORE_SERVER_FEATURE_ERROR) C(XENSTORE_CONNECTED) C(XENSTORE_RECONNECT)
	C(XS_CONTROL) C(XS_DIRECTORY) C(XS_READ) C(XS_GET_PERMS) C(XS_WATCH) C(XS_UNWATCH)
	C(XS_TRANSACTION_START) C(XS_TRANSACTION_END) C(XS_INTRODUCE) C(XS_RELEASE)
	C(XS_GET_DOMAIN_PATH) C(XS_WRITE) C(XS_MKDIR) C(XS_RM) C(XS_SET_PERMS)
	C(XS_WATCH_EVENT) C(XS_ERROR) C(XS_IS_DOMAIN_INTRODUCED) C(XS_RESUME) C(XS_SET_TARGET)
	C(XS_RESET_WATCHES) C(XS_DIRECTORY_PART)

	/* io/xenbus.h */
	C(XenbusStateUnknown) C(XenbusStateInitialising) C(XenbusStateInitWait)
	C(XenbusStateInitialised) C(XenbusStateConnected) C(XenbusStateClosing)
	C(XenbusStateClosed) C(XenbusStateReconfiguring) C(XenbusStateReconfigured)

	/* grant_table.h */
	S(grant_entry_v1) F(grant_entry_v1, flags) F(grant_entry_v1, domid)
	F(grant_entry_v1, frame)
	C(GTF_invalid) C(GTF_permit_access) C(GTF_type_mask) C(GTF_readonly) C(GTF_reading)
	C(GTF_writing) C(GNTTAB_NR_RESERVED_ENTRIES)

	/* xen.h */
	S(shared_info) F(shared_info, vcpu_info) F(shared_info, evtchn_pending)
	F(shared_info, evtchn_mask) F(shared_info, wc_version) F(shared_info, wc_sec)
	F(shared_info, wc_nsec) F(shared_info, wc_sec_hi)
	S(vcpu_info) F(vcpu_info, evtchn_upcall_pending) F(vcpu_info, evtchn_upcall_mask)
	F(vcpu_info, evtchn_pending_sel) F(vcpu_info, time)
	S(vcpu_time_info) F(vcpu_time_info, version) F(vcpu_time_info, tsc_timestamp)
	F(vcpu_time_info, system_time) F(vcpu_time_info, tsc_to_system_mul)
	F(vcpu_time_info, tsc_shift) F(vcpu_time_info, flags)
	C(XEN_PVCLOCK_TSC_STABLE_BIT) C(XEN_LEGACY_MAX_VCPUS)
	C(DOMID_SELF) C(DOMID_FIRST_RESERVED)

	/* event_channel.h */
	S(evtchn_fifo_control_block) F(evtchn_fifo_control_block, ready)
	F(evtchn_fifo_control_block, head)
	C(EVTCHN_2L_NR_CHANNELS) C(EVTCHN_FIFO_NR_CHANNELS) C(EVTCHN_FIFO_PENDING)
	C(EVTCHN_FIFO_MASKED) C(EVTCHN_FIFO_LINKED) C(EVTCHN_FIFO_BUSY)
	C(EVTCHN_FIFO_LINK_MASK) C(EVTCHN_FIFO_MAX_QUEUES)
#include "hypercalls.inc"
#include "userdev.inc"
};

const unsigned long layout_count = sizeof(layout_table) / sizeof(layout_table[0]);
