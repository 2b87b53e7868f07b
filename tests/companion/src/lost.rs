// SPDX-License-Identifier: GPL-2.0

//! A guest that the emulator lost: told from one that ended, or hangs, by a fault of its own.
//!
//! Where a hypervisor has VMRUN inject an interrupt, QEMU (11.1.3, `helper_vmrun`) delivers it and leaves its vector in the
//! CPU's `exception_index`. If the CPU's thread is kicked before the guest's next exit, its loop takes that for an exception
//! and interrupts the guest by the same vector again, interrupts on or off. At the first instruction of an entry, before
//! `swapgs`, no kernel outlives that. Every interrupt kicked the thread so, a thousand a second, until `images/qemu.sh` took
//! that out; what kicks it for another reason still does.

use crate::domain::{Domain, BRIEF};

/// What is said of such a guest.
const LOST: &str = "the emulator lost this guest";

/// Where dom0 keeps the entries of the guests' kernel, see [`learn`].
const ENTRIES: &str = "/run/companion/entries";

/// The kernel lies at a multiple of this, wherever it is.
const ALIGNMENT: u64 = 2 << 20;

/// No entry of an interrupt is longer.
const ENTRY_SIZE: u64 = 0x40;

/// What a guest's first program says at its serial port before it loads a module of ours, see `initramfs-init`.
const UP: &str = "oxen-init: up";

/// Whether the emulator lost this guest, and how: a triple fault stopped it, it entered its kernel in a state in which no
/// processor does, it was interrupted while it had interrupts off, it missed its timer as it booted, or it has not come to load
/// a module of ours. Any other end is the guest's own.
pub(crate) fn lost(dom0: &Domain, name: &str) -> Option<String> {
    let list = dom0
        .sh(&format!("xl domid {name} && xl list {name}"))
        .ok()?;
    let domid = list.lines().next()?.trim().parse().ok()?;
    let serial = format!("cat /run/companion/{name}.serial");
    let stacks = format!("/usr/lib/xen-*/bin/xenctx -C -n 1 -b 8 -l 512 {domid} 2>/dev/null; :");
    triple_fault(domid, &list, &dom0.sh("xl dmesg").ok()?)
        .or_else(|| {
            let said = dom0.sh(&serial).ok()?;
            bad_entry(&said).or_else(|| no_timer(&said))
        })
        .or_else(|| {
            let entries = dom0.sh(&format!("cat {ENTRIES} 2>/dev/null")).ok()?;
            interrupted(&dom0.sh(&stacks).ok()?, &entries)
        })
        .or_else(|| {
            // Nothing is said of it where the guest goes on after a restore.
            let restored = format!("pgrep -f -- '-xen-domid {domid} .*-incoming'");
            let output = dom0.try_sh(&restored, BRIEF).ok()?;
            (!output.success()).then(|| never_up(&dom0.sh(&serial).ok()?))?
        })
        .map(|fault| format!("{LOST}: {fault}"))
}

/// Notes in dom0 where the kernel of `guest` is entered by interrupts; it is the same in all guests.
pub(crate) fn learn(dom0: &Domain, guest: &Domain) {
    if let Ok(true) | Err(_) = dom0
        .try_sh(&format!("[ -s {ENTRIES} ]"), BRIEF)
        .map(|output| output.success())
    {
        return;
    }
    // The entries are the first in the kernel's text.
    let script =
        "head -n 1000 /proc/kallsyms | grep -E ' asm_(common_interrupt|sysvec_[a-z0-9_]+)$'";
    if let Ok(found) = guest.sh(script) {
        dom0.put_bytes(found.as_bytes(), ENTRIES).ok();
    }
}

/// What Xen's log says of the triple fault of a domain that `xl list` still has, stopped.
///
/// Xen takes a triple fault for a wish to reboot, and the domain is kept as it is. A guest that ends in any other way is
/// not meant.
fn triple_fault(domid: u32, list: &str, log: &str) -> Option<String> {
    let id = domid.to_string();
    let stopped = list.lines().any(|line| {
        // Name, id, memory, vCPUs, state, time; a name has no spaces.
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(&id) && words.nth(2).is_some_and(|state| state.contains('s'))
    });
    let fault = log.lines().rev().find(|line| {
        line.split_whitespace()
            .filter_map(|word| word.strip_prefix('d')?.split_once('v'))
            .any(|(domain, vcpu)| domain == id && vcpu.parse::<u32>().is_ok())
            && line.contains("Triple fault")
    })?;
    stopped.then(|| fault.trim_start_matches("(XEN)").trim().into())
}

