// SPDX-License-Identifier: GPL-2.0
/* How the kernel ends, and what it says then. */

#include <linux/console.h>
#include <linux/kernel.h>
#include <linux/kexec.h>
#include <linux/panic.h>
#include <linux/string.h>
#include <linux/sysrq.h>

bool oxen_helper_system_ends(void)
{
	return system_state > SYSTEM_RUNNING;
}

void oxen_helper_handle_sysrq(u8 key)
{
	handle_sysrq(key);
}

/* Has a panic go on to emergency_restart(), if nobody has said how else it is to end. */
void oxen_helper_panic_restarts(void)
{
	if (!panic_timeout && !kexec_crash_loaded())
		panic_timeout = -1;
}

/*
 * Whether messages of the kernel go to a console of this name. For the end of a
 * panic, when no other CPU is left that could change the list.
 */
bool oxen_helper_console_prints(const char *name)
{
	struct console *con;

	hlist_for_each_entry(con, &console_list, node) {
		if ((READ_ONCE(con->flags) & CON_ENABLED) && !strcmp(con->name, name))
			return true;
	}
	return false;
}
