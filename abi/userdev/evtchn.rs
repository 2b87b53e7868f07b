// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/evtchn`: what a program asks, and which domains it may ask for.

use super::command;
use crate::types::{DomainId, Port};
use core::mem::size_of;

/// What a program asks of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A port for a virtual irq ([`BindVirq`]). The answer is the port, as for the next two.
    BindVirq,
    /// A port that is connected to one of another domain ([`BindInterdomain`]).
    BindInterdomain,
    /// A port that another domain may bind to ([`BindUnbound`]).
    BindUnbound,
    /// Close a port ([`OnePort`]).
    Unbind,
    /// Fire the other end of a port ([`OnePort`]).
    Notify,
    /// Forget what has fired and was not read.
    Reset,
    /// Name one domain from now on only ([`Restrict`]).
    Restrict,
}

impl Command {
    /// All of them, with their numbers. `IOCTL_EVTCHN_BIND_STATIC` is none: Xen makes such ports on Arm only.
    pub const ALL: [(u32, Self); 7] = [
        (command(b'E', 0, size_of::<BindVirq>()), Self::BindVirq),
        (
            command(b'E', 1, size_of::<BindInterdomain>()),
            Self::BindInterdomain,
        ),
        (
            command(b'E', 2, size_of::<BindUnbound>()),
            Self::BindUnbound,
        ),
        (command(b'E', 3, size_of::<OnePort>()), Self::Unbind),
        (command(b'E', 4, size_of::<OnePort>()), Self::Notify),
        (command(b'E', 5, 0), Self::Reset),
        (command(b'E', 6, size_of::<Restrict>()), Self::Restrict),
    ];

    /// The command of a number.
    pub fn from_number(number: u32) -> Option<Self> {
        super::find(&Self::ALL, number)
    }
}

crate::shared::wire! {
    /// `ioctl_evtchn_bind_virq`.
    pub struct BindVirq {
        /// The virtual irq.
        pub virq: u32,
    }

    /// `ioctl_evtchn_bind_interdomain`.
    pub struct BindInterdomain {
        /// The domain that made the port.
        pub remote: u32,
        /// Its port.
        pub remote_port: Port,
    }

    /// `ioctl_evtchn_bind_unbound_port`.
    pub struct BindUnbound {
        /// The domain that may bind to the port.
        pub remote: u32,
    }

    /// `ioctl_evtchn_unbind` and `ioctl_evtchn_notify`.
    pub struct OnePort {
        /// The port.
        pub port: Port,
    }

    /// `ioctl_evtchn_restrict_domid`.
    pub struct Restrict {
        /// The domain.
        pub domain: DomainId,
    }
}

/// Why a file is not restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is already.
    Already,
    /// No ordinary domain, or dom0.
    Domain,
}

/// Which domains an open file may name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach(Option<DomainId>);

impl Reach {
    /// Lets it name `domain` only, for good.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    pub fn restrict(&mut self, domain: DomainId) -> Result<(), Refused> {
        if self.0.is_some() {
            return Err(Refused::Already);
        }
        if domain == DomainId(0) || domain >= DomainId::FIRST_RESERVED {
            return Err(Refused::Domain);
        }
        self.0 = Some(domain);
        Ok(())
    }

    /// Tells whether it may name `domain`.
    pub fn has(&self, domain: DomainId) -> bool {
        self.0.is_none_or(|only| only == domain)
    }

    /// Tells whether it may name any, and use what belongs to none.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_one_command() {
        for (number, command) in Command::ALL {
            assert_eq!(Command::from_number(number), Some(command));
        }
        for number in [0, u32::MAX, 0x0004_4507, 0x0000_4500, 0x4004_4500] {
            assert_eq!(Command::from_number(number), None);
        }
    }

    #[test]
    fn a_file_is_restricted_once_and_to_an_ordinary_domain() {
        let mut reach = Reach::default();
        assert!(reach.is_all() && reach.has(DomainId(0)) && reach.has(DomainId(7)));
        for special in [DomainId(0), DomainId::SELF, DomainId(u16::MAX)] {
            assert_eq!(reach.restrict(special), Err(Refused::Domain));
        }
        assert!(reach.is_all());
        assert_eq!(reach.restrict(DomainId(7)), Ok(()));
        assert!(!reach.is_all() && reach.has(DomainId(7)));
        assert!(!reach.has(DomainId(0)) && !reach.has(DomainId::SELF));
        assert_eq!(reach.restrict(DomainId(7)), Err(Refused::Already));
    }
}
