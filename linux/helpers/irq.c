// SPDX-License-Identifier: GPL-2.0
/* Local interrupt state. */

#include <linux/irqflags.h>

bool oxen_helper_irqs_disabled(void)
{
	return irqs_disabled();
}
