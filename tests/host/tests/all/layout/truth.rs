// SPDX-License-Identifier: GPL-2.0

//! The table of what Xen's headers say, and what of it was compared.

use host_tests::xen::layout;
use std::collections::{BTreeMap, BTreeSet};

/// What was compared, to find out what was not.
pub(super) struct Truth {
    pub(super) table: BTreeMap<&'static str, u64>,
    pub(super) used: BTreeSet<&'static str>,
}

impl Truth {
    pub(super) fn new() -> Self {
        Self {
            table: layout(),
            used: BTreeSet::new(),
        }
    }

    /// What the headers say, for a comparison that is made in another way.
    #[track_caller]
    pub(super) fn take(&mut self, name: &'static str) -> u64 {
        self.used.insert(name);
        *self
            .table
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in the headers"))
    }

    #[track_caller]
    pub(super) fn is(&mut self, name: &'static str, ours: impl TryInto<i64>) {
        let ours = ours.try_into().ok().unwrap();
        assert_eq!(ours, self.take(name) as i64, "{name}: ours, then Xen's");
    }
}

/// Compares the size and every named field of a structure.
macro_rules! structure {
    ($truth:ident, $ours:ty, $theirs:literal $(, $field:ident = $name:literal)*) => {
        $truth.is($theirs, size_of::<$ours>());
        $($truth.is(concat!($theirs, ".", $name), offset_of!($ours, $field));)*
    };
}
pub(super) use structure;
