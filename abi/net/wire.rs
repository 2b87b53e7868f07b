// SPDX-License-Identifier: GPL-2.0

//! Slots of the transmit and receive rings (Xen: `io/netif.h`).
//!
//! A slot holds either a request or response proper or, behind a first slot that announces it, an
//! extra info. Nothing in a slot tells which: the reader has to know from the slots before.

/// Bytes of a transmit slot (`struct netif_tx_request`).
pub const TX_SLOT: usize = 12;

/// Bytes of a receive slot (`struct netif_rx_request`, `struct netif_rx_response`).
pub const RX_SLOT: usize = 8;

/// Flags of a [`TxRequest`].
pub mod tx_flags {
    /// The transport checksum has to be filled in before the packet goes on a wire.
    pub const CSUM_BLANK: u16 = 1 << 0;
    /// The data is known to match its checksum.
    pub const DATA_VALIDATED: u16 = 1 << 1;
    /// The packet goes on in another request.
    pub const MORE_DATA: u16 = 1 << 2;
    /// The next slot is an extra info.
    pub const EXTRA_INFO: u16 = 1 << 3;
}

/// Flags of an [`RxResponse`].
pub mod rx_flags {
    /// The data is known to match its checksum.
    pub const DATA_VALIDATED: u16 = 1 << 0;
    /// The transport checksum has yet to be filled in.
    pub const CSUM_BLANK: u16 = 1 << 1;
    /// The packet goes on in another response.
    pub const MORE_DATA: u16 = 1 << 2;
    /// The next slot is an extra info.
    pub const EXTRA_INFO: u16 = 1 << 3;
    /// The slot describes segmentation and holds no data. Never negotiated by us.
    pub const GSO_PREFIX: u16 = 1 << 4;
}

/// Values of [`TxResponse::status`], and of [`RxResponse::status`] below zero.
pub mod status {
    /// The backend chose not to forward the packet.
    pub const DROPPED: i16 = -2;
    /// The request was in error.
    pub const ERROR: i16 = -1;
    /// Done.
    pub const OKAY: i16 = 0;
    /// The slot held an extra info; its id means nothing.
    pub const NULL: i16 = 1;
}

/// Protocol of a packet that is to be segmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoType {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
}

impl GsoType {
    /// The protocol's number in an extra info.
    pub const fn to_wire(self) -> u8 {
        match self {
            GsoType::TcpV4 => 1,
            GsoType::TcpV6 => 2,
        }
    }

    /// The protocol with this number, if there is one.
    pub const fn from_wire(kind: u8) -> Option<Self> {
        match kind {
            1 => Some(GsoType::TcpV4),
            2 => Some(GsoType::TcpV6),
            _ => None,
        }
    }
}

/// Kinds of extra info.
pub mod extra_type {
    /// Never used.
    pub const NONE: u8 = 0;
    /// Segmentation of the packet.
    pub const GSO: u8 = 1;
    /// Adds a multicast filter, transmit only.
    pub const MCAST_ADD: u8 = 2;
    /// Removes a multicast filter, transmit only.
    pub const MCAST_DEL: u8 = 3;
    /// Hash of the packet.
    pub const HASH: u8 = 4;
    /// First value without meaning in Xen's header.
    pub const MAX: u8 = 5;
    /// Room before the data, receive only. Linux's header has it, Xen's does not.
    pub const XDP: u8 = 5;
}

/// Another extra info follows this one.
pub const EXTRA_FLAG_MORE: u8 = 1 << 0;

crate::shared::wire! {
    /// Asks the backend to take a piece of a packet (`struct netif_tx_request`).
    ///
    /// `size` is that of the whole packet in its first request, that of the piece in all others.
    #[derive(Default)]
    pub struct TxRequest {
        /// Grant of the page with the data.
        pub gref: u32,
        /// Where the data begins in the page.
        pub offset: u16,
        /// See [`tx_flags`].
        pub flags: u16,
        /// Repeated in the response.
        pub id: u16,
        /// Bytes of data.
        pub size: u16,
    }
}

impl TxRequest {
    /// The request as it lies in its slot.
    pub fn encode(&self) -> [u8; TX_SLOT] {
        let [g0, g1, g2, g3] = self.gref.to_le_bytes();
        let [o0, o1] = self.offset.to_le_bytes();
        let [f0, f1] = self.flags.to_le_bytes();
        let [i0, i1] = self.id.to_le_bytes();
        let [s0, s1] = self.size.to_le_bytes();
        [g0, g1, g2, g3, o0, o1, f0, f1, i0, i1, s0, s1]
    }

