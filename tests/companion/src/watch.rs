// SPDX-License-Identifier: GPL-2.0

//! The end of a guest: noticed when it comes, and told from one that the emulator is to blame for.

use crate::domain::Domain;
use crate::link::{Job, JobEvent, Link};
use anyhow::Result;
use std::thread;
use std::time::Duration;

/// How long the watch sleeps at a time; it wakes up for what it watches.
const LONG_SLEEP: Duration = Duration::from_secs(3600);

/// How long a guest at its end is left to say why.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Looks out, in dom0, for the first sign that a guest has ended.
pub(crate) struct Watch(Job);

impl Watch {
    /// Starts to look. It costs dom0 nothing until there is something to see.
    pub(crate) fn start(dom0: &Domain, name: &str) -> Result<Watch> {
        // xl's own log of the domain, and what the guest's kernel says at its end.
        let script = format!(
            "tail -qF -n +1 /var/log/xen/xl-{name}.log /run/companion/{name}.serial 2>/dev/null | \
             grep -a -m 1 --line-buffered -E 'Kernel panic|Oops:|has shut down|has been destroyed'"
        );
        let job = dom0.spawn(&["sh".into(), "-c".into(), script], false)?;
        Ok(Watch(job))
    }

    /// The sign, if there is one by now or comes within `limit`.
    pub(crate) fn ended(&self, limit: Duration) -> Option<String> {
        match self.0.next(limit) {
            Ok(Some(JobEvent::Out(1, bytes))) => {
                Some(String::from_utf8_lossy(&bytes).trim().to_string())
            }
            _ => None,
        }
    }

    /// Ends the session of `link` when the guest ends: what waits for an answer need not wait longer.
    pub(crate) fn guard(self, link: Link) {
        thread::spawn(move || {
            while !link.is_closed() {
                match self.0.next(LONG_SLEEP) {
                    Ok(Some(JobEvent::Out(1, bytes))) => {
                        let sign = String::from_utf8_lossy(&bytes);
                        // The rest of what it has to say is slow on its way through the serial port.
                        thread::sleep(LAST_WORDS);
                        link.end(&format!("the guest is at its end: {}", sign.trim()));
                    }
                    Ok(Some(JobEvent::Out(..)) | None) => {}
                    _ => break,
                }
            }
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // tail does not notice that nobody reads.
        self.0.kill();
    }
}

/// What Xen's log says of the triple fault of a domain that `xl list` still has, stopped.
///
/// Xen takes a triple fault for a wish to reboot, and the domain is kept as it is. A guest that ends in any other way is
/// not meant.
pub(crate) fn triple_fault(domid: u32, list: &str, log: &str) -> Option<String> {
    let id = domid.to_string();
    let stopped = list.lines().any(|line| {
        // Name, id, memory, vCPUs, state, time; a name has no spaces.
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(&id) && words.nth(2).is_some_and(|state| state.contains('s'))
    });
    let fault = log.lines().rev().find(|line| {
        line.split_whitespace()
            .filter_map(|word| word.strip_prefix('d')?.split_once('v'))
            .any(|(domain, vcpu)| domain == id && vcpu.parse::<u32>().is_ok())
            && line.contains("Triple fault")
    })?;
    stopped.then(|| fault.trim_start_matches("(XEN)").trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
(XEN) [  141.2] d3v1 Triple fault - invoking HVM shutdown action 1
(XEN) [  141.3] *** Dumping Dom3 vcpu#1 state: ***
(XEN) ----[ Xen-4.20.2  x86_64  debug=n  Not tainted ]----
(XEN) CPU:    0
(XEN) [  150.0] d12v0 Triple fault - invoking HVM shutdown action 1
(XEN) [  160.0] d5v0 VIRIDIAN GUEST_CRASH: 0 0 0 0 0
";

    fn list(id: u32, state: &str) -> String {
        format!(
            "Name                                        ID   Mem VCPUs\tState\tTime(s)\n\
             Domain-0                                     0  1280     1     r-----     155.3\n\
             debian                                       {id}   768     2     {state}      17.2\n"
        )
    }

    #[test]
    fn a_stopped_guest_with_a_triple_fault_is_lost() {
        let found = triple_fault(3, &list(3, "---s--"), LOG).expect("lost");
        assert!(found.contains("d3v1 Triple fault"), "{found}");
        assert!(triple_fault(12, &list(12, "---s--"), LOG).is_some());
    }

    #[test]
    fn a_guest_that_lives_is_not_lost() {
        assert_eq!(triple_fault(3, &list(3, "-b----"), LOG), None);
        assert_eq!(triple_fault(3, &list(3, "r-----"), LOG), None);
    }

    #[test]
    fn a_guest_that_ended_in_another_way_is_not_lost() {
        // The faults are those of other domains; 2 is the end of 12, and 1 its beginning.
        for id in [1, 2, 5, 33] {
            assert_eq!(triple_fault(id, &list(id, "---s--"), LOG), None, "{id}");
        }
        assert_eq!(triple_fault(3, &list(3, "---sc-"), ""), None);
        // Gone altogether.
        assert_eq!(triple_fault(3, &list(4, "---s--"), LOG), None);
    }
}
