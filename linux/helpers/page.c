// SPDX-License-Identifier: GPL-2.0
/* Page references and frame numbers. */

#include <linux/highmem.h>
#include <linux/mm.h>

/* Slab and other frozen pages have no count that could be raised. */
bool oxen_helper_page_try_get(struct page *page)
{
	return folio_try_get(page_folio(page));
}

void oxen_helper_page_put(struct page *page)
{
	put_page(page);
}

u64 oxen_helper_page_frame(struct page *page)
{
	return page_to_pfn(page);
}

void oxen_helper_page_read(struct page *page, unsigned int offset, void *to,
			   unsigned int len)
{
	memcpy_from_page(to, page, offset, len);
}

void oxen_helper_page_write(struct page *page, unsigned int offset,
			    const void *from, unsigned int len)
{
	memcpy_to_page(page, offset, from, len);
}
