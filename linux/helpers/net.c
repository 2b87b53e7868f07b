// SPDX-License-Identifier: GPL-2.0
/* Network devices, packets, NAPI and page pools. */

#include <linux/cpumask.h>
#include <linux/etherdevice.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/timer.h>
#include <net/page_pool/helpers.h>

/* Devices */

void *oxen_helper_netdev_priv(const struct net_device *dev)
{
	return netdev_priv(dev);
}

void oxen_helper_set_netdev_dev(struct net_device *dev, struct device *parent)
{
	SET_NETDEV_DEV(dev, parent);
}

/*
 * Packets to send are ours alone, so that they may be changed. The address may change while the device is up. Further
 * addresses are as good as the first: what comes is not looked at.
 */
void oxen_helper_netdev_set_flags(struct net_device *dev)
{
	dev->priv_flags &= ~IFF_TX_SKB_SHARING;
	dev->priv_flags |= IFF_LIVE_ADDR_CHANGE | IFF_UNICAST_FLT;
}

void oxen_helper_netif_addr_lock_bh(struct net_device *dev)
{
	netif_addr_lock_bh(dev);
}

void oxen_helper_netif_addr_unlock_bh(struct net_device *dev)
{
	netif_addr_unlock_bh(dev);
}

/* The group behind last, or the first one. */
const struct netdev_hw_addr *
oxen_helper_netdev_next_mc_addr(const struct net_device *dev,
				const struct netdev_hw_addr *last)
{
	const struct list_head *next = last ? last->list.next : dev->mc.list.next;

	return next == &dev->mc.list ?
		       NULL :
		       list_entry(next, struct netdev_hw_addr, list);
}

/* CPU n sends on queue n modulo their number. */
int oxen_helper_netif_spread_queues(struct net_device *dev, unsigned int count)
{
	cpumask_var_t mask;
	unsigned int queue, cpu;
	int err = 0;

	if (!zalloc_cpumask_var(&mask, GFP_KERNEL))
		return -ENOMEM;
	for (queue = 0; queue < count && !err; queue++) {
		cpumask_clear(mask);
		for_each_possible_cpu(cpu)
			if (cpu % count == queue)
				cpumask_set_cpu(cpu, mask);
		err = netif_set_xps_queue(dev, mask, queue);
	}
	free_cpumask_var(mask);
	return err;
}

void oxen_helper_eth_hw_addr_set(struct net_device *dev, const u8 *addr)
{
	eth_hw_addr_set(dev, addr);
}

/* Under the RTNL, with all who want to know told. */
int oxen_helper_netdev_set_address(struct net_device *dev, const u8 *addr)
{
	struct sockaddr_storage address = { .ss_family = dev->type };

	memcpy(((struct sockaddr *)&address)->sa_data, addr, ETH_ALEN);
	return dev_set_mac_address(dev, &address, NULL);
}

bool oxen_helper_netif_running(const struct net_device *dev)
{
	return netif_running(dev);
}

void oxen_helper_netif_tx_disable(struct net_device *dev)
{
	netif_tx_disable(dev);
}

/* Locks */

void oxen_helper_spin_lock_bh(spinlock_t *lock)
{
	spin_lock_bh(lock);
}

/* Softirqs must not be touched while hard interrupts are off: they are off with them. */
bool oxen_helper_spin_trylock_bh(spinlock_t *lock, bool *hard)
{
	*hard = irqs_disabled();
	return *hard ? spin_trylock(lock) : spin_trylock_bh(lock);
}

void oxen_helper_spin_unlock_bh(spinlock_t *lock, bool hard)
{
	if (hard)
		spin_unlock(lock);
	else
		spin_unlock_bh(lock);
}

/* Transmit queues */

struct netdev_queue *oxen_helper_netdev_get_tx_queue(const struct net_device *dev,
						     unsigned int index)
{
	return netdev_get_tx_queue(dev, index);
}

void oxen_helper_netif_tx_stop_queue(struct netdev_queue *queue)
{
	netif_tx_stop_queue(queue);
}

bool oxen_helper_netif_tx_queue_stopped(const struct netdev_queue *queue)
{
	return netif_tx_queue_stopped(queue);
}

bool oxen_helper___netdev_tx_sent_queue(struct netdev_queue *queue,
					unsigned int bytes, bool more)
{
	return __netdev_tx_sent_queue(queue, bytes, more);
}

void oxen_helper_netdev_tx_completed_queue(struct netdev_queue *queue,
					   unsigned int packets,
					   unsigned int bytes)
{
	netdev_tx_completed_queue(queue, packets, bytes);
}

void oxen_helper_netdev_queue_set_dql_min_limit(struct netdev_queue *queue,
						unsigned int bytes)
{
	netdev_queue_set_dql_min_limit(queue, bytes);
}

void oxen_helper_netdev_tx_reset_queue(struct netdev_queue *queue)
{
	netdev_tx_reset_queue(queue);
}

bool oxen_helper_netdev_xmit_more(void)
{
	return netdev_xmit_more();
}

/* Packets */

u16 oxen_helper_skb_get_queue_mapping(const struct sk_buff *skb)
{
	return skb_get_queue_mapping(skb);
}

