// SPDX-License-Identifier: GPL-2.0
/* Programs that look at received packets before the stack does. */

#include <linux/bpf.h>
#include <linux/bpf_trace.h>
#include <linux/filter.h>
#include <linux/netdevice.h>
#include <linux/netlink.h>
#include <linux/skbuff.h>
#include <linux/smp.h>
#include <net/page_pool/helpers.h>
#include <net/xdp.h>

/* Programs */

void oxen_helper_bpf_prog_hold(struct bpf_prog *prog)
{
	bpf_prog_inc(prog);
}

void oxen_helper_bpf_prog_release(struct bpf_prog *prog)
{
	bpf_prog_put(prog);
}

/* Devices */

bool oxen_helper_netdev_is_registered(const struct net_device *dev)
{
	return READ_ONCE(dev->reg_state) == NETREG_REGISTERED;
}

/* NULL takes the program away. Anything but a program is not our business. */
bool oxen_helper_netdev_bpf_program(const struct netdev_bpf *bpf,
				    struct bpf_prog **prog)
{
	if (bpf->command != XDP_SETUP_PROG)
		return false;
	*prog = bpf->prog;
	return true;
}

/* The text is copied, as far as there is room. */
void oxen_helper_netdev_bpf_say(const struct netdev_bpf *bpf, const char *text)
{
	struct netlink_ext_ack *extack = bpf->extack;

	NL_SET_ERR_MSG_FMT(extack, "%s", text);
}

/* Before the device is registered. */
void oxen_helper_xdp_set_features(struct net_device *dev)
{
	dev->xdp_features = NETDEV_XDP_ACT_BASIC | NETDEV_XDP_ACT_REDIRECT |
			    NETDEV_XDP_ACT_NDO_XMIT;
}

bool oxen_helper_xdp_flags_are_known(u32 flags)
{
	return !(flags & ~XDP_XMIT_FLAGS_MASK);
}

/* Received packets */

int oxen_helper_xdp_rxq_register(struct xdp_rxq_info *rxq, struct net_device *dev,
				 u32 index, struct page_pool *pool)
{
	int err;

	err = xdp_rxq_info_reg(rxq, dev, index, 0);
	if (err)
		return err;
	err = xdp_rxq_info_reg_mem_model(rxq, MEM_TYPE_PAGE_POOL, pool);
	if (err)
		xdp_rxq_info_unreg(rxq);
	return err;
}

/* Bytes at the end of a page that the stack needs for itself. */
u32 oxen_helper_xdp_tail(void)
{
	return SKB_DATA_ALIGN(sizeof(struct skb_shared_info));
}

u32 oxen_helper_xdp_run(const struct bpf_prog *prog, struct xdp_buff *xdp,
			struct xdp_rxq_info *rxq, struct page *page,
			unsigned int offset, unsigned int len)
{
	xdp_init_buff(xdp, PAGE_SIZE, rxq);
	xdp_prepare_buff(xdp, page_address(page), offset, len, true);
	return bpf_prog_run_xdp(prog, xdp);
}

/* Where the program has left the packet in its page. */
void oxen_helper_xdp_result(const struct xdp_buff *xdp, unsigned int *offset,
			    unsigned int *len, unsigned int *meta)
{
	*offset = xdp->data - xdp->data_hard_start;
	*len = xdp->data_end - xdp->data;
	*meta = xdp->data_meta < xdp->data ? xdp->data - xdp->data_meta : 0;
}

struct xdp_frame *oxen_helper_xdp_buff_to_frame(struct xdp_buff *xdp)
{
	return xdp_convert_buff_to_frame(xdp);
}

void oxen_helper_xdp_exception(const struct net_device *dev,
			       const struct bpf_prog *prog, u32 act)
{
	trace_xdp_exception(dev, prog, act);
}

/* The packet's page becomes its head. */
struct sk_buff *oxen_helper_build_skb_in_page(struct page *page, unsigned int offset,
					      unsigned int len, unsigned int meta)
{
	struct sk_buff *skb = napi_build_skb(page_address(page), PAGE_SIZE);

	if (!skb)
		return NULL;
	skb_reserve(skb, offset);
	__skb_put(skb, len);
	if (meta)
		skb_metadata_set(skb, meta);
	return skb;
}

void oxen_helper_page_move(struct page *page, unsigned int to, unsigned int from,
			   unsigned int len)
{
	memmove(page_address(page) + to, page_address(page) + from, len);
}

/* Frames */

bool oxen_helper_xdp_frame_is_one_piece(const struct xdp_frame *frame)
{
	return !xdp_frame_has_frags(frame);
}

/* Where a frame lies: frame number, and offset in it. */
unsigned long oxen_helper_xdp_frame_pfn(const struct xdp_frame *frame,
					unsigned int *offset, unsigned int *len)
{
	*offset = offset_in_page(frame->data);
	*len = frame->len;
	return page_to_pfn(virt_to_page(frame->data));
}

/* The page of a byte of it. */
struct page *oxen_helper_xdp_frame_page(const struct xdp_frame *frame,
					unsigned int offset)
{
	return virt_to_page(frame->data + offset);
}

void oxen_helper_xdp_frame_copy(const struct xdp_frame *frame, unsigned int offset,
				void *to, unsigned int len)
{
	memcpy(to, frame->data + offset, len);
}

#if IS_BUILTIN(CONFIG_KUNIT)
/* A program that says the same of each packet. To be freed by the next function, when nobody has it any more. */
struct bpf_prog *oxen_helper_xdp_test_program(u32 act)
{
	struct bpf_prog *prog = bpf_prog_alloc(bpf_prog_size(2), 0);
	int err = 0;

	if (!prog)
		return NULL;
	prog->insnsi[0] = BPF_MOV64_IMM(BPF_REG_0, act);
	prog->insnsi[1] = BPF_EXIT_INSN();
	prog->len = 2;
	prog->type = BPF_PROG_TYPE_XDP;
	atomic64_set(&prog->aux->refcnt, 1);
	prog = bpf_prog_select_runtime(prog, &err);
	if (err) {
		bpf_prog_free(prog);
		return NULL;
	}
	return prog;
}

void oxen_helper_xdp_test_program_free(struct bpf_prog *prog)
{
	bpf_prog_free(prog);
}
#endif
