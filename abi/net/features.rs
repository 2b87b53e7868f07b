// SPDX-License-Identifier: GPL-2.0

//! What a backend offers in its directory of the store, and what is made of it.
//!
//! Every value there is the backend's or the toolstack's text. A flag is a number, set if it is not zero. What is
//! missing or malformed counts as not offered: the device then works with less.

use crate::xenstore::value;

/// Names of keys, as both ends spell them.
pub mod keys {
    /// Hardware address, in the frontend's or the backend's directory.
    pub const MAC: &str = "mac";
    /// MTU, in the frontend's directory. Without it, 1500 is meant.
    pub const MTU: &str = "mtu";
    /// Backend: received packets are copied into our pages. Nothing else is supported by anyone today.
    pub const RX_COPY: &str = "feature-rx-copy";
    /// Frontend: asks for [`RX_COPY`].
    pub const REQUEST_RX_COPY: &str = "request-rx-copy";
    /// Frontend: the backend is notified of new receive requests, so it may queue packets.
    pub const RX_NOTIFY: &str = "feature-rx-notify";
    /// A packet may have several slots. Each end says so about what it can receive.
    pub const SG: &str = "feature-sg";
    /// TCPv4 packets to be segmented may be sent to the end that says so.
    pub const GSO_TCPV4: &str = "feature-gso-tcpv4";
    /// TCPv6 packets to be segmented may be sent to the end that says so.
    pub const GSO_TCPV6: &str = "feature-gso-tcpv6";
    /// IPv4 checksums must not be left blank for the end that says so.
    pub const NO_CSUM_OFFLOAD: &str = "feature-no-csum-offload";
    /// IPv6 checksums may be left blank for the end that says so.
    pub const IPV6_CSUM_OFFLOAD: &str = "feature-ipv6-csum-offload";
    /// Backend: takes one event channel for each direction.
    pub const SPLIT_EVENT_CHANNELS: &str = "feature-split-event-channels";
    /// Backend: most queues that it serves.
    pub const MAX_QUEUES: &str = "multi-queue-max-queues";
    /// Frontend: queues that it has.
    pub const NUM_QUEUES: &str = "multi-queue-num-queues";
    /// Frontend: grant of the transmit ring.
    pub const TX_RING_REF: &str = "tx-ring-ref";
    /// Frontend: grant of the receive ring.
    pub const RX_RING_REF: &str = "rx-ring-ref";
    /// Frontend: port for both directions.
    pub const EVENT_CHANNEL: &str = "event-channel";
    /// Frontend: port for transmission.
    pub const EVENT_CHANNEL_TX: &str = "event-channel-tx";
    /// Frontend: port for reception.
    pub const EVENT_CHANNEL_RX: &str = "event-channel-rx";
    /// Backend: takes requests about hashes over a control ring.
    pub const CTRL_RING: &str = "feature-ctrl-ring";
    /// Frontend: grant of the control ring.
    pub const CTRL_RING_REF: &str = "ctrl-ring-ref";
    /// Frontend: port of the control ring.
    pub const EVENT_CHANNEL_CTRL: &str = "event-channel-ctrl";
    /// Backend: leaves room before the data of received packets when it is asked to.
    pub const FEATURE_XDP_HEADROOM: &str = "feature-xdp-headroom";
    /// Frontend: bytes of that room. 0 without.
    pub const XDP_HEADROOM: &str = "xdp-headroom";
    /// Backend: passes on the groups that it was told of, and no others, if it is asked to when it connects.
    pub const MULTICAST: &str = "feature-multicast-control";
    /// Backend: it can be asked at any time.
    pub const DYNAMIC_MULTICAST: &str = "feature-dynamic-multicast-control";
    /// Frontend: asks for it.
    pub const REQUEST_MULTICAST: &str = "request-multicast-control";
    /// Frontend: 0 if the toolstack says that the backend is not to be trusted.
    pub const TRUSTED: &str = "trusted";
}

