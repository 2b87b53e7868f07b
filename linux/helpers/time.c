// SPDX-License-Identifier: GPL-2.0
/* The clock, the timers and what reads them. */

#include <linux/clockchips.h>
#include <linux/clocksource.h>
#include <linux/cpumask.h>
#include <linux/hardirq.h>
#include <linux/nmi.h>
#include <linux/preempt.h>
#include <linux/ptp_clock_kernel.h>
#include <linux/smp.h>
#include <linux/timekeeping.h>
#include <linux/timex.h>
#include <asm/tsc.h>

u64 oxen_helper_rdtsc_ordered(void)
{
	return rdtsc_ordered();
}

/* Where it is so, the kernel keeps each CPU's number in its TSC_AUX. */
bool oxen_helper_has_rdtscp(void)
{
	return boot_cpu_has(X86_FEATURE_RDTSCP);
}

/* The callers read a clock, which tracing does too. */
u64 oxen_helper_tsc_here(u32 *cpu)
{
	u64 tsc;

	preempt_disable_notrace();
	*cpu = raw_smp_processor_id();
	tsc = rdtsc_ordered();
	preempt_enable_notrace();
	return tsc;
}

/* Whether the kernel itself trusts the TSC on all CPUs and in all states. */
bool oxen_helper_kernel_trusts_tsc(void)
{
	return boot_cpu_has(X86_FEATURE_CONSTANT_TSC) &&
	       boot_cpu_has(X86_FEATURE_NONSTOP_TSC) && !check_tsc_unstable();
}

u32 oxen_helper_cpu_hold(void)
{
	preempt_disable();
	return smp_processor_id();
}

void oxen_helper_cpu_release(void)
{
	preempt_enable();
}

void oxen_helper_clockevent_start(struct clock_event_device *dev, unsigned int cpu,
				  unsigned long max_delta)
{
	dev->cpumask = cpumask_of(cpu);
	clockevents_config_and_register(dev, NSEC_PER_SEC, 1, max_delta);
}

/* The core's handler works on the timers of the CPU that it runs on. */
void oxen_helper_clockevent_fire(struct clock_event_device *dev, unsigned int cpu)
{
	if (in_hardirq() && raw_smp_processor_id() == cpu && dev->event_handler)
		dev->event_handler(dev);
}

void oxen_helper_watchdog_touch(void)
{
	touch_softlockup_watchdog();
}

/* Exported, and a parameter of the kernel (rcupdate.rcu_cpu_stall_suppress), but in no header that modules have. */
extern int rcu_cpu_stall_suppress;

bool oxen_helper_rcu_stalls_quiet(bool quiet)
{
	return cmpxchg(&rcu_cpu_stall_suppress, !quiet, quiet) == !quiet;
}

void oxen_helper_ptp_pre(struct ptp_system_timestamp *sts)
{
	ptp_read_system_prets(sts);
}

void oxen_helper_ptp_post(struct ptp_system_timestamp *sts)
{
	ptp_read_system_postts(sts);
}
