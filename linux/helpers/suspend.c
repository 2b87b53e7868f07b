// SPDX-License-Identifier: GPL-2.0
/* The machine at a standstill. */

#include <linux/cpumask.h>
#include <linux/errno.h>
#include <linux/stop_machine.h>
#include <linux/suspend.h>
#include <linux/syscore_ops.h>

unsigned int oxen_helper_sleep_lock(void)
{
	return lock_system_sleep();
}

void oxen_helper_sleep_unlock(unsigned int flags)
{
	unlock_system_sleep(flags);
}

int oxen_helper_stop_machine_on(unsigned int cpu, int (*function)(void *), void *data)
{
	return stop_machine(function, data, cpumask_of(cpu));
}

int oxen_helper_core_suspend(void)
{
#ifdef CONFIG_PM_SLEEP
	return syscore_suspend();
#else
	return -EOPNOTSUPP;
#endif
}

void oxen_helper_core_resume(void)
{
#ifdef CONFIG_PM_SLEEP
	syscore_resume();
#endif
}