    /// Reads a request out of a slot, as a backend does.
    pub fn decode(slot: [u8; TX_SLOT]) -> Self {
        let [g0, g1, g2, g3, o0, o1, f0, f1, i0, i1, s0, s1] = slot;
        Self {
            gref: u32::from_le_bytes([g0, g1, g2, g3]),
            offset: u16::from_le_bytes([o0, o1]),
            flags: u16::from_le_bytes([f0, f1]),
            id: u16::from_le_bytes([i0, i1]),
            size: u16::from_le_bytes([s0, s1]),
        }
    }
}

crate::shared::wire! {
    /// Answer to a [`TxRequest`] or to an extra info (`struct netif_tx_response`).
    ///
    /// The slot is longer than the response; its other bytes are stale and must not be read.
    #[derive(Default)]
    pub struct TxResponse {
        /// That of the request; means nothing if the status is [`status::NULL`].
        pub id: u16,
        /// See [`status`].
        pub status: i16,
    }
}

impl TxResponse {
    /// The response as a backend writes it.
    pub fn encode(&self) -> [u8; TX_SLOT] {
        let [i0, i1] = self.id.to_le_bytes();
        let [s0, s1] = self.status.to_le_bytes();
        [i0, i1, s0, s1, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    /// Reads a response out of a slot.
    pub fn decode(slot: [u8; TX_SLOT]) -> Self {
        let [i0, i1, s0, s1, ..] = slot;
        Self {
            id: u16::from_le_bytes([i0, i1]),
            status: i16::from_le_bytes([s0, s1]),
        }
    }
}

crate::shared::wire! {
    /// Lends the backend a page to receive into (`struct netif_rx_request`).
    #[derive(Default)]
    pub struct RxRequest {
        /// Repeated in the response.
        pub id: u16,
        /// Zero.
        pub pad: u16,
        /// Grant of the page.
        pub gref: u32,
    }
}

impl RxRequest {
    /// The request as it lies in its slot.
    pub fn encode(&self) -> [u8; RX_SLOT] {
        let [i0, i1] = self.id.to_le_bytes();
        let [p0, p1] = self.pad.to_le_bytes();
        let [g0, g1, g2, g3] = self.gref.to_le_bytes();
        [i0, i1, p0, p1, g0, g1, g2, g3]
    }

    /// Reads a request out of a slot, as a backend does.
    pub fn decode(slot: [u8; RX_SLOT]) -> Self {
        let [i0, i1, p0, p1, g0, g1, g2, g3] = slot;
        Self {
            id: u16::from_le_bytes([i0, i1]),
            pad: u16::from_le_bytes([p0, p1]),
            gref: u32::from_le_bytes([g0, g1, g2, g3]),
        }
    }
}

crate::shared::wire! {
    /// Tells what was received into a page (`struct netif_rx_response`).
    #[derive(Default)]
    pub struct RxResponse {
        /// That of the request. The place in the ring, not this, tells which page it is.
        pub id: u16,
        /// Where the data begins in the page.
        pub offset: u16,
        /// See [`rx_flags`].
        pub flags: u16,
        /// Bytes of data, or an error below zero.
        pub status: i16,
    }
}

impl RxResponse {
    /// The response as a backend writes it.
    pub fn encode(&self) -> [u8; RX_SLOT] {
        let [i0, i1] = self.id.to_le_bytes();
        let [o0, o1] = self.offset.to_le_bytes();
        let [f0, f1] = self.flags.to_le_bytes();
        let [s0, s1] = self.status.to_le_bytes();
        [i0, i1, o0, o1, f0, f1, s0, s1]
    }

    /// Reads a response out of a slot.
    pub fn decode(slot: [u8; RX_SLOT]) -> Self {
        let [i0, i1, o0, o1, f0, f1, s0, s1] = slot;
        Self {
            id: u16::from_le_bytes([i0, i1]),
            offset: u16::from_le_bytes([o0, o1]),
            flags: u16::from_le_bytes([f0, f1]),
            status: i16::from_le_bytes([s0, s1]),
        }
    }
}

crate::shared::wire! {
    /// A slot that describes a packet instead of holding a piece of it (`struct netif_extra_info`).
    #[derive(Default)]
    pub struct ExtraInfo {
        /// See [`extra_type`].
        pub kind: u8,
        /// [`EXTRA_FLAG_MORE`] or nothing.
        pub flags: u8,
        /// What `kind` makes of it.
        pub data: [u8; 6],
    }
}

impl ExtraInfo {
    /// An extra info that tells the backend to cut a packet into segments of `size` bytes.
    pub fn gso(kind: GsoType, size: u16) -> Self {
        let [s0, s1] = size.to_le_bytes();
        Self {
            kind: extra_type::GSO,
            flags: 0,
            data: [s0, s1, kind.to_wire(), 0, 0, 0],
        }
    }

    /// Size of a segment and protocol, as the GSO kind has them. Neither is checked.
    pub fn gso_fields(&self) -> (u16, u8) {
        let [s0, s1, kind, ..] = self.data;
        (u16::from_le_bytes([s0, s1]), kind)
    }

    /// An extra info that tells that so many bytes before the data are free.
    pub fn headroom(bytes: u16) -> Self {
        let [b0, b1] = bytes.to_le_bytes();
        Self {
            kind: extra_type::XDP,
            flags: 0,
            data: [b0, b1, 0, 0, 0, 0],
        }
    }

    /// Bytes before the data, as that kind has them. Not checked.
    pub fn headroom_field(&self) -> u16 {
        let [b0, b1, ..] = self.data;
        u16::from_le_bytes([b0, b1])
    }

    /// The extra info as it lies in a transmit slot.
    pub fn encode_tx(&self) -> [u8; TX_SLOT] {
        let [a, b, c, d, e, f] = self.data;
        [self.kind, self.flags, a, b, c, d, e, f, 0, 0, 0, 0]
    }

    /// The extra info as it lies in a receive slot.
    pub fn encode_rx(&self) -> [u8; RX_SLOT] {
        let [a, b, c, d, e, f] = self.data;
        [self.kind, self.flags, a, b, c, d, e, f]
    }

    /// Reads an extra info out of a receive slot.
    pub fn decode_rx(slot: [u8; RX_SLOT]) -> Self {
        let [kind, flags, a, b, c, d, e, f] = slot;
        Self {
            kind,
            flags,
            data: [a, b, c, d, e, f],
        }
    }

    /// Reads an extra info out of a transmit slot, as a backend does.
    pub fn decode_tx(slot: [u8; TX_SLOT]) -> Self {
        let [kind, flags, a, b, c, d, e, f, ..] = slot;
        Self {
            kind,
            flags,
            data: [a, b, c, d, e, f],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::size_of;

    #[test]
    fn sizes_are_those_of_the_slots() {
        assert_eq!(size_of::<TxRequest>(), TX_SLOT);
        assert_eq!(size_of::<TxResponse>(), 4);
        assert_eq!(size_of::<RxRequest>(), RX_SLOT);
        assert_eq!(size_of::<RxResponse>(), RX_SLOT);
        assert_eq!(size_of::<ExtraInfo>(), RX_SLOT);
    }

    #[test]
    fn requests_and_responses_come_back() {
        let tx = TxRequest {
            gref: 0x0102_0304,
            offset: 0x0506,
            flags: 0x0708,
            id: 0x090a,
            size: 0x0b0c,
        };
        assert_eq!(tx.encode(), [4, 3, 2, 1, 6, 5, 8, 7, 10, 9, 12, 11]);
        assert_eq!(TxRequest::decode(tx.encode()), tx);

        let rsp = TxResponse {
            id: 0xfffe,
            status: -2,
        };
        assert_eq!(TxResponse::decode(rsp.encode()), rsp);

        let rx = RxRequest {
            id: 0x0102,
            pad: 0,
            gref: 0xa0b0_c0d0,
        };
        assert_eq!(rx.encode(), [2, 1, 0, 0, 0xd0, 0xc0, 0xb0, 0xa0]);
        assert_eq!(RxRequest::decode(rx.encode()), rx);

        let rsp = RxResponse {
            id: 1,
            offset: 2,
            flags: 3,
            status: -1,
        };
        assert_eq!(rsp.encode(), [1, 0, 2, 0, 3, 0, 0xff, 0xff]);
        assert_eq!(RxResponse::decode(rsp.encode()), rsp);
    }

    #[test]
    fn extra_info_fits_both_rings() {
        let extra = ExtraInfo::gso(GsoType::TcpV6, 1448);
        assert_eq!(extra.encode_rx(), [1, 0, 0xa8, 5, 2, 0, 0, 0]);
        assert_eq!(ExtraInfo::decode_rx(extra.encode_rx()), extra);
        assert_eq!(ExtraInfo::decode_tx(extra.encode_tx()), extra);
        assert_eq!(extra.gso_fields(), (1448, 2));
        let extra = ExtraInfo::headroom(256);
        assert_eq!(extra.encode_rx(), [5, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(extra.headroom_field(), 256);
    }
}