void oxen_helper_skb_record_rx_queue(struct sk_buff *skb, u16 queue)
{
	skb_record_rx_queue(skb, queue);
}

void oxen_helper_dev_kfree_skb_any(struct sk_buff *skb)
{
	dev_kfree_skb_any(skb);
}

struct sk_buff *oxen_helper_skb_get(struct sk_buff *skb)
{
	return skb_get(skb);
}

unsigned int oxen_helper_skb_headlen(const struct sk_buff *skb)
{
	return skb_headlen(skb);
}

void oxen_helper_skb_tx_timestamp(struct sk_buff *skb)
{
	skb_tx_timestamp(skb);
}

unsigned int oxen_helper_skb_nr_frags(const struct sk_buff *skb)
{
	return skb_shinfo(skb)->nr_frags;
}

/* Where the head of a packet lies: frame, and offset in it. */
unsigned long oxen_helper_skb_head_pfn(const struct sk_buff *skb,
				       unsigned int *offset)
{
	*offset = offset_in_page(skb->data);
	return page_to_pfn(virt_to_page(skb->data));
}

/* Where fragment i lies. The offset can exceed a page. */
unsigned long oxen_helper_skb_frag_pfn(const struct sk_buff *skb, unsigned int i,
				       unsigned int *offset, unsigned int *len)
{
	const skb_frag_t *frag = &skb_shinfo(skb)->frags[i];

	*offset = skb_frag_off(frag);
	*len = skb_frag_size(frag);
	return page_to_pfn(skb_frag_page(frag));
}

u8 oxen_helper_skb_ip_summed(const struct sk_buff *skb)
{
	return skb->ip_summed;
}

void oxen_helper_skb_set_ip_summed(struct sk_buff *skb, u8 ip_summed)
{
	skb->ip_summed = ip_summed;
}

unsigned int oxen_helper_skb_gso_size(const struct sk_buff *skb)
{
	return skb_shinfo(skb)->gso_size;
}

unsigned int oxen_helper_skb_gso_type(const struct sk_buff *skb)
{
	return skb_shinfo(skb)->gso_type;
}

void oxen_helper_skb_set_rx_hash(struct sk_buff *skb, u32 hash, bool ports)
{
	skb_set_hash(skb, hash, ports ? PKT_HASH_TYPE_L4 : PKT_HASH_TYPE_L3);
}

/* The packet came from afar: what it says about segments is not to be believed. */
void oxen_helper_skb_set_gso_dodgy(struct sk_buff *skb, u16 size, unsigned int type)
{
	skb_shinfo(skb)->gso_size = size;
	skb_shinfo(skb)->gso_type = type | SKB_GSO_DODGY;
	skb_shinfo(skb)->gso_segs = 0;
}

void oxen_helper_skb_append_page(struct sk_buff *skb, struct page *page,
				 unsigned int offset, unsigned int len,
				 unsigned int truesize)
{
	skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, page, offset, len,
			truesize);
}

void oxen_helper_skb_put_page_data(struct sk_buff *skb, struct page *page,
				   unsigned int offset, unsigned int len)
{
	skb_put_data(skb, page_address(page) + offset, len);
}

unsigned int oxen_helper_skb_tailroom(const struct sk_buff *skb)
{
	return skb_tailroom(skb);
}

void oxen_helper_skb_mark_for_recycle(struct sk_buff *skb)
{
	skb_mark_for_recycle(skb);
}

void oxen_helper_skb_set_protocol(struct sk_buff *skb, struct net_device *dev)
{
	skb->protocol = eth_type_trans(skb, dev);
	skb_reset_network_header(skb);
}

/* NAPI */

void oxen_helper_netif_napi_add(struct net_device *dev, struct napi_struct *napi,
				int (*poll)(struct napi_struct *, int))
{
	netif_napi_add(dev, napi, poll);
}

void oxen_helper_netif_napi_del(struct napi_struct *napi)
{
	netif_napi_del(napi);
}

void oxen_helper_napi_schedule(struct napi_struct *napi)
{
	napi_schedule(napi);
}

void oxen_helper_napi_gro_receive(struct napi_struct *napi, struct sk_buff *skb)
{
	napi_gro_receive(napi, skb);
}

void oxen_helper_timer_setup(struct timer_list *timer,
			     void (*function)(struct timer_list *))
{
	timer_setup(timer, function, 0);
}

void oxen_helper_mod_timer_ms(struct timer_list *timer, unsigned int ms)
{
	mod_timer(timer, jiffies + msecs_to_jiffies(ms));
}

/* Page pools */

void oxen_helper_page_pool_put_full_page(struct page_pool *pool,
					 struct page *page, bool allow_direct)
{
	page_pool_put_full_page(pool, page, allow_direct);
}

struct page *oxen_helper_page_pool_alloc_zeroed(struct page_pool *pool)
{
	return page_pool_alloc_pages(pool, GFP_ATOMIC | __GFP_NOWARN | __GFP_ZERO);
}

void oxen_helper_clear_page_of(struct page *page)
{
	clear_page(page_address(page));
}

unsigned long oxen_helper_page_to_pfn(const struct page *page)
{
	return page_to_pfn(page);
}

void *oxen_helper_page_address(const struct page *page)
{
	return page_address(page);
}
