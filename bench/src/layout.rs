// SPDX-License-Identifier: GPL-2.0

//! What all tables look like.

use comfy_table::{presets, CellAlignment, Table};

/// An empty table; numbers are at the right.
pub(crate) fn new(markdown: bool, heads: &[&str], numbers_from: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(if markdown {
        presets::ASCII_MARKDOWN
    } else {
        presets::UTF8_FULL_CONDENSED
    });
    table.set_header(heads);
    for column in table.column_iter_mut().skip(numbers_from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
