// SPDX-License-Identifier: GPL-2.0

//! Event channels: where pending and masked bits lie, and how the pending ports are found.
//!
//! Xen has two layouts for the same thing. [`two_level`] keeps a bit per port in the shared info page and a summary word
//! per vCPU; [`fifo`] keeps a word per port, linked into queues by the hypervisor. [`storm`] says when a port that
//! fires for nothing, or too often, has to wait, [`mask`] why it is masked, [`spread`] on which CPU it fires. Only the hypervisor and we write these words; another domain can do no more than
//! make a port pending.

pub mod fifo;
pub mod mask;
pub mod spread;
pub mod storm;
pub mod two_level;

/// The layout of `vcpu_info` and its place in `shared_info` (Xen's public header `xen.h`).
pub mod vcpu_info {
    use crate::{
        shared::Memory,
        types::VcpuId, //
    };

    /// Size of one `vcpu_info`; they lie one after the other from offset 0 of `shared_info` on.
    pub const SIZE: usize = 64;
    /// How many vCPUs have theirs in `shared_info` (`XEN_LEGACY_MAX_VCPUS`).
    pub const COUNT: u32 = 32;
    /// Offset of `evtchn_upcall_pending`, a byte.
    pub const UPCALL_PENDING: usize = 0;
    /// Offset of `evtchn_pending_sel`, 8 bytes.
    pub const PENDING_SEL: usize = 8;

    /// Offset of a vCPU's `vcpu_info`, if it has one in `shared_info`.
    pub const fn offset(vcpu: VcpuId) -> Option<usize> {
        if vcpu.0 < COUNT {
            Some((vcpu.0 as usize).wrapping_mul(SIZE))
        } else {
            None
        }
    }

    /// Tells whether an upcall is pending on this vCPU, and takes it.
    ///
    /// What was made pending before the upcall is visible after it. A scan has to follow: it begins with a swap of the
    /// pending selector or of the ready word, a full barrier, so the flag is down before they are looked at and an event
    /// after that raises it again.
    pub fn take_upcall<M: Memory>(shared_info: &M, vcpu: VcpuId) -> bool {
        let Some(base) = offset(vcpu) else {
            return false;
        };
        let flag = base.wrapping_add(UPCALL_PENDING);
        let mut pending = [0u8];
        shared_info.read(flag, &mut pending);
        if pending == [0] {
            return false;
        }
        shared_info.write(flag, &[0]);
        true
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use crate::shared::RawMemory;
    use core::ptr::NonNull;

    /// A page of memory on the heap that lives until the end of the tests.
    pub(crate) fn page() -> RawMemory {
        let words: &'static mut [u64] = std::vec![0u64; 512].leak();
        // SAFETY: Leaked, aligned to 8 and owned by the memory alone.
        unsafe { RawMemory::new(NonNull::from(words).cast(), 4096) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{shared::Memory, types::VcpuId};

    #[test]
    fn upcall_is_taken_once_and_per_vcpu() {
        let info = testing::page();
        info.write(64, &[1]);
        assert!(!vcpu_info::take_upcall(&info, VcpuId(0)));
        assert!(vcpu_info::take_upcall(&info, VcpuId(1)));
        assert!(!vcpu_info::take_upcall(&info, VcpuId(1)));
        assert!(!vcpu_info::take_upcall(&info, VcpuId(32)));
        assert_eq!(vcpu_info::offset(VcpuId(31)), Some(31 * 64));
        assert_eq!(vcpu_info::offset(VcpuId(32)), None);
    }
}
