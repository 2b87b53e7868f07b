// SPDX-License-Identifier: GPL-2.0

//! What a device can do for the stack (C header: `include/linux/netdev_features.h`).

use crate::bindings;
use core::ops::{
    BitAnd,
    BitOr,
    Not, //
};

/// A set of features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub(super) u64);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// Packets of several pieces are sent.
    pub const SG: Self = Self::bit(bindings::NETIF_F_SG_BIT);
    /// TCP and UDP checksums over IPv4 are filled in on the way.
    pub const IP_CSUM: Self = Self::bit(bindings::NETIF_F_IP_CSUM_BIT);
    /// TCP and UDP checksums over IPv6 are filled in on the way.
    pub const IPV6_CSUM: Self = Self::bit(bindings::NETIF_F_IPV6_CSUM_BIT);
    /// Checksums of received packets have been checked.
    pub const RXCSUM: Self = Self::bit(bindings::NETIF_F_RXCSUM_BIT);
    /// TCPv4 packets are cut into segments on the way.
    pub const TSO: Self = Self::bit(bindings::NETIF_F_TSO_BIT);
    /// TCPv6 packets are cut into segments on the way.
    pub const TSO6: Self = Self::bit(bindings::NETIF_F_TSO6_BIT);
    /// Received packets come with a hash, and are spread over the queues by it.
    pub const RXHASH: Self = Self::bit(bindings::NETIF_F_RXHASH_BIT);
    /// Packets whose segmentation has to be checked first can be sent to be segmented.
    pub const GSO_ROBUST: Self = Self::bit(bindings::NETIF_F_GSO_ROBUST_BIT);

    #[expect(clippy::unnecessary_cast)]
    const fn bit(bit: u32) -> Self {
        Self(1 << bit as u32)
    }

    /// The set as the kernel's bits, to keep it in an atomic.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set that [`bits`](Self::bits) gave.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set and `other`.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set, with `other` too if `condition` holds.
    pub const fn with_if(self, condition: bool, other: Self) -> Self {
        if condition {
            Self(self.0 | other.0)
        } else {
            self
        }
    }
}

impl BitOr for Features {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Features {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Features {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}
