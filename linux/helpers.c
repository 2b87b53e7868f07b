// SPDX-License-Identifier: GPL-2.0
/*
 * C functions for what Rust cannot call: static inlines and macros. They are
 * named oxen_helper_NAME and appear as NAME in linux::bindings. Each subject has
 * a file under helpers/.
 */

#include "helpers/irq.c"
#include "helpers/ipi.c"
#include "helpers/time.c"
#include "helpers/block.c"
#include "helpers/bus.c"
#include "helpers/lock.c"
#include "helpers/page.c"
#include "helpers/net.c"
#include "helpers/xdp.c"
#include "helpers/delayed.c"
#include "helpers/hvc.c"
#include "helpers/pages.c"
#include "helpers/platform.c"
#include "helpers/power.c"
#include "helpers/reclaim.c"
#include "helpers/away.c"
#include "helpers/suspend.c"
#include "helpers/miscdev.c"
