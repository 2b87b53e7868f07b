// SPDX-License-Identifier: GPL-2.0
/* Delayed work. */

#include <linux/blkdev.h>
#include <linux/workqueue.h>

void oxen_helper_init_delayed_work(struct delayed_work *work, work_func_t func,
				   const char *name, struct lock_class_key *key)
{
	INIT_DELAYED_WORK(work, func);
	/* One class for all that are initialised here would say that they wait for each other. */
	lockdep_init_map(&work->work.lockdep_map, name, key, 0);
}

void oxen_helper_schedule_delayed_ms(struct delayed_work *work, unsigned int ms)
{
	mod_delayed_work(system_dfl_wq, work, msecs_to_jiffies(ms));
}

void oxen_helper_schedule_block_ms(struct delayed_work *work, unsigned int ms)
{
	kblockd_mod_delayed_work_on(WORK_CPU_UNBOUND, work, msecs_to_jiffies(ms));
}
