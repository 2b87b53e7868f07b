// SPDX-License-Identifier: GPL-2.0

//! The results as a picture: how fast Oxen is by the C frontends, and the VM exits of both.

use crate::report::Outcome;
use crate::stats::{short, Spread};
use anyhow::{anyhow, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const BETTER: RGBColor = RGBColor(46, 125, 50);
const WORSE: RGBColor = RGBColor(198, 60, 40);
const OXEN: RGBColor = RGBColor(33, 97, 170);
const C: RGBColor = RGBColor(150, 150, 150);
const FONT: &str = "sans-serif";
/// Height of a workload's row, of what is above the rows and below them.
const ROW: i32 = 40;
const TOP: i32 = 46;
const BOTTOM: i32 = 34;
/// Width of a panel, and of the names at its left.
const WIDTH: i32 = 560;
const NAMES: i32 = 120;
const RIGHT: i32 = 70;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The picture as SVG.
///
/// # Errors
///
/// When it cannot be drawn.
pub(crate) fn draw(outcomes: &[Outcome]) -> Result<String> {
    let rows = i32::try_from(outcomes.len())?;
    let size = (
        u32::try_from(2 * WIDTH)?,
        u32::try_from(TOP + rows.max(1) * ROW + BOTTOM)?,
    );
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(unusual)?;
        let (left, right) = area.split_horizontally(WIDTH);
        ratios(&left, outcomes)?;
        exits(&right, outcomes)?;
        area.present().map_err(unusual)?;
    }
    Ok(svg)
}

fn unusual(why: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the picture: {why}")
}

/// A logarithmic axis across a panel.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// From a power of ten to one, around these numbers.
    fn around(numbers: impl Iterator<Item = f64>) -> Axis {
        let (mut low, mut high) = (0f64, 0f64);
        for number in numbers.filter(|number| *number > 0.0) {
            low = low.min(number.log10().floor());
            high = high.max(number.log10().ceil());
        }
        Axis {
            low,
            high: if high > low { high } else { low + 1.0 },
        }
    }

    fn at(&self, number: f64) -> i32 {
        let log = number
            .max(f64::MIN_POSITIVE)
            .log10()
            .clamp(self.low, self.high);
        let part = (log - self.low) / (self.high - self.low);
        // CAST: Within the panel.
        NAMES + (part * f64::from(WIDTH - NAMES - RIGHT)) as i32
    }

    /// Its title, a line for each power of ten, and the workloads' names.
    fn draw(&self, area: &Area<'_>, title: &str, outcomes: &[Outcome]) -> Result<()> {
        text(area, title, (NAMES, 16), HPos::Left, 15)?;
        let bottom = row(outcomes.len())?;
        let mut power = self.low;
        while power <= self.high {
            let number = 10f64.powf(power);
            let x = self.at(number);
            let style = BLACK.mix(if power == 0.0 { 0.7 } else { 0.12 });
            let line = PathElement::new(vec![(x, TOP - 6), (x, bottom)], style);
            area.draw(&line).map_err(unusual)?;
            text(
                area,
                &format!("{number}"),
                (x, bottom + 14),
                HPos::Center,
                12,
            )?;
            power += 1.0;
        }
        for (n, outcome) in outcomes.iter().enumerate() {
            let at = (NAMES - 8, row(n)? + ROW / 2 - 4);
            text(area, outcome.workload, at, HPos::Right, 13)?;
        }
        Ok(())
    }
}

/// Upper edge of row `n`.
fn row(n: usize) -> Result<i32> {
    Ok(TOP + i32::try_from(n)? * ROW)
}

fn text(area: &Area<'_>, text: &str, at: (i32, i32), side: HPos, size: i32) -> Result<()> {
    let style = (FONT, size)
        .into_text_style(area)
        .pos(Pos::new(side, VPos::Center));
    area.draw_text(text, &style, at).map_err(unusual)
}

fn bar(area: &Area<'_>, from: i32, to: i32, top: i32, height: i32, colour: RGBColor) -> Result<()> {
    let corners = [
        (from.min(to), top),
        (from.max(to).max(from + 1), top + height),
    ];
    let bar = Rectangle::new(corners, colour.filled());
    area.draw(&bar).map_err(unusual)
}

fn ratios(area: &Area<'_>, outcomes: &[Outcome]) -> Result<()> {
    let all = outcomes.iter().filter_map(|outcome| outcome.ratio);
    let axis = Axis::around(all.flat_map(|ratio| [ratio.min, ratio.max]));
    axis.draw(
        area,
        "Oxen by the C frontends: median of pairs, spread",
        outcomes,
    )?;
    for (n, outcome) in outcomes.iter().enumerate() {
        let Some(Spread { median, min, max }) = outcome.ratio else {
            continue;
        };
        let good = (median >= 1.0) != outcome.fewer;
        let top = row(n)? + 8;
        bar(
            area,
            axis.at(1.0),
            axis.at(median),
            top,
            ROW - 24,
            if good { BETTER } else { WORSE },
        )?;
        let middle = top + (ROW - 24) / 2;
        let line = PathElement::new(vec![(axis.at(min), middle), (axis.at(max), middle)], BLACK);
        area.draw(&line).map_err(unusual)?;
        let note = if outcome.fewer {
            " (fewer is better)"
        } else {
            ""
        };
        let at = (axis.at(max.max(1.0)) + 6, middle);
        text(
            area,
            &format!("{}{note}", short(median)),
            at,
            HPos::Left,
            12,
        )?;
    }
    Ok(())
}

fn exits(area: &Area<'_>, outcomes: &[Outcome]) -> Result<()> {
    let all = outcomes.iter().flat_map(Outcome::halves);
    let axis = Axis::around(all.filter_map(|(_, half)| Some(half.counts.as_ref()?.exits)));
    axis.draw(area, "VM exits per unit of work:", outcomes)?;
    for (n, (name, colour)) in [("Oxen", OXEN), ("C", C)].into_iter().enumerate() {
        let x = NAMES + 200 + i32::try_from(n)? * 60;
        bar(area, x, x + 10, 11, 10, colour)?;
        text(area, name, (x + 15, 16), HPos::Left, 13)?;
    }
    for (n, outcome) in outcomes.iter().enumerate() {
        let mut top = row(n)? + 4;
        for ((_, half), colour) in outcome.halves().into_iter().zip([OXEN, C]) {
            if let Some(counts) = &half.counts {
                bar(area, NAMES, axis.at(counts.exits), top, 12, colour)?;
                let at = (axis.at(counts.exits) + 6, top + 6);
                text(area, &short(counts.exits), at, HPos::Left, 11)?;
            }
            top += 14;
        }
    }
    Ok(())
}
