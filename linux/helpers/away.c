// SPDX-License-Identifier: GPL-2.0
/* Pages without memory behind them. */

#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/vmstat.h>

/* In page->private of such a page, the mark of the module that sent it away: "oxenaway". */
#define AWAY 0x6f78656e61776179UL

/* Never waits for the OOM killer and never takes from the reserves. */
struct page *oxen_helper_away_alloc(void)
{
	return alloc_page(GFP_HIGHUSER | __GFP_ZERO | __GFP_NOMEMALLOC | __GFP_NORETRY | __GFP_NOWARN);
}

struct page *oxen_helper_away_next(struct page *page)
{
	return (struct page *)page->lru.next;
}

void oxen_helper_away_set_next(struct page *page, struct page *next)
{
	page->lru.next = (struct list_head *)next;
}

/* Nobody is to read it, a dump of the memory neither. */
void oxen_helper_away_send(struct page *page)
{
	__SetPageOffline(page);
	set_page_private(page, AWAY);
	inc_node_page_state(page, NR_BALLOON_PAGES);
	adjust_managed_page_count(page, -1);
}

void oxen_helper_away_fetch(struct page *page)
{
	adjust_managed_page_count(page, 1);
	dec_node_page_state(page, NR_BALLOON_PAGES);
	set_page_private(page, 0);
	__ClearPageOffline(page);
}

/* The first page from the frame number on that is away, and where to go on; NULL at the end. */
struct page *oxen_helper_away_find(u64 *pfn)
{
	int nid;

	for_each_online_node(nid) {
		u64 end = node_end_pfn(nid);

		for (*pfn = max_t(u64, *pfn, node_start_pfn(nid)); *pfn < end; ++*pfn) {
			struct page *page = pfn_to_online_page(*pfn);

			if (page && PageOffline(page) && page_private(page) == AWAY) {
				++*pfn;
				return page;
			}
		}
	}
	return NULL;
}

u64 oxen_helper_ram_managed(void)
{
	return totalram_pages();
}
