// SPDX-License-Identifier: GPL-2.0
/* Pages of our own. */

#include <linux/gfp.h>
#include <linux/mm.h>

void *oxen_helper_pages_alloc(size_t size)
{
	return alloc_pages_exact(size, GFP_KERNEL | __GFP_ZERO);
}

struct page *oxen_helper_page_of(const void *address)
{
	return virt_to_page(address);
}