/// What the guest's kernel says when it faults again and again on the stack on which a processor enters it, before it has
/// left that stack.
///
/// Only the kernel's entry code runs there, never a driver. QEMU's emulation of VMRUN leaves the vector of an interrupt that
/// Xen injects as an exception to be raised. It delivers it again, although interrupts are off, if another of its threads asks
/// the CPU's to stop between two looks of that one: for interrupts, and for such a wish. If the first came from user mode, the
/// second finds GS still the program's, and each look at the processor's own data faults.
fn bad_entry(serial: &str) -> Option<String> {
    let line = serial
        .lines()
        .find(|line| line.contains("BUG: ENTRY_TRAMPOLINE stack guard page was hit"))?;
    Some(line.trim().into())
}

/// What the guest's kernel says when it has counted the timer's first interrupts, and there were too few.
///
/// No module is loaded yet. On a busy host the emulator raises them late.
fn no_timer(serial: &str) -> Option<String> {
    let line = serial
        .lines()
        .find(|line| line.contains("Kernel panic - not syncing: IO-APIC + timer doesn't work"))?;
    Some(line.trim().into())
}

/// What a guest's serial port lacks that hung before it came to load a module of ours.
fn never_up(serial: &str) -> Option<String> {
    let last = serial.lines().rev().find(|line| !line.trim().is_empty());
    let last = last.map_or("nothing", str::trim);
    (!serial.contains(UP))
        .then(|| format!("it hung before a module was loaded, and said last: {last}"))
}

/// What the stacks of a guest's processors say of an interrupt that came while interrupts were off.
///
/// QEMU does that for the reason told at [`bad_entry`]. What it interrupts is often under a lock that the interrupt takes
/// too, and then the processor hangs without a word.
///
/// `stacks` is what xenctx prints, a word of a stack in a line; `entries` is what [`learn`] found.
fn interrupted(stacks: &str, entries: &str) -> Option<String> {
    let entries: Vec<u64> = entries
        .lines()
        .filter_map(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok())
        .map(|address| address % ALIGNMENT)
        .collect();
    let is_entry = |word: u64| {
        let within =
            |entry: &u64| (1..ENTRY_SIZE).contains(&(word % ALIGNMENT).wrapping_sub(*entry));
        is_text(word) && entries.iter().any(within)
    };
    let words: Vec<u64> = stacks
        .lines()
        .map(|line| u64::from_str_radix(line.trim(), 16).unwrap_or(0))
        .collect();
    // The return to the entry, 15 registers, -1 in place of a system call's number, and what the processor pushed.
    words.windows(22).find_map(|words| match *words {
        [back, .., u64::MAX, rip, 0x10, flags, _, 0x18]
            if is_entry(back) && is_text(rip) && flags & (IF | ALWAYS) == ALWAYS =>
        {
            Some(format!(
                "an interrupt at {rip:#x}, where interrupts were off"
            ))
        }
        _ => None,
    })
}

/// The interrupt flag.
const IF: u64 = 1 << 9;

/// The flag that is always set.
const ALWAYS: u64 = 1 << 1;

