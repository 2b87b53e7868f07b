// SPDX-License-Identifier: GPL-2.0
/* The hvc console layer. Its header, drivers/tty/hvc/hvc_console.h, is not shipped: linux/hvc.rs declares it. */

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
