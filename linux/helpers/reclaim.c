// SPDX-License-Identifier: GPL-2.0
/* Scopes of allocations. */

#include <linux/sched/mm.h>

unsigned int oxen_helper_noio_save(void)
{
	return memalloc_noio_save();
}

void oxen_helper_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}
