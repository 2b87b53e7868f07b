// SPDX-License-Identifier: GPL-2.0

//! The 2-level layout: a pending and a mask bit for each of 4096 ports, and a summary word per vCPU.
//!
//! Implements `evtchn_pending`, `evtchn_mask` and `evtchn_pending_sel` of Xen's public header `xen.h`. Xen raises an upcall
//! when a pending bit goes up whose mask bit is down; what happens while the mask bit is up is remembered in the
//! pending bit but not announced.

use super::vcpu_info;
use crate::{
    shared::Memory,
    types::{
        Port,
        VcpuId, //
    },
};

/// How many ports there are.
pub const PORTS: u32 = 4096;

const WORD_BITS: u32 = 64;
const PENDING: usize = 2048;
const MASK: usize = 2560;

/// The words of `shared_info` that belong to event channels.
pub struct TwoLevel<M> {
    shared_info: M,
}

/// Offset of the word of `port` from the start of an array, and its bit.
fn place(port: Port) -> Option<(usize, u64)> {
    if port.0 >= PORTS {
        return None;
    }
    let word = (port.0 / WORD_BITS) as usize;
    Some((word.wrapping_mul(8), 1 << (port.0 % WORD_BITS)))
}

impl<M: Memory> TwoLevel<M> {
    /// Uses the words in `shared_info`.
    pub const fn new(shared_info: M) -> Self {
        Self { shared_info }
    }

    /// Masks all ports. At first load every mask bit is down.
    pub fn mask_all(&self) {
        for word in 0..(PORTS / WORD_BITS) as usize {
            self.shared_info
                .store_u64(MASK.wrapping_add(word.wrapping_mul(8)), u64::MAX);
        }
    }

    /// Masks `port`.
    pub fn mask(&self, port: Port) {
        if let Some((word, bit)) = place(port) {
            self.shared_info.fetch_or_u64(MASK.wrapping_add(word), bit);
        }
    }

    /// Unmasks `port`. Returns whether the hypervisor has to do it, since the port is pending and lowering the bit by hand
    /// raises no upcall; the port is still masked then.
    #[must_use = "a pending port gets no upcall otherwise"]
    pub fn unmask(&self, port: Port) -> bool {
        let Some((word, bit)) = place(port) else {
            return false;
        };
        self.shared_info
            .fetch_and_u64(MASK.wrapping_add(word), !bit);
        if self.shared_info.load_u64(PENDING.wrapping_add(word)) & bit == 0 {
            return false;
        }
        self.shared_info.fetch_or_u64(MASK.wrapping_add(word), bit);
        true
    }

    /// Masks `port` and takes its pending bit down.
    pub fn ack(&self, port: Port) {
        self.mask(port);
        self.clear_pending(port);
    }

    /// Tells whether `port` is masked.
    pub fn is_masked(&self, port: Port) -> bool {
        place(port)
            .is_none_or(|(word, bit)| self.shared_info.load_u64(MASK.wrapping_add(word)) & bit != 0)
    }

    /// Tells whether `port` is pending.
    pub fn is_pending(&self, port: Port) -> bool {
        place(port).is_some_and(|(word, bit)| {
            self.shared_info.load_u64(PENDING.wrapping_add(word)) & bit != 0
        })
    }

    /// Makes `port` pending. No upcall follows until it is unmasked by the hypervisor.
    pub fn set_pending(&self, port: Port) {
        if let Some((word, bit)) = place(port) {
            self.shared_info
                .fetch_or_u64(PENDING.wrapping_add(word), bit);
        }
    }

    /// Takes the pending bit of `port` down.
    pub fn clear_pending(&self, port: Port) {
        if let Some((word, bit)) = place(port) {
            self.shared_info
                .fetch_and_u64(PENDING.wrapping_add(word), !bit);
        }
    }

    /// Calls `handle` for each pending and unmasked port that the summary word of `vcpu` leads to.
    ///
    /// A port is reported once; its pending bit is left to the handler. Words that another vCPU looks at too may be
    /// reported there as well. The work is bounded by the number of ports.
    pub fn scan(&self, vcpu: VcpuId, mut handle: impl FnMut(Port)) {
        let Some(base) = vcpu_info::offset(vcpu) else {
            return;
        };
        let mut words = self
            .shared_info
            .swap_u64(base.wrapping_add(vcpu_info::PENDING_SEL), 0);
        while words != 0 {
            let word = words.trailing_zeros();
            words &= words.wrapping_sub(1);
            let at = (word as usize).wrapping_mul(8);
            let mut bits = self.shared_info.load_u64(PENDING.wrapping_add(at))
                & !self.shared_info.load_u64(MASK.wrapping_add(at));
            while bits != 0 {
                let bit = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                handle(Port(word.wrapping_mul(WORD_BITS).wrapping_add(bit)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::testing::page;

    #[test]
    fn scan_reports_pending_and_unmasked_once() {
        let ports = TwoLevel::new(page());
        ports.mask_all();
        for port in [3, 64, 65, 4095] {
            ports.set_pending(Port(port));
        }
        for port in [3, 65, 4095, 9] {
            ports.mask(Port(port));
            ports
                .shared_info
                .fetch_and_u64(MASK + (port as usize / 64) * 8, !(1 << (port % 64)));
        }
        ports
            .shared_info
            .store_u64(vcpu_info::PENDING_SEL, 1 | 2 | 1 << 63);
        let mut seen = std::vec::Vec::new();
        ports.scan(VcpuId(0), |port| seen.push(port.0));
        assert_eq!(seen, [3, 65, 4095]);
        seen.clear();
        ports.scan(VcpuId(0), |port| seen.push(port.0));
        assert!(seen.is_empty());
    }

    #[test]
    fn pending_port_is_left_to_the_hypervisor() {
        let ports = TwoLevel::new(page());
        ports.mask_all();
        assert!(!ports.unmask(Port(70)));
        assert!(!ports.is_masked(Port(70)));
        ports.mask(Port(70));
        assert!(ports.is_masked(Port(70)));
        ports.set_pending(Port(70));
        assert!(ports.unmask(Port(70)));
        assert!(ports.is_masked(Port(70)));
        ports.clear_pending(Port(70));
        assert!(!ports.unmask(Port(70)));
        assert!(!ports.is_masked(Port(70)));
    }

    #[test]
    fn ports_out_of_range_do_nothing() {
        let ports = TwoLevel::new(page());
        ports.mask(Port(4096));
        ports.set_pending(Port(u32::MAX));
        assert!(!ports.unmask(Port(4096)));
        assert!(ports.is_masked(Port(4096)));
        for word in 0..512 {
            assert_eq!(ports.shared_info.load_u64(word * 8), 0);
        }
    }
}
