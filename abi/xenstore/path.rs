// SPDX-License-Identifier: GPL-2.0

//! Paths in the xenstore.

use super::{
    value::{parse_u32, BadNumber},
    wire::{ABSOLUTE_PATH_MAX, RELATIVE_PATH_MAX},
};

/// Longest name of a device type or device that is looked at; far above what any protocol uses.
pub const NAME_MAX: usize = 64;

/// Tells whether the server would take `path` as the name of a node: its characters, no empty parts, not too long.
pub fn is_valid(path: &[u8]) -> bool {
    let limit = match path {
        [b'/'] => return true,
        [b'/', ..] => ABSOLUTE_PATH_MAX,
        _ => RELATIVE_PATH_MAX,
    };
    let parts = path.strip_prefix(b"/").unwrap_or(path);
    path.len() <= limit && parts.split(|byte| *byte == b'/').all(is_name)
}

/// Tells whether `name` is one part of a path.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'@'))
}

/// A device of ours in the store: `device/<kind>/<name>`, and what is below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePath<'a> {
    /// Its type, as `vif`.
    pub kind: &'a [u8],
    /// Its name among its type, if the path goes that far.
    pub name: Option<&'a [u8]>,
    /// The key below, if the path goes that far.
    pub key: Option<&'a [u8]>,
}

impl<'a> DevicePath<'a> {
    /// Takes the path of an event of the watch on `device`. `None` for `device` itself and for whatever is not below
    /// it or badly named.
    pub fn parse(path: &'a [u8]) -> Option<Self> {
        let below = path.strip_prefix(b"device/")?;
        let mut parts = below.splitn(3, |byte| *byte == b'/');
        let kind = parts.next().filter(|kind| is_device_name(kind))?;
        let name = parts.next();
        if name.is_some_and(|name| !is_device_name(name)) {
            return None;
        }
        Some(Self {
            kind,
            name,
            key: parts.next(),
        })
    }
}

/// Tells whether `name` can be the type or the name of a device.
pub fn is_device_name(name: &[u8]) -> bool {
    is_name(name) && name.len() <= NAME_MAX
}

/// Reads the name of a device whose protocol numbers its devices, as `51712` for a disk.
///
/// # Errors
///
/// [`BadNumber`] when the name is not a number of 32 bits.
pub fn device_number(name: &[u8]) -> Result<u32, BadNumber> {
    parse_u32(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    #[test]
    fn paths_that_the_server_takes() {
        for path in [
            "/",
            "/local/domain/0",
            "device/vif/0",
            "a",
            "A-z_0@",
            "@releaseDomain",
        ] {
            assert!(is_valid(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn paths_that_the_server_refuses() {
        for path in [
            "", "//", "/a/", "a/", "a//b", "/a//b", "a b", "a.b", "a\0", "\u{e9}", "a\n",
        ] {
            assert!(!is_valid(path.as_bytes()), "{path:?}");
        }
    }

    #[test]
    fn lengths_are_limited() {
        let relative = vec![b'a'; 2048];
        assert!(is_valid(&relative));
        assert!(!is_valid(&vec![b'a'; 2049]));
        let mut absolute: Vec<u8> = vec![b'a'; 3072];
        absolute[0] = b'/';
        assert!(is_valid(&absolute));
        absolute.push(b'a');
        assert!(!is_valid(&absolute));
        assert!(is_device_name(&[b'a'; NAME_MAX]));
        assert!(!is_device_name(&[b'a'; NAME_MAX + 1]));
    }

    #[test]
    fn device_paths_come_apart() {
        let path = DevicePath::parse(b"device/vif/0/queue-0/tx-ring-ref").unwrap();
        assert_eq!(path.kind, b"vif");
        assert_eq!(path.name, Some(&b"0"[..]));
        assert_eq!(path.key, Some(&b"queue-0/tx-ring-ref"[..]));
        let path = DevicePath::parse(b"device/vbd/51712").unwrap();
        assert_eq!((path.name, path.key), (Some(&b"51712"[..]), None));
        let path = DevicePath::parse(b"device/vbd").unwrap();
        assert_eq!((path.name, path.key), (None, None));
        assert_eq!(device_number(b"51712"), Ok(51712));
        assert!(device_number(b"").is_err());
    }

    #[test]
    fn other_paths_are_no_devices() {
        for path in [
            &b""[..],
            b"device",
            b"device/",
            b"device//0",
            b"device/vif/",
            b"device/vif//state",
            b"/device/vif/0",
            b"backend/vif/0",
            b"device/v f/0",
            b"device/vif/\xff",
            b"device/../0",
        ] {
            assert_eq!(DevicePath::parse(path), None, "{path:?}");
        }
    }
}
