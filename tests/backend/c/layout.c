/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the program has laid out by hand, against Xen's own headers: a difference ends the build.
 * The Rust side asserts the same numbers.
 */

#include <stddef.h>
#include <stdint.h>
#include <xen/xen.h>
#include <xen/grant_table.h>
#include <xen/io/netif.h>
#include <xengnttab.h>
#include <xenstore_lib.h>

#define HAS(type, field, at) _Static_assert(offsetof(type, field) == (at), #type "." #field)
#define IS(value, number) _Static_assert((value) == (number), #value)

IS(sizeof(xengnttab_grant_copy_segment_t), 24);
HAS(xengnttab_grant_copy_segment_t, source.foreign.ref, 0);
HAS(xengnttab_grant_copy_segment_t, source.foreign.offset, 4);
HAS(xengnttab_grant_copy_segment_t, source.foreign.domid, 6);
HAS(xengnttab_grant_copy_segment_t, dest.virt, 8);
HAS(xengnttab_grant_copy_segment_t, len, 16);
HAS(xengnttab_grant_copy_segment_t, flags, 18);
HAS(xengnttab_grant_copy_segment_t, status, 20);
IS(GNTCOPY_source_gref, 1);
IS(GNTCOPY_dest_gref, 2);

IS(sizeof(struct xs_permissions), 8);
HAS(struct xs_permissions, perms, 4);
IS(XS_PERM_READ, 1);
IS(XS_PERM_NONE, 0);

IS(sizeof(struct xen_netif_ctrl_request), 16);
HAS(struct xen_netif_ctrl_request, type, 2);
HAS(struct xen_netif_ctrl_request, data, 4);
IS(sizeof(struct xen_netif_ctrl_response), 12);
HAS(struct xen_netif_ctrl_response, status, 4);
HAS(struct xen_netif_ctrl_response, data, 8);
IS(XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM, 7);
IS(XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING, 6);
IS(XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW, 3);
IS(XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP, 1 << 3);
IS(XEN_NETIF_EXTRA_TYPE_HASH, 4);
HAS(struct netif_extra_info, u.hash.type, 2);
HAS(struct netif_extra_info, u.hash.algorithm, 3);
HAS(struct netif_extra_info, u.hash.value, 4);
HAS(struct netif_extra_info, u.mcast.addr, 2);
