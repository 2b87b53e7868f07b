// SPDX-License-Identifier: GPL-2.0

//! Backends that break the rules: `docs/hostile-inputs.md` played against the loaded modules. Whatever happens to the
//! device, the guest lives on, its other devices work, and its memory is what it was.

mod bystanders;
mod console;
mod disk;
mod net;
mod rounds;
mod store;

use self::bystanders::stand_by;
use crate::scene::Scene;
use anyhow::Result;
use companion::BRIEF;
use e2e::suite::Test;
use e2e::{backend, check};

/// The tests, in their order.
pub(crate) fn tests<'a>() -> Vec<Test<Scene<'a>>> {
    let mut tests: Vec<Test<Scene<'a>>> = vec![("hostile/bystanders", bystanders)];
    tests.extend(disk::tests());
    tests.extend(net::tests());
    tests.extend(console::tests());
    tests.extend(rounds::tests());
    tests.extend(store::tests());
    tests.push(("hostile/nothing-left", |s| {
        let before = s.guest.sh("cat /tmp/counters")?;
        check::counters_return(&s.guest, before.trim_end())
    }));
    tests.push(("hostile/dmesg-clean", |s| check::dmesg_is_clean(&s.guest)));
    tests
}

/// What the others have: a file in memory, the same on a disk on Linux's backend, and an address on an interface there.
fn bystanders(s: &Scene<'_>) -> Result<()> {
    backend::install(s.machine, s.name())?;
    s.guest
        .until("[ -b /dev/xvdb ] && [ -d /sys/class/net/eth0 ]", BRIEF)?;
    s.guest.sh(&format!(
        "head -c 1048576 /dev/urandom >/tmp/data; dd if=/tmp/data of=/dev/xvdb bs=64k conv=fsync 2>/dev/null; \
         sha256sum </tmp/data >/tmp/sum; ip addr add {}/24 dev eth0; ip link set eth0 up",
        bystanders::GUEST
    ))?;
    disk::prepare(s)?;
    s.guest
        .until("ping -c 1 -W 5 10.77.0.1 >/dev/null", BRIEF)?;
    stand_by(&s.guest)?;
    let counters = check::counters(&s.guest)?;
    s.guest.put_bytes(counters.as_bytes(), "/tmp/counters")
}

#[cfg(test)]
mod tests {
    use ::backend::{block, console, net};

    /// Each script is played, and what the document says is played is a script or a test.
    #[test]
    fn the_document_and_the_scripts_agree() {
        let document = include_str!("../../../../../docs/hostile-inputs.md");
        let sources = [
            include_str!("hostile/console.rs"),
            include_str!("hostile/disk.rs"),
            include_str!("hostile/net.rs"),
            include_str!("steering.rs"),
        ]
        .concat();
        let blocks = block::script::Hostile::ALL.iter().map(|it| it.name());
        let nets = net::script::Hostile::ALL.iter().map(|it| it.name());
        let consoles = console::script::Hostile::ALL.iter().map(|it| it.name());
        let scripts: Vec<&str> = blocks.chain(nets).chain(consoles).collect();
        for script in &scripts {
            assert!(
                sources.contains(&format!("\"{script}\"")),
                "{script} is not played"
            );
            assert!(
                document.contains(&format!("`{script}`")),
                "{script} is in no line"
            );
        }
        let (own, bare, debian) = (super::tests(), crate::bare::tests(), crate::debian::tests());
        let (life, tools) = (crate::life::tests(), crate::tools::tests());
        let tests: Vec<&str> = [own, bare, debian, life, tools]
            .iter()
            .flat_map(|tests| crate::names(tests))
            .collect();
        let lines = document.lines().filter(|line| line.starts_with("| "));
        for column in lines.skip(1).filter_map(|line| line.split('|').nth(4)) {
            // Where nothing can play it, the reason stands there.
            if column.starts_with(" none: ") {
                continue;
            }
            for word in column
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
            {
                let known = match word.strip_prefix('`') {
                    Some(script) => scripts.contains(&script.trim_end_matches('`')),
                    None => tests.contains(&word),
                };
                assert!(known, "{word:?}: no script and no test");
            }
        }
    }
}
