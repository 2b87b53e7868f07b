// SPDX-License-Identifier: GPL-2.0

//! Layouts, properties and hostile peers, one file per subject.

mod layout;
