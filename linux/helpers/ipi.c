// SPDX-License-Identifier: GPL-2.0
/* Interrupts from one CPU to another. */

#include <linux/cpumask.h>
#include <linux/hardirq.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/tracepoint.h>
#include <trace/events/ipi.h>

/* What the reschedule interrupt is for: the return from it looks at the flag. */
void oxen_helper_reschedule(void)
{
	preempt_fold_need_resched();
}

/*
 * The handler of the call-function interrupts is not exported, but the kernel tells the tracepoint of an interrupt that
 * it sends which function will handle it. So one is sent, and the answer kept.
 */
static void (*oxen_call_functions)(void);
static struct task_struct *oxen_caller;

static void oxen_note_handler(void *unused, unsigned int cpu, unsigned long site, void *handler)
{
	if (handler && READ_ONCE(oxen_caller) == current)
		WRITE_ONCE(oxen_call_functions, (void (*)(void))handler);
}

static void oxen_do_nothing(void *unused)
{
}

#define OXEN_TRIES 100

/* Returns whether the handler is known. One caller at a time; sleeps. */
bool oxen_helper_find_call_functions(void)
{
	unsigned int cpu, tries;

	if (oxen_call_functions || register_trace_ipi_send_cpu(oxen_note_handler, NULL))
		return oxen_call_functions;
	/* A CPU that polls while it is idle gets no interrupt. */
	for (tries = 0; tries < OXEN_TRIES && !READ_ONCE(oxen_call_functions); tries++) {
		preempt_disable();
		WRITE_ONCE(oxen_caller, current);
		for_each_online_cpu(cpu) {
			if (cpu != smp_processor_id())
				smp_call_function_single(cpu, oxen_do_nothing, NULL, 1);
		}
		WRITE_ONCE(oxen_caller, NULL);
		preempt_enable();
	}
	unregister_trace_ipi_send_cpu(oxen_note_handler, NULL);
	tracepoint_synchronize_unregister();
	return oxen_call_functions;
}

/* What the call-function interrupts are for. In hard-irq context, once the handler is known. */
void oxen_helper_call_functions(void)
{
	if (in_hardirq() && oxen_call_functions)
		oxen_call_functions();
}

u32 oxen_helper_cpumask_next_in(const struct cpumask *mask, int after)
{
	return cpumask_next(after, mask);
}
