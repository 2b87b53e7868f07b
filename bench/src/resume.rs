// SPDX-License-Identifier: GPL-2.0

//! How long a guest that was restored takes until it answers.

use crate::guests::{Arena, Side};
use crate::sample::Sample;
use anyhow::{bail, ensure, Context, Result};
use companion::{BRIEF, LONG};
use serde_json::json;

/// Seconds that saving and restoring take, about.
pub(crate) const SECONDS: u32 = 60;

/// Where dom0 keeps the saved guest.
const SAVED: &str = "/var/lib/companion/bench.save";
/// What dom0's ping has printed.
const ANSWERS: &str = "/run/companion/bench.ping";

/// Saves that guest while dom0 asks it twenty times a second, and restores it as a paused domain; the time counts from where
/// that goes on. The copying of its memory, which is the toolstack's, is not in it.
///
/// # Errors
///
/// When it cannot be saved or restored, or does not answer then.
pub(crate) fn measure(arena: &mut Arena<'_>, side: Side) -> Result<Sample> {
    let name = side.guest();
    let guest = arena.only(side)?;
    let (address, bridge) = (guest.address(), guest.bridge());
    // The session ends with the device model.
    guest.domain.close();
    let dom0 = arena.machine.dom0();
    // Dom0 keeps its hardware address: asking for it again goes by whole seconds.
    dom0.sh(&format!(
        "ping -c 1 -W 20 {address} >/dev/null; mac=$(ip neigh show {address} dev {bridge} | awk '{{ print $3 }}'); \
         ip neigh replace {address} lladdr $mac dev {bridge} nud permanent"
    ))?;
    let ping = dom0.spawn_sh(&format!(
        "exec ping -D -n -i 0.05 {address} >{ANSWERS} 2>/dev/null"
    ))?;
    dom0.until(&format!("[ $(grep -c ttl= {ANSWERS}) -gt 20 ]"), BRIEF)?;
    dom0.sh_for(&format!("xl save {name} {SAVED}"), LONG)?;
    dom0.sh_for(&format!("xl restore -p {SAVED} && rm {SAVED}"), LONG)?;
    let answers = format!("$(grep -c ttl= {ANSWERS})");
    let text = dom0.sh(&format!(
        "echo {answers}; date +%s.%N; xl unpause {name}; date +%s.%N"
    ))?;
    let mut words = text.split_whitespace();
    let before: usize = words.next().context("a count")?.parse()?;
    let times = words.map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [asked, unpaused] = times[..] else {
        bail!("two times, not {text}");
    };
    dom0.until(&format!("[ {answers} -gt {before} ]"), BRIEF)
        .with_context(|| format!("{name} does not answer after it was restored"))?;
    ping.stop()?;
    let first = first_after(&dom0.sh(&format!("grep ttl= {ANSWERS}"))?, before)?;
    dom0.sh(&format!("ip neigh del {address} dev {bridge}"))?;
    arena.restored(side)?;
    ensure!(
        first >= asked,
        "it answered before it went on: {first} < {asked}"
    );
    Ok(Sample {
        rate: first - asked,
        detail: json!({ "unpause_s": unpaused - asked }),
    })
}

/// When the first answer after `before` others came, by the times that `ping -D` prints.
fn first_after(answers: &str, before: usize) -> Result<f64> {
    let line = answers.lines().nth(before).context("no answer came")?;
    line.trim_start_matches('[')
        .split(']')
        .next()
        .and_then(|time| time.parse().ok())
        .with_context(|| format!("there is no time in {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_that_ends_the_pause_is_found() {
        let text = "[10.5] 64 bytes from 10.77.0.2: icmp_seq=1 ttl=64 time=0.9 ms\n\
                    [12.25] 64 bytes from 10.77.0.2: icmp_seq=9 ttl=64 time=0.9 ms\n";
        assert_eq!(first_after(text, 1).expect("the second"), 12.25);
        assert!(first_after(text, 2).is_err());
        assert!(first_after("64 bytes\n", 0).is_err());
    }
}
