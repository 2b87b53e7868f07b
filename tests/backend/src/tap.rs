// SPDX-License-Identifier: GPL-2.0

//! A TAP device of dom0: the other end of a guest's interface. Packets come and go with a `struct virtio_net_hdr`
//! (Linux: `linux/virtio_net.h`, `linux/if_tun.h`), which tells of blank checksums and segments.

use abi::net::gso::GsoType;
use anyhow::{ensure, Context, Result};
use backend::net::{Packet, MAX_PACKET};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// `struct virtio_net_hdr`: flags, kind, length of the headers, of a segment, begin and place of the checksum.
const HEADER: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`
const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV4`, `VIRTIO_NET_HDR_GSO_TCPV6`
const TCPV4: u8 = 1;
const TCPV6: u8 = 4;

/// `TUNSETIFF`, `TUNSETOFFLOAD`
const SET_INTERFACE: libc::c_ulong = 0x4004_54ca;
const SET_OFFLOAD: libc::c_ulong = 0x4004_54d0;

/// Bytes of an Ethernet, and at least of an IPv4 and an IPv6 header.
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;

/// An open TAP device. It goes away with the value.
pub(crate) struct Tap(File);

impl Tap {
    /// Makes the device.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(crate) fn new(name: &str) -> Result<Self> {
        ensure!(name.len() < 16, "{name:?} is too long for an interface");
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .context("/dev/net/tun")?;
        // `struct ifreq`: a name and, here, flags.
        let mut request = [0u8; 40];
        request[..name.len()].copy_from_slice(name.as_bytes());
        let flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as u16;
        request[16..18].copy_from_slice(&flags.to_ne_bytes());
        // SAFETY: The request is as long as the kernel reads and writes, and outlives the call.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), SET_INTERFACE, request.as_mut_ptr()) };
        if done < 0 {
            return Err(std::io::Error::last_os_error()).with_context(|| format!("TAP {name}"));
        }
        Ok(Self(file))
    }

    /// Which packets may come with a blank checksum or as several.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub(crate) fn offload(&self, checksum: bool, v4: bool, v6: bool) -> Result<()> {
        let mut flags: libc::c_uint = 0;
        if checksum {
            flags |= libc::TUN_F_CSUM;
            flags |= if v4 { libc::TUN_F_TSO4 } else { 0 };
            flags |= if v6 { libc::TUN_F_TSO6 } else { 0 };
        }
        // SAFETY: This request takes a number.
        let done =
            unsafe { libc::ioctl(self.0.as_raw_fd(), SET_OFFLOAD, libc::c_ulong::from(flags)) };
        if done < 0 {
            return Err(std::io::Error::last_os_error()).context("TUNSETOFFLOAD");
        }
        Ok(())
    }

    /// Becomes readable when there is a packet.
    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Takes a packet, if there is one.
    ///
    /// # Errors
    ///
    /// When the device is gone.
    pub(crate) fn take(&mut self) -> Result<Option<Packet>> {
        let mut frame = vec![0; HEADER + MAX_PACKET];
        let length = match self.0.read(&mut frame) {
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(None),
            length => length.context("TAP")?,
        };
        ensure!(length > HEADER, "a packet of {length} bytes");
        frame.truncate(length);
        let data = frame.split_off(HEADER);
        let kind = match frame[1] & 0x7f {
            TCPV4 => Some(GsoType::TcpV4),
            TCPV6 => Some(GsoType::TcpV6),
            _ => None,
        };
        Ok(Some(Packet {
            data,
            blank: frame[0] & NEEDS_CSUM != 0,
            gso: kind.map(|kind| (kind, u16::from_ne_bytes([frame[4], frame[5]]))),
            hash: None,
        }))
    }

    /// Passes a packet on. One that the kernel does not like, or has no room for, is lost. Tells whether it was.
    pub(crate) fn put(&mut self, packet: &Packet) -> bool {
        let mut frame = header(packet).to_vec();
        frame.extend(&packet.data);
        self.0.write(&frame).is_ok()
    }
}

/// What is said about a packet that the guest has sent.
fn header(packet: &Packet) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let Some((start, offset)) = checksum_place(&packet.data).filter(|_| packet.blank) else {
        return header;
    };
    let mut put = |at: usize, number: u16| {
        header[at..at + 2].copy_from_slice(&number.to_ne_bytes());
    };
    put(6, start);
    put(8, offset);
    if let Some((_, size)) = packet.gso {
        let words = packet
            .data
            .get(usize::from(start) + 12)
            .map_or(5, |byte| u16::from(byte >> 4));
        put(2, start + words * 4);
        put(4, size);
    }
    header[0] = NEEDS_CSUM;
    header[1] = match packet.gso {
        Some((GsoType::TcpV4, _)) => TCPV4,
        Some((GsoType::TcpV6, _)) => TCPV6,
        None => 0,
    };
    header
}

/// Where a transport's data begins in a packet, and where in there its checksum is.
fn checksum_place(data: &[u8]) -> Option<(u16, u16)> {
    let (protocol, start) = match data.get(12..14)? {
        [0x08, 0x00] => {
            let words = usize::from(data.get(ETHERNET)? & 0xf);
            (*data.get(ETHERNET + 9)?, ETHERNET + (words * 4).max(IPV4))
        }
        [0x86, 0xdd] => (*data.get(ETHERNET + 6)?, ETHERNET + IPV6),
        _ => return None,
    };
    let offset = match protocol {
        6 => 16,
        17 => 6,
        _ => return None,
    };
    (start + usize::from(offset) + 2 <= data.len()).then_some((start as u16, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_where_the_protocol_has_it() {
        let mut packet = vec![0; 100];
        packet[12..14].copy_from_slice(&[0x08, 0x00]);
        packet[14] = 0x46;
        packet[23] = 6;
        assert_eq!(checksum_place(&packet), Some((38, 16)));
        packet[23] = 17;
        assert_eq!(checksum_place(&packet), Some((38, 6)));
        assert_eq!(checksum_place(&packet[..45]), None);
        packet[23] = 1;
        assert_eq!(checksum_place(&packet), None);
        packet[12..14].copy_from_slice(&[0x86, 0xdd]);
        packet[20] = 6;
        assert_eq!(checksum_place(&packet), Some((54, 16)));
        packet[12..14].copy_from_slice(&[0x08, 0x06]);
        assert_eq!(checksum_place(&packet), None);
        assert_eq!(checksum_place(&packet[..13]), None);
    }
}
