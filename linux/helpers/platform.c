// SPDX-License-Identifier: GPL-2.0
/* What the machine is: x86 port I/O, PCI devices, the kernel's own Xen support. */

#include <linux/device.h>
#include <linux/io.h>
#include <linux/pci.h>
#include <linux/string.h>
#include <xen/xen.h>

u16 oxen_helper_inw(u16 port)
{
	return inw(port);
}

u8 oxen_helper_inb(u16 port)
{
	return inb(port);
}

void oxen_helper_outw(u16 value, u16 port)
{
	outw(value, port);
}

void oxen_helper_outl(u32 value, u16 port)
{
	outl(value, port);
}

/* 0: off, 1: PV, 2: PVH, 3: HVM */
u32 oxen_helper_xen_in_kernel(void)
{
	if (xen_pv_domain())
		return 1;
	if (xen_pvh_domain())
		return 2;
	return xen_hvm_domain() ? 3 : 0;
}

int oxen_helper_pci_domain_nr(struct pci_dev *dev)
{
	return pci_domain_nr(dev->bus);
}

static int oxen_find_disk(struct device *dev, void *unused)
{
	if (dev->class && !strcmp(dev->class->name, "block"))
		return strncmp(dev_name(dev), "sr", 2) != 0;
	return device_for_each_child(dev, NULL, oxen_find_disk);
}

static int oxen_find_nic(struct device *dev, void *unused)
{
	if (dev->class && !strcmp(dev->class->name, "net"))
		return 1;
	return device_for_each_child(dev, NULL, oxen_find_nic);
}

/* Tells whether Linux has made a disk, or a network interface, of this device. */
bool oxen_helper_pci_has_disk(struct pci_dev *dev)
{
	return device_for_each_child(&dev->dev, NULL, oxen_find_disk);
}

bool oxen_helper_pci_has_nic(struct pci_dev *dev)
{
	return device_for_each_child(&dev->dev, NULL, oxen_find_nic);
}
