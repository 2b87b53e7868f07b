// SPDX-License-Identifier: GPL-2.0
/* The hvc console layer. Its header, drivers/tty/hvc/hvc_console.h, is not shipped: linux/hvc.rs declares it. */

#include <linux/sched/task_stack.h>
#include <linux/timekeeping.h>
#include <linux/tty_port.h>

/* The address of a symbol that bindgen does not know as a static. */
const void *oxen_helper_hvc_client_ops(void)
{
	return &tty_port_default_client_ops;
}

/* Works in any context, also while the clock is being set. */
u64 oxen_helper_hvc_clock(void)
{
	return ktime_get_mono_fast_ns();
}

/* Whether the address lies on the stack of the task that runs; the stacks of interrupts do not count. */
bool oxen_helper_is_on_stack(const void *address)
{
	return object_is_on_stack(address);
}
