// SPDX-License-Identifier: GPL-2.0
/* Pages of our own. */

#include <linux/gfp.h>
#include <linux/mm.h>

void *oxen_helper_pages_alloc(size_t size)
{
	return alloc_pages_exact(size, GFP_KERNEL | __GFP_ZERO);
}

u64 oxen_helper_pages_frame(const void *address)
{
	return page_to_pfn(virt_to_page(address));
}
