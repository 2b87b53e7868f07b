// SPDX-License-Identifier: GPL-2.0
/* Pages of devices in the memory of programs. */

#include <linux/mm.h>

/* For a VMA that nobody else knows yet. */
void oxen_helper_vma_set_up(struct vm_area_struct *vma, bool writable)
{
	vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	if (!writable)
		vm_flags_clear(vma, VM_MAYWRITE);
}
