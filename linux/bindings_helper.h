/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Headers whose declarations bindgen puts into linux::bindings. A macro that
 * bindgen cannot evaluate gets a constant: RUST_CONST_HELPER_NAME is NAME there.
 */

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/clockchips.h>
#include <linux/clocksource.h>
#include <linux/console.h>
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/gfp.h>
#include <linux/hdreg.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/kernel.h>
#include <linux/kmsg_dump.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/pci.h>
#include <linux/panic.h>
#include <linux/percpu.h>
#include <linux/poll.h>
#include <linux/ptp_clock_kernel.h>
#include <linux/reboot.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/syscore_ops.h>
#include <linux/timekeeping.h>
#include <linux/tty.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include <linux/watchdog.h>
#include <linux/workqueue.h>
#include <net/checksum.h>
#include <net/ip6_checksum.h>
#include <net/page_pool/helpers.h>
#include <net/xdp.h>
#ifdef CONFIG_X86
#include <asm/hw_irq.h>
#include <asm/irqdomain.h>
#include <asm/irq_vectors.h>
#endif