/// Whether that may be an address in the kernel's text.
fn is_text(word: u64) -> bool {
    (0xffff_ffff_8000_0000..u64::MAX).contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES_HERE: &str = "\
ffffffff85c01540 T asm_common_interrupt
ffffffff85c015b0 T asm_sysvec_error_interrupt
";

    /// Stacks with the frame of an interrupt that came through `entry` with `flags`.
    fn stacks(entry: &str, flags: &str) -> String {
        let registers = " 0000000000000000\n".repeat(15);
        format!(
            "vcpu0:\nrip: ffffffff86db8d0f\nflags: 00000206 i nz p\n\n\nStack:\n ffffffff86dbb229\n\n\
             vcpu1:\nrip: ffffffffb1dca876\n\n\nStack:\n ffffffffb0fbeabb\n 0000000000000001\n {entry}\n{registers} \
             ffffffffffffffff\n ffffffffb0fbbfff\n 0000000000000010\n {flags}\n ffffd3000000edf0\n 0000000000000018\n \
             ffffffffb0fbd894\n\nCall Trace:\n                    [<ffffffffb1dca876>] <--\n"
        )
    }

    #[test]
    fn an_interrupt_while_interrupts_were_off_is_the_emulators() {
        // As seen: the kernel's clock ticked within ttwu_do_activate(), under the lock that the tick takes.
        assert_eq!(
            interrupted(
                &stacks("ffffffffb0c01566", "0000000000000002"),
                ENTRIES_HERE
            )
            .as_deref(),
            Some("an interrupt at 0xffffffffb0fbbfff, where interrupts were off")
        );
    }

    #[test]
    fn any_other_stack_is_the_guests() {
        let is_lost = |stacks: &str| interrupted(stacks, ENTRIES_HERE).is_some();
        // Interrupts were on.
        assert!(!is_lost(&stacks("ffffffffb0c01566", "0000000000000202")));
        // An exception: it may come at any time.
        assert!(!is_lost(&stacks("ffffffffb0c01206", "0000000000000002")));
        assert!(!is_lost(""));
        assert!(interrupted(&stacks("ffffffffb0c01566", "0000000000000002"), "").is_none());
    }

    #[test]
    fn a_guest_without_a_timer_at_boot_is_lost() {
        let panic = |why: &str| {
            no_timer(&format!(
                "[    0.004] Kernel panic - not syncing: {why}\n[    0.004] CPU: 0\n"
            ))
            .is_some()
        };
        assert!(panic("IO-APIC + timer doesn't work!  Boot with apic=debug"));
        assert!(!panic("Attempted to kill init!"));
    }

    #[test]
    fn a_guest_that_hung_before_our_modules_is_lost() {
        assert!(never_up("").is_some_and(|how| how.ends_with("last: nothing")));
        assert!(never_up("[    0.0] Linux\n\n").is_some_and(|how| how.ends_with("Linux")));
        assert_eq!(never_up(&format!("[    0.0] Linux\n{UP}\n")), None);
    }

    #[test]
    fn a_guest_that_cannot_enter_its_kernel_is_lost() {
        let said = |stack: &str| {
            let line =
                format!("[  188.5] BUG: {stack} stack guard page was hit at fffffe29eda67ff8");
            bad_entry(&format!(
                "[    1.0] Linux\n{line}\n[  188.6] Oops: stack guard page: 0000\n"
            ))
            .map(|found| found == line)
        };
        assert_eq!(said("ENTRY_TRAMPOLINE"), Some(true));
        assert_eq!(said("TASK"), None);
        assert_eq!(said("IRQ"), None);
    }

    const LOG: &str = "\
(XEN) [  141.2] d3v1 Triple fault - invoking HVM shutdown action 1
(XEN) [  141.3] *** Dumping Dom3 vcpu#1 state: ***
(XEN) ----[ Xen-4.20.2  x86_64  debug=n  Not tainted ]----
(XEN) CPU:    0
(XEN) [  150.0] d12v0 Triple fault - invoking HVM shutdown action 1
(XEN) [  160.0] d5v0 VIRIDIAN GUEST_CRASH: 0 0 0 0 0
";

    fn list(id: u32, state: &str) -> String {
        format!(
            "Name                                        ID   Mem VCPUs\tState\tTime(s)\n\
             Domain-0                                     0  1280     1     r-----     155.3\n\
             debian                                       {id}   768     2     {state}      17.2\n"
        )
    }

    #[test]
    fn a_stopped_guest_with_a_triple_fault_is_lost() {
        let found = triple_fault(3, &list(3, "---s--"), LOG).expect("lost");
        assert!(found.contains("d3v1 Triple fault"), "{found}");
        assert!(triple_fault(12, &list(12, "---s--"), LOG).is_some());
    }

    #[test]
    fn a_guest_that_lives_is_not_lost() {
        assert_eq!(triple_fault(3, &list(3, "-b----"), LOG), None);
        assert_eq!(triple_fault(3, &list(3, "r-----"), LOG), None);
    }

    #[test]
    fn a_guest_that_ended_in_another_way_is_not_lost() {
        // The faults are those of other domains; 2 is the end of 12, and 1 its beginning.
        for id in [1, 2, 5, 33] {
            assert_eq!(triple_fault(id, &list(id, "---s--"), LOG), None, "{id}");
        }
        assert_eq!(triple_fault(3, &list(3, "---sc-"), ""), None);
        // Gone altogether.
        assert_eq!(triple_fault(3, &list(4, "---s--"), LOG), None);
    }
}
