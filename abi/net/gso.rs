// SPDX-License-Identifier: GPL-2.0

//! Segmentation offload: what an extra info of kind GSO says, and whether to believe it.

pub use super::wire::GsoType;
use super::wire::{
    extra_type,
    ExtraInfo, //
};
use core::{
    fmt,
    num::NonZeroU16, //
};

/// A packet that stands for several, and how to cut it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Protocol.
    pub kind: GsoType,
    /// Payload of each segment in bytes.
    pub size: NonZeroU16,
}

/// Which kinds of segmentation an end has agreed to receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GsoAccepted {
    /// TCP over IPv4.
    pub v4: bool,
    /// TCP over IPv6.
    pub v6: bool,
}

impl GsoAccepted {
    fn has(self, kind: GsoType) -> bool {
        match kind {
            GsoType::TcpV4 => self.v4,
            GsoType::TcpV6 => self.v6,
        }
    }
}

/// Why a GSO extra info is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoError {
    /// It is an extra info of another kind.
    OtherExtra,
    /// Segments without payload.
    ZeroSize,
    /// Neither TCPv4 nor TCPv6, or one that was not agreed on.
    BadType,
}

impl fmt::Display for GsoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GsoError::OtherExtra => "extra info is not about segmentation",
            GsoError::ZeroSize => "segment size is zero",
            GsoError::BadType => "segmentation type was not agreed on",
        })
    }
}

impl Gso {
    /// Checks what the other end says about segmentation.
    ///
    /// # Errors
    ///
    /// [`GsoError`] says what is wrong with it.
    pub fn from_extra(extra: &ExtraInfo, accepted: GsoAccepted) -> Result<Self, GsoError> {
        if extra.kind != extra_type::GSO {
            return Err(GsoError::OtherExtra);
        }
        let (size, kind) = extra.gso_fields();
        let size = NonZeroU16::new(size).ok_or(GsoError::ZeroSize)?;
        let kind = GsoType::from_wire(kind).ok_or(GsoError::BadType)?;
        if !accepted.has(kind) {
            return Err(GsoError::BadType);
        }
        Ok(Self { kind, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: GsoAccepted = GsoAccepted { v4: true, v6: true };

    #[test]
    fn agreed_segmentation_is_taken() {
        let extra = ExtraInfo::gso(GsoType::TcpV4, 1460);
        let gso = Gso::from_extra(&extra, BOTH).unwrap();
        assert_eq!((gso.kind, gso.size.get()), (GsoType::TcpV4, 1460));
    }

    #[test]
    fn zero_size_and_unknown_type_are_refused() {
        let zero = ExtraInfo::gso(GsoType::TcpV6, 0);
        assert_eq!(Gso::from_extra(&zero, BOTH), Err(GsoError::ZeroSize));
        for kind in [0, 3, 4, 255] {
            let mut extra = ExtraInfo::gso(GsoType::TcpV4, 1);
            extra.data[2] = kind;
            assert_eq!(Gso::from_extra(&extra, BOTH), Err(GsoError::BadType));
        }
    }

    #[test]
    fn what_was_not_agreed_on_is_refused() {
        let v4 = ExtraInfo::gso(GsoType::TcpV4, 1460);
        let v6 = ExtraInfo::gso(GsoType::TcpV6, 1440);
        let only_v4 = GsoAccepted {
            v4: true,
            v6: false,
        };
        let only_v6 = GsoAccepted {
            v4: false,
            v6: true,
        };
        assert!(Gso::from_extra(&v4, only_v4).is_ok());
        assert!(Gso::from_extra(&v6, only_v6).is_ok());
        assert_eq!(Gso::from_extra(&v6, only_v4), Err(GsoError::BadType));
        assert_eq!(Gso::from_extra(&v4, only_v6), Err(GsoError::BadType));
    }

    #[test]
    fn another_kind_of_extra_is_not_gso() {
        let mut extra = ExtraInfo::gso(GsoType::TcpV4, 1460);
        extra.kind = extra_type::HASH;
        assert_eq!(Gso::from_extra(&extra, BOTH), Err(GsoError::OtherExtra));
    }
}
