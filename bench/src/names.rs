// SPDX-License-Identifier: GPL-2.0

//! Names of the numbers in a trace: exit reasons by AMD's and Intel's manuals, hypercalls by `xen/include/public/xen.h`.

/// Name of an exit reason.
pub(crate) fn exit(reason: u32, vmx: bool) -> String {
    let name = if vmx {
        vmx_exit(reason)
    } else {
        svm_exit(reason)
    };
    name.map_or_else(|| format!("{reason:#x}"), String::from)
}

fn svm_exit(reason: u32) -> Option<&'static str> {
    Some(match reason {
        0x00..=0x0f => "cr-read",
        0x10..=0x1f => "cr-write",
        0x20..=0x3f => "dr",
        0x40..=0x5f => "exception",
        0x60 => "intr",
        0x61 => "nmi",
        0x64 => "vintr",
        0x65 => "cr0",
        0x6e => "rdtsc",
        0x72 => "cpuid",
        0x77 => "pause",
        0x78 => "hlt",
        0x79 => "invlpg",
        0x7b => "io",
        0x7c => "msr",
        0x7d => "task",
        0x7f => "shutdown",
        0x81 => "vmmcall",
        0x87 => "rdtscp",
        0x89 => "wbinvd",
        0x8d => "xsetbv",
        0x400 => "npf",
        _ => return None,
    })
}

fn vmx_exit(reason: u32) -> Option<&'static str> {
    // Where both have the same, by AMD's name: one table holds both.
    Some(match reason {
        0 => "exception",
        1 => "intr",
        7 => "vintr",
        10 => "cpuid",
        12 => "hlt",
        14 => "invlpg",
        16 => "rdtsc",
        18 => "vmmcall",
        28 => "cr-write",
        29 => "dr",
        30 => "io",
        31 | 32 => "msr",
        40 => "pause",
        44 | 45 | 56 => "apic",
        48 | 49 => "npf",
        51 => "rdtscp",
        52 => "timer",
        54 => "wbinvd",
        55 => "xsetbv",
        _ => return None,
    })
}

/// Name of a hypercall.
pub(crate) fn hypercall(number: u32) -> String {
    let name = match number {
        1 => "mmu_update",
        3 => "stack_switch",
        5 => "fpu_taskswitch",
        12 => "memory_op",
        13 => "multicall",
        14 => "update_va_mapping",
        15 => "set_timer_op",
        17 => "xen_version",
        18 => "console_io",
        20 => "grant_table_op",
        21 => "vm_assist",
        23 => "iret",
        24 => "vcpu_op",
        25 => "set_segment_base",
        26 => "mmuext_op",
        29 => "sched_op",
        32 => "event_channel_op",
        33 => "physdev_op",
        34 => "hvm_op",
        35 => "sysctl",
        36 => "domctl",
        41 => "dm_op",
        _ => return number.to_string(),
    };
    name.into()
}

/// Name of a hypercall of dom0's, with the operation where it tells what a backend does.
pub(crate) fn dom0_call(number: u32, operation: u32) -> String {
    let operation = match (number, operation) {
        (20, 0) => "map",
        (20, 1) => "unmap",
        (20, 5) => "copy",
        (29, 1) => "block",
        _ => return hypercall(number),
    };
    format!("{}/{operation}", hypercall(number))
}

/// Name of a page of the guest's: devices that Xen emulates have fixed ones.
pub(crate) fn page(page: u64) -> String {
    match page {
        0xfee00 => "apic".into(),
        0xfed00 => "hpet".into(),
        0xfec00 => "ioapic".into(),
        _ => "other".into(),
    }
}

/// Name of a model-specific register.
pub(crate) fn msr(register: u32) -> String {
    match register {
        0x6e0 => "tsc-deadline".into(),
        0x80b => "x2apic-eoi".into(),
        0x830 => "x2apic-icr".into(),
        0x838 => "x2apic-timer".into(),
        0xc000_0100 => "fs-base".into(),
        0xc000_0101 => "gs-base".into(),
        _ => format!("{register:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_makers_speak_of_the_same() {
        for (amd, intel) in [(0x78, 12), (0x81, 18), (0x7c, 32), (0x400, 48), (0x60, 1)] {
            assert_eq!(exit(amd, false), exit(intel, true));
        }
        assert_eq!(exit(0x999, false), "0x999");
    }

    #[test]
    fn what_a_backend_does_is_named() {
        assert_eq!(dom0_call(20, 0), "grant_table_op/map");
        assert_eq!(dom0_call(20, 9), "grant_table_op");
        assert_eq!(dom0_call(99, u32::MAX), "99");
    }
}