/// Tells whether a key of the frontend's directory is one that frontends write, of this driver or another.
pub fn is_frontend_key(key: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 4] = [b"event-channel", b"feature-", b"queue-", b"request-"];
    const NAMES: [&[u8]; 5] = [
        b"tx-ring-ref",
        b"rx-ring-ref",
        b"ctrl-ring-ref",
        b"multi-queue-num-queues",
        keys::XDP_HEADROOM.as_bytes(),
    ];
    NAMES.contains(&key) || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// What a backend offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// It copies received packets into our pages.
    pub rx_copy: bool,
    /// It takes packets of several slots.
    pub sg: bool,
    /// It takes IPv4 packets with blank checksums.
    pub csum_v4: bool,
    /// It takes IPv6 packets with blank checksums.
    pub csum_v6: bool,
    /// It takes TCPv4 packets to be segmented.
    pub gso_v4: bool,
    /// It takes TCPv6 packets to be segmented.
    pub gso_v6: bool,
    /// It has a control ring.
    pub control_ring: bool,
    /// It leaves room before the data.
    pub headroom: bool,
    /// It can be asked at any time to pass on certain groups only.
    pub multicast: bool,
    /// Most queues that it serves, at least one.
    pub max_queues: u32,
}

impl Offer {
    /// Reads the offer; `read` applies the parser that it gets to the value of a key in the backend's directory, if it
    /// is there.
    pub fn read(
        mut read: impl FnMut(&'static str, fn(&[u8]) -> Option<u32>) -> Option<u32>,
    ) -> Self {
        let mut flag = |key| read(key, number).is_some_and(|n| n != 0);
        let sg = flag(keys::SG);
        let csum_v4 = !flag(keys::NO_CSUM_OFFLOAD);
        let csum_v6 = flag(keys::IPV6_CSUM_OFFLOAD);
        Self {
            rx_copy: flag(keys::RX_COPY),
            sg,
            csum_v4,
            csum_v6,
            // A packet to be segmented has a blank checksum and rarely fits a page.
            gso_v4: sg && csum_v4 && flag(keys::GSO_TCPV4),
            gso_v6: sg && csum_v6 && flag(keys::GSO_TCPV6),
            control_ring: flag(keys::CTRL_RING),
            headroom: flag(keys::FEATURE_XDP_HEADROOM),
            // One that is asked only once would need another connection whenever somebody wants all there is.
            multicast: flag(keys::MULTICAST) && flag(keys::DYNAMIC_MULTICAST),
            max_queues: read(keys::MAX_QUEUES, number).unwrap_or(1).max(1),
        }
    }
}

/// Smallest MTU: what IPv4 asks for.
const MTU_MIN: u32 = 68;

/// Largest MTU: with its header, and a VLAN's, the packet's size goes into 16 bits.
pub const MTU_MAX: u32 = 65535 - 18;

/// Reads an MTU. `None` if it is not a number, or out of range.
pub fn mtu(text: &[u8]) -> Option<u32> {
    number(text).filter(|mtu| (MTU_MIN..=MTU_MAX).contains(mtu))
}

/// Reads a flag: a decimal number, set if it is not zero. `None` if it is not a number.
pub fn flag(text: &[u8]) -> Option<bool> {
    number(text).map(|n| n != 0)
}

/// Reads a decimal number. `None` if it is anything else.
pub fn number(text: &[u8]) -> Option<u32> {
    value::parse_u32(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_toolstack_are_left_alone() {
        for key in [
            keys::TX_RING_REF,
            keys::RX_RING_REF,
            keys::EVENT_CHANNEL,
            keys::EVENT_CHANNEL_TX,
            keys::EVENT_CHANNEL_RX,
            keys::CTRL_RING_REF,
            keys::EVENT_CHANNEL_CTRL,
            keys::NUM_QUEUES,
            keys::REQUEST_RX_COPY,
            keys::RX_NOTIFY,
            keys::SG,
            keys::GSO_TCPV4,
            keys::IPV6_CSUM_OFFLOAD,
            "queue-3",
            keys::XDP_HEADROOM,
            keys::REQUEST_MULTICAST,
        ] {
            assert!(is_frontend_key(key.as_bytes()), "{key}");
        }
        for key in [
            "backend",
            "backend-id",
            "state",
            "handle",
            "mac",
            "mtu",
            "trusted",
            "",
        ] {
            assert!(!is_frontend_key(key.as_bytes()), "{key}");
        }
    }

    fn offer(store: &[(&str, &'static str)]) -> Offer {
        Offer::read(|key, parse| {
            let (_, value) = store.iter().find(|(k, _)| *k == key)?;
            parse(value.as_bytes())
        })
    }

    #[test]
    fn numbers_are_decimal_and_nothing_else() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"4294967295"), Some(u32::MAX));
        for text in [
            &b""[..],
            b" ",
            b" 1",
            b"1\n",
            b"-1",
            b"+1",
            b"1x",
            b"1 2",
            b"0x10",
            b"4294967296",
            b"99999999999999999999",
            b"1\0",
        ] {
            assert_eq!(number(text), None, "{text:?}");
        }
        assert_eq!(
            (flag(b"1"), flag(b"2"), flag(b"0"), flag(b"y")),
            (Some(true), Some(true), Some(false), None)
        );
    }

    #[test]
    fn an_mtu_is_one_that_an_interface_can_have() {
        assert_eq!(
            [&b"68"[..], b"1500", b"65517"].map(mtu),
            [Some(68), Some(1500), Some(65517)]
        );
        for text in [&b"67"[..], b"65518", b"0", b"-1", b"1500 ", b"", b"9000x"] {
            assert_eq!(mtu(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_empty_directory_offers_little() {
        assert_eq!(
            offer(&[]),
            Offer {
                csum_v4: true,
                max_queues: 1,
                ..Offer::default()
            }
        );
    }

    #[test]
    fn what_netback_writes() {
        let offer = offer(&[
            ("feature-sg", "1"),
            ("feature-gso-tcpv4", "1"),
            ("feature-gso-tcpv6", "1"),
            ("feature-ipv6-csum-offload", "1"),
            ("feature-rx-copy", "1"),
            ("feature-split-event-channels", "1"),
            ("multi-queue-max-queues", "8"),
            ("feature-ctrl-ring", "1"),
            ("feature-xdp-headroom", "1"),
            ("feature-multicast-control", "1"),
            ("feature-dynamic-multicast-control", "1"),
        ]);
        assert_eq!(
            offer,
            Offer {
                rx_copy: true,
                sg: true,
                csum_v4: true,
                csum_v6: true,
                gso_v4: true,
                gso_v6: true,
                control_ring: true,
                headroom: true,
                multicast: true,
                max_queues: 8
            }
        );
    }

    #[test]
    fn segmentation_needs_gather_and_checksums() {
        assert!(!offer(&[("feature-gso-tcpv4", "1")]).gso_v4);
        assert!(
            !offer(&[
                ("feature-gso-tcpv4", "1"),
                ("feature-sg", "1"),
                ("feature-no-csum-offload", "1")
            ])
            .gso_v4
        );
        assert!(!offer(&[("feature-gso-tcpv6", "1"), ("feature-sg", "1")]).gso_v6);
    }

    #[test]
    fn groups_are_for_backends_that_can_be_asked_at_any_time() {
        for (keys, multicast) in [
            (&["feature-multicast-control"][..], false),
            (&["feature-dynamic-multicast-control"], false),
            (
                &[
                    "feature-multicast-control",
                    "feature-dynamic-multicast-control",
                ],
                true,
            ),
        ] {
            let store: Vec<_> = keys.iter().map(|key| (*key, "1")).collect();
            assert_eq!(offer(&store).multicast, multicast, "{keys:?}");
        }
    }

    #[test]
    fn malformed_values_are_not_offers() {
        let offer = offer(&[
            ("feature-sg", "yes"),
            ("feature-rx-copy", ""),
            ("multi-queue-max-queues", "-1"),
            ("feature-no-csum-offload", "1x"),
        ]);
        assert_eq!(
            (offer.sg, offer.rx_copy, offer.max_queues, offer.csum_v4),
            (false, false, 1, true)
        );
        assert_eq!(
            self::offer(&[("multi-queue-max-queues", "0")]).max_queues,
            1
        );
    }
}
