// SPDX-License-Identifier: GPL-2.0

//! Marks that a program in a guest leaves in Xen's trace.
//!
//! CPUID always exits to the hypervisor, which records the leaf that was asked for. A leaf that nothing else asks
//! for therefore says, in the trace itself and for the price of one exit, where a measurement begins and ends.

/// Leaf asked for at the begin of what is measured: "oxeb".
pub const BEGIN: u32 = 0x6f78_6562;
/// Leaf asked for at its end: "oxee".
pub const END: u32 = 0x6f78_6565;

/// Leaves a mark.
pub fn leave(leaf: u32) {
    // SAFETY: Every x86-64 processor has CPUID, and it changes nothing but the registers it answers in.
    std::hint::black_box(unsafe { std::arch::x86_64::__cpuid(leaf) });
}
