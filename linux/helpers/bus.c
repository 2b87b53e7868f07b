// SPDX-License-Identifier: GPL-2.0
/* Files in sysfs. */

#include <linux/sysfs.h>

/* Files that are not static share a class of locks, as nothing is done under them that could tell them apart. */
void oxen_helper_sysfs_attr_init(struct attribute *attr)
{
	sysfs_attr_init(attr);
}
