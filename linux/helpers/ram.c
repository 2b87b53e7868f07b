// SPDX-License-Identifier: GPL-2.0
/* Frame numbers of RAM. */

#include <linux/io.h>
#include <linux/mm.h>

u64 oxen_helper_virt_to_gfn(const void *address)
{
	return virt_to_phys((void *)address) >> PAGE_SHIFT;
}
