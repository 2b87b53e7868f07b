// SPDX-License-Identifier: GPL-2.0

//! What the backend is told of a packet as a whole.

use abi::net::{
    gso,
    wire::{
        tx_flags,
        ExtraInfo, //
    }, //
};
use linux::net::skb::{
    Checksum,
    GsoType,
    SkBuff, //
};

/// Flags of a packet's first slot.
pub(crate) fn flags(skb: &SkBuff) -> u16 {
    let checksum = match skb.checksum() {
        Checksum::Blank | Checksum::Rebuild => tx_flags::CSUM_BLANK | tx_flags::DATA_VALIDATED,
        Checksum::Validated => tx_flags::DATA_VALIDATED,
        Checksum::Unknown => 0,
    };
    match skb.gso() {
        Some(_) => checksum | tx_flags::EXTRA_INFO,
        None => checksum,
    }
}

/// How the backend is to segment a packet.
pub(crate) fn extra(skb: &SkBuff) -> Option<ExtraInfo> {
    let (kind, size) = skb.gso()?;
    let kind = match kind {
        GsoType::TcpV4 => gso::GsoType::TcpV4,
        GsoType::TcpV6 => gso::GsoType::TcpV6,
    };
    Some(ExtraInfo::gso(kind, size))
}
