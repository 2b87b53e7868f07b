// SPDX-License-Identifier: GPL-2.0
/* Delayed work. */

#include <linux/workqueue.h>

void oxen_helper_init_delayed_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

void oxen_helper_schedule_delayed_ms(struct delayed_work *work, unsigned int ms)
{
	mod_delayed_work(system_dfl_wq, work, msecs_to_jiffies(ms));
}
