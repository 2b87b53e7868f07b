// SPDX-License-Identifier: GPL-2.0

//! The numbers that name things on Xen, each as a type of its own.
//!
//! A port and a grant reference are both small integers to the hypervisor; mixing them up compiles in C and fails
//! at run time. Implements the identifiers of Xen's public headers `xen.h`, `event_channel.h` and `grant_table.h`.

use core::fmt;

/// Bytes of a page as Xen counts frames and grants, whatever the kernel's pages are (`XEN_PAGE_SIZE`).
pub const PAGE_SIZE: usize = 4096;

/// Makes a transparent number type that prints as its number.
macro_rules! number {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[repr(transparent)]
        #[derive(
            Clone,
            Copy,
            Debug,
            Default,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            ::zerocopy_derive::FromBytes,
            ::zerocopy_derive::IntoBytes,
            ::zerocopy_derive::Immutable,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$name> for $inner {
            #[inline]
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

number! {
    /// A local event channel port (`evtchn_port_t`), below 4096 in the 2-level ABI and below 2^17 in FIFO. Port 0 is
    /// never valid.
    Port(u32)
}

number! {
    /// A grant reference (`grant_ref_t`): an index into this domain's grant table. References 0 to 7 are reserved for
    /// the toolstack.
    GrantRef(u32)
}

number! {
    /// A guest frame number (`xen_pfn_t`): a guest-physical address in units of [`PAGE_SIZE`].
    Gfn(u64)
}

number! {
    /// A domain (`domid_t`). Values from 0x7ff0 up are special.
    DomainId(u16)
}

number! {
    /// A virtual CPU, numbered by the hypervisor. Differs from Linux's CPU number in general.
    VcpuId(u32)
}

impl DomainId {
    /// The calling domain itself (`DOMID_SELF`).
    pub const SELF: Self = Self(0x7ff0);

    /// The first of the identifiers that do not name an ordinary domain (`DOMID_FIRST_RESERVED`).
    pub const FIRST_RESERVED: Self = Self(0x7ff0);

    /// Makes a domain id of a number that the xenstore gave; special identifiers are refused.
    pub fn from_untrusted(value: u64) -> Option<Self> {
        u16::try_from(value)
            .ok()
            .map(Self)
            .filter(|domain| *domain < Self::FIRST_RESERVED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_domains_are_refused() {
        assert_eq!(DomainId::from_untrusted(0), Some(DomainId(0)));
        assert_eq!(DomainId::from_untrusted(0x7fef), Some(DomainId(0x7fef)));
        assert_eq!(DomainId::from_untrusted(0x7ff0), None);
        assert_eq!(DomainId::from_untrusted(0x1_0000), None);
        assert_eq!(DomainId::from_untrusted(u64::MAX), None);
    }
}
