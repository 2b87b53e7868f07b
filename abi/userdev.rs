// SPDX-License-Identifier: GPL-2.0

//! What programs ask of the devices under `/dev/xen`, as Xen's libraries do.
//!
//! Implements Linux's `include/uapi/xen/evtchn.h`, `gntalloc.h` and `gntdev.h`. The structures come from programs, and may hold
//! anything.

pub mod evtchn;
pub mod fired;
pub mod gntalloc;
pub mod gntdev;
pub mod notify;
pub mod space;

use crate::types::DomainId;

/// The number of a command of `ioctl(2)` (`_IOC` without a direction).
const fn command(kind: u8, number: u8, size: usize) -> u32 {
    // CAST: The sizes are small, and those of the structures beside the numbers.
    (size as u32) << 16 | (kind as u32) << 8 | number as u32
}

/// The command of a number, among `all` of a device.
fn find<C: Copy>(all: &[(u32, C)], number: u32) -> Option<C> {
    all.iter()
        .find(|(known, _)| *known == number)
        .map(|(_, command)| *command)
}

/// The domain that a program names: an ordinary one, or its own as `DOMID_SELF`.
pub fn domain(number: u32) -> Option<DomainId> {
    let own = u32::from(DomainId::SELF.0);
    if number == own {
        return Some(DomainId::SELF);
    }
    DomainId::from_untrusted(number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_name_its_own_domain() {
        assert_eq!(domain(0), Some(DomainId(0)));
        assert_eq!(domain(0x7fef), Some(DomainId(0x7fef)));
        assert_eq!(domain(0x7ff0), Some(DomainId::SELF));
        for special in [0x7ff1, 0x7fff, 0xffff, 0x1_0000, 0x1_7ff0, u32::MAX] {
            assert_eq!(domain(special), None);
        }
    }
}
