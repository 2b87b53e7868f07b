// SPDX-License-Identifier: GPL-2.0
/*
 * Xen's own ring macros as an oracle: both ends of a ring of 8-byte slots, driven over a plain page.
 */
#include <stdint.h>
#include <string.h>
#define __XEN_INTERFACE_VERSION__ 0x00040e00
#define xen_mb() __sync_synchronize()
#define xen_rmb() __sync_synchronize()
#define xen_wmb() __sync_synchronize()
#include <xen/xen.h>
#include <xen/io/ring.h>

struct oracle_request { uint64_t value; };
struct oracle_response { uint64_t value; };
DEFINE_RING_TYPES(oracle, struct oracle_request, struct oracle_response);

struct oracle {
	oracle_sring_t *page;
	oracle_front_ring_t front;
	oracle_back_ring_t back;
};

unsigned long oracle_size(void) { return sizeof(struct oracle); }

/* Attaches both ends with all indices at `start`. */
void oracle_init(struct oracle *o, void *page, unsigned long bytes, uint32_t start)
{
	o->page = page;
	SHARED_RING_INIT(o->page);
	FRONT_RING_INIT(&o->front, o->page, bytes);
	BACK_RING_INIT(&o->back, o->page, bytes);
	o->page->req_prod = o->page->rsp_prod = start;
	o->page->req_event = o->page->rsp_event = start + 1;
	o->front.req_prod_pvt = o->front.rsp_cons = start;
	o->back.rsp_prod_pvt = o->back.req_cons = start;
}

/* Attaches only the back end, to a page in use whose indices all stand at `start`. */
void oracle_attach_back(struct oracle *o, uint32_t start)
{
	o->back.rsp_prod_pvt = o->back.req_cons = start;
	o->page->req_prod = o->page->rsp_prod = start;
	o->page->req_event = o->page->rsp_event = start + 1;
}

uint32_t oracle_slots(const struct oracle *o) { return RING_SIZE(&o->front); }

/* Front end. */
int oracle_front_full(const struct oracle *o) { return RING_FULL(&o->front); }
uint32_t oracle_front_free(const struct oracle *o) { return RING_FREE_REQUESTS(&o->front); }

void oracle_front_write(struct oracle *o, uint64_t value)
{
	RING_GET_REQUEST(&o->front, o->front.req_prod_pvt++)->value = value;
}

int oracle_front_publish(struct oracle *o)
{
	int notify;

	RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&o->front, notify);
	return notify;
}

int oracle_front_take(struct oracle *o, uint64_t *value)
{
	if (!RING_HAS_UNCONSUMED_RESPONSES(&o->front))
		return 0;
	*value = RING_GET_RESPONSE(&o->front, o->front.rsp_cons++)->value;
	return 1;
}

int oracle_front_arm(struct oracle *o)
{
	int more;

	RING_FINAL_CHECK_FOR_RESPONSES(&o->front, more);
	return more;
}

/* Back end. */
int oracle_back_take(struct oracle *o, uint64_t *value)
{
	if (!RING_HAS_UNCONSUMED_REQUESTS(&o->back))
		return 0;
	*value = RING_GET_REQUEST(&o->back, o->back.req_cons++)->value;
	return 1;
}

int oracle_back_arm(struct oracle *o)
{
	int more;

	RING_FINAL_CHECK_FOR_REQUESTS(&o->back, more);
	return more;
}

void oracle_back_write(struct oracle *o, uint64_t value)
{
	RING_GET_RESPONSE(&o->back, o->back.rsp_prod_pvt++)->value = value;
}

int oracle_back_publish(struct oracle *o)
{
	int notify;

	RING_PUSH_RESPONSES_AND_CHECK_NOTIFY(&o->back, notify);
	return notify;
}
