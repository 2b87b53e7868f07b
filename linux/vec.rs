// SPDX-License-Identifier: GPL-2.0

//! Vectors made in one go.

use kernel::prelude::*;

/// A vector of `count` values. May sleep.
///
/// # Errors
///
/// `ENOMEM`.
pub fn filled<T>(count: usize, mut value: impl FnMut() -> T) -> Result<KVec<T>> {
    let mut all = KVec::with_capacity(count, GFP_KERNEL)?;
    for _ in 0..count {
        all.push_within_capacity(value()).map_err(|_| ENOMEM)?;
    }
    Ok(all)
}

/// A copy of the bytes of `parts`, one after the other. May sleep.
///
/// # Errors
///
/// `ENOMEM`.
pub fn joined(parts: &[&[u8]]) -> Result<KVec<u8>> {
    let count = parts
        .iter()
        .fold(0, |count: usize, part| count.saturating_add(part.len()));
    let mut all = KVec::with_capacity(count, GFP_KERNEL)?;
    for part in parts {
        all.extend_from_slice(part, GFP_KERNEL)?;
    }
    Ok(all)
}

#[kunit_tests(oxen_vec)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_asked_for() -> Result {
        let mut next = 0;
        let counted = filled(3, || {
            next += 1;
            next
        })?;
        assert_eq!(&counted[..], &[1, 2, 3]);
        assert!(filled(0, || 1)?.is_empty());
        Ok(())
    }

    #[test]
    fn parts_keep_their_order() -> Result {
        assert_eq!(&joined(&[b"ab", b"", b"c"])?[..], b"abc");
        assert!(joined(&[])?.is_empty());
        Ok(())
    }
}
