// SPDX-License-Identifier: GPL-2.0

//! Single facts about a guest, each an error when it does not hold.

use anyhow::{bail, ensure, Context, Result};
use companion::{Console, Domain, BRIEF, LONG};

/// Address of dom0 on the guests' first bridge.
pub const DOM0: &str = "10.77.0.1";
/// Address of the guest there.
pub const GUEST: &str = "10.77.0.2";

/// The kernel is Debian's, unmodified.
pub fn kernel_is_stock(guest: &Domain, release: &str) -> Result<String> {
    let found = guest.sh("uname -r; uname -v")?;
    let mut lines = found.lines();
    ensure!(lines.next() == Some(release), "uname -r: {found}");
    ensure!(
        lines.next().is_some_and(|line| line.contains("Debian")),
        "uname -v: {found}"
    );
    Ok(found.replace('\n', " ").trim().into())
}

/// The root filesystem is on our disk.
pub fn root_is_xvda(guest: &Domain) -> Result<String> {
    let source = guest.sh("findmnt -no SOURCE,FSTYPE /")?;
    ensure!(
        source.starts_with("/dev/xvda"),
        "the root filesystem is on {source}"
    );
    let driver = guest.sh("readlink -f /sys/block/xvda/device/driver")?;
    ensure!(driver.contains("oxen"), "xvda is driven by {driver}");
    Ok(source.trim().into())
}

/// Every folder's module is loaded, and stands on those the design puts below it.
pub fn modules_stack_up(guest: &Domain) -> Result<String> {
    // (user, used): what is used must list the user among its holders.
    let below = [
        ("oxen_evtchn", "oxen_xen_core"),
        ("oxen_time", "oxen_evtchn"),
        ("oxen_time", "oxen_xen_core"),
        ("oxen_grant_table", "oxen_xen_core"),
        ("oxen_xenbus", "oxen_evtchn"),
        ("oxen_xenbus", "oxen_xen_core"),
        ("oxen_control", "oxen_xenbus"),
        ("oxen_control", "oxen_xen_core"),
        ("oxen_balloon", "oxen_xenbus"),
        ("oxen_balloon", "oxen_xen_core"),
        ("oxen_userdev", "oxen_evtchn"),
        ("oxen_userdev", "oxen_grant_table"),
        ("oxen_userdev", "oxen_xen_core"),
        ("oxen_console", "oxen_evtchn"),
        ("oxen_console", "oxen_xen_core"),
        ("oxen_console", "oxen_xenbus"),
        ("oxen_console", "oxen_grant_table"),
        ("oxen_blkfront", "oxen_xenbus"),
        ("oxen_blkfront", "oxen_grant_table"),
        ("oxen_blkfront", "oxen_evtchn"),
        ("oxen_netfront", "oxen_xenbus"),
        ("oxen_netfront", "oxen_grant_table"),
        ("oxen_netfront", "oxen_evtchn"),
    ];
    let listed = guest.sh("lsmod")?;
    for module in crate::MODULES {
        ensure!(
            listed
                .lines()
                .any(|line| line.split_whitespace().next() == Some(module)),
            "{module} is not loaded:\n{listed}"
        );
    }
    for (user, used) in below {
        let line = listed
            .lines()
            .find(|line| line.split_whitespace().next() == Some(used))
            .unwrap_or_default();
        let users = line.split_whitespace().nth(3).unwrap_or_default();
        ensure!(
            users.split(',').any(|name| name == user),
            "{user} does not depend on {used}:\n{listed}"
        );
    }
    Ok(listed
        .lines()
        .filter(|line| line.starts_with("oxen_"))
        .collect::<Vec<_>>()
        .join("\n"))
}

/// `ethtool` names our driver for `eth0`.
pub fn ethtool_names_us(guest: &Domain) -> Result<String> {
    let text = guest.sh("ethtool -i eth0")?;
    let driver = text
        .lines()
        .find(|line| line.starts_with("driver:"))
        .unwrap_or_default();
    ensure!(driver.contains("oxen"), "ethtool -i eth0: {text}");
    Ok(driver.into())
}

/// Sums of our interrupts on each CPU, and how many there are.
///
/// Ours are those of which the chip or the name in `/proc/interrupts` says oxen.
pub fn interrupts(guest: &Domain) -> Result<(Vec<u64>, usize)> {
    let text = guest.sh("cat /proc/interrupts")?;
    let cpus = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .count();
    let mut sums = vec![0; cpus];
    let mut count = 0;
    for line in text.lines().filter(|line| line.contains("oxen")) {
        count += 1;
        for (sum, word) in sums.iter_mut().zip(line.split_whitespace().skip(1)) {
            *sum += word.parse::<u64>().unwrap_or(0);
        }
    }
    ensure!(
        count > 0,
        "no interrupt of ours in /proc/interrupts:\n{text}"
    );
    Ok((sums, count))
}

/// Nothing in the kernel log that should not be there.
pub fn dmesg_is_clean(guest: &Domain) -> Result<()> {
    log_is_clean(&guest.sh("dmesg")?)
}

/// Nothing in `text`, which is a kernel log or part of one, that should not be there.
pub fn log_is_clean(text: &str) -> Result<()> {
    let signs = [
        "WARNING:",
        "BUG:",
        "Oops",
        "Call Trace",
        "soft lockup",
        "hard LOCKUP",
        "hung task",
        "blocked for more than",
        "self-detected",
        "detected stalls",
        "general protection",
        "Kernel panic",
        "refcount_t",
        "list_add corruption",
        "UBSAN",
        "KASAN",
        "ODEBUG",
        "INFO: possible",
        "INFO: trying to register",
        "DEBUG_LOCKS_WARN",
        "nobody cared",
        "scheduling while atomic",
        "protection fault",
        "invalid opcode",
    ];
    let found: Vec<&str> = text
        .lines()
        .filter(|line| signs.iter().any(|sign| line.contains(sign)))
        .collect();
    ensure!(
        found.is_empty(),
        "the kernel log has\n{}\n--- all of it\n{text}",
        found.join("\n")
    );
    Ok(())
}

/// One address for each of the guest's two interfaces, unless it has it, and the link up.
pub fn bring_up_network(guest: &Domain) -> Result<()> {
    guest.until("[ -d /sys/class/net/eth0 ]", BRIEF)?;
    guest.sh(&format!(
        "up() {{ [ -d /sys/class/net/$1 ] || return 0; ip addr show dev $1 | grep -q \" $2\" && return; \
         ip addr flush dev $1; ip addr add $2 dev $1; ip link set $1 up; }}; \
         up eth0 {GUEST}/24 && up eth1 10.78.0.2/24"
    ))?;
    guest
        .until(&format!("ping -c 1 -W 5 {DOM0}"), BRIEF)
        .with_context(|| {
            let seen =
                "dmesg | tail -n 20; ip -s link; ip neigh; grep -e vif -e eth /proc/interrupts; \
                        grep . /sys/kernel/debug/oxen/vif-*/counters";
            guest
                .try_sh(seen, BRIEF)
                .map_or_else(|why| format!("{why:#}"), |seen| seen.to_string())
        })?;
    Ok(())
}

/// Ping both ways.
pub fn ping(dom0: &Domain, guest: &Domain) -> Result<String> {
    let out = guest.sh(&format!("ping -c 5 -i 0.3 -W 10 {DOM0}"))?;
    dom0.sh(&format!("ping -c 5 -i 0.3 -W 10 {GUEST}"))?;
    Ok(out.lines().last().unwrap_or_default().into())
}

/// A file of `mib` MiB over TCP each way; the checksums must agree.
pub fn tcp_both_ways(dom0: &Domain, guest: &Domain, mib: u64) -> Result<String> {
    let make = format!(
        "dd if=/dev/urandom of=/tmp/sent bs=1M count={mib} 2>/dev/null; sha256sum </tmp/sent"
    );
    let sent = dom0.sh_for(&make, LONG)?;
    let server =
        dom0.spawn_sh("exec socat -b 65536 -u OPEN:/tmp/sent TCP-LISTEN:5001,reuseaddr")?;
    // socat tries again until the other side listens.
    let received = guest.sh_for(
        &format!("socat -b 65536 -u TCP:{DOM0}:5001,retry=100,interval=0.2 - | tee /tmp/back | sha256sum"),
        LONG,
    )?;
    server.wait(LONG)?;
    same_sum("to the guest", &sent, &received)?;
    let server =
        guest.spawn_sh("exec socat -b 65536 -u OPEN:/tmp/back TCP-LISTEN:5002,reuseaddr")?;
    let back = dom0.sh_for(
        &format!("socat -b 65536 -u TCP:{GUEST}:5002,retry=100,interval=0.2 - | sha256sum"),
        LONG,
    )?;
    server.wait(LONG)?;
    guest.sh("rm -f /tmp/back")?;
    same_sum("from the guest", &sent, &back)?;
    Ok(sent.split_whitespace().next().unwrap_or_default().into())
}

/// A stream of data from `there` to a program that reads it, as long as there is no file `over`; then its sum.
pub fn stream(over: &str, there: &str) -> String {
    format!(
        "rm -f {over} {over}.pipe; mkfifo {over}.pipe; sha256sum <{over}.pipe >{over}.sum & \
         while [ ! -e {over} ]; do cat {there}; done | tee {over}.pipe"
    )
}

/// What was received is what was sent, by their sha256 sums.
pub fn same_sum(way: &str, sent: &str, received: &str) -> Result<()> {
    let (sent, received) = (sent.trim(), received.trim());
    ensure!(sent == received, "{way}: sent {sent}, received {received}");
    Ok(())
}

/// The kernel's leak detector finds no memory that nobody points to. It looks at what is older than five seconds.
pub fn nothing_leaked(guest: &Domain) -> Result<()> {
    let leaks = "/sys/kernel/debug/kmemleak";
    let found = guest.sh_for(
        &format!("sleep 6; echo scan >{leaks}; echo scan >{leaks}; cat {leaks}"),
        LONG,
    )?;
    ensure!(found.trim().is_empty(), "leaks:\n{found}");
    Ok(())
}

/// fio: random writes of 4 KiB to 256 KiB, read back and verified.
pub fn fio_verify(guest: &Domain, disk: &str, mib: u64) -> Result<String> {
    let out = guest.sh_for(
        &format!(
            "fio --name=verify --filename=/dev/{disk} --rw=randwrite --bsrange=4k-256k --size={mib}m --direct=1 \
             --ioengine=libaio --iodepth=16 --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=77 --output-format=terse \
             --terse-version=3"
        ),
        LONG,
    )?;
    let fields: Vec<&str> = out.lines().last().unwrap_or_default().split(';').collect();
    ensure!(fields.get(4) == Some(&"0"), "fio reports an error: {out}");
    Ok(format!("{mib} MiB on {disk}"))
}

/// Waits until the sum that `script` prints has grown by `much`.
pub fn goes_on(guest: &Domain, script: &str, much: u64) -> Result<()> {
    let before: u64 = guest.sh(script)?.trim().parse()?;
    // After many connections within a minute there is a minute's rest.
    guest
        .until(&format!("[ $({script}) -ge {} ]", before + much), 2 * BRIEF)
        .map(drop)
}

/// What the counters under debugfs and `/proc` say, as one comparable text: grants, ports, irqs.
pub fn counters(guest: &Domain) -> Result<String> {
    // The queues of disks grow meanwhile: both numbers have to be of one moment.
    let script = "disks() { cat /sys/kernel/debug/oxen/*/blkfront 2>/dev/null | sed -n 's/.* \\([0-9]*\\) grants$/\\1/p' | \
           awk '{ n += $1 } END { print n + 0 }'; }; \
         all() { for f in /sys/kernel/debug/oxen/grants /sys/kernel/debug/oxen/evtchn; do \
         if [ -d $f ]; then for g in $f/*; do echo \"$g: $(cat $g)\"; done; else cat $f; fi; done; }; \
         until before=$(disks); all=$(all); [ $before = $(disks) ]; do :; done; \
         echo \"$all\"; echo \"disks: $before\"; echo \"irqs $(grep -c oxen /proc/interrupts)\"";
    let text = guest.sh(script)?;
    // What only ever grows is no leak, and neither are the grants of a packet that is on its way: a reference that a peer
    // does not let go of is `deferred`, one that a driver forgets is `in_use`.
    let others = [
        "spurious", "frames", "events", "upcalls", "storms", "grown", "delayed", "free", "active",
    ];
    Ok(text
        .lines()
        .filter(|line| !others.iter().any(|word| line.to_lowercase().contains(word)))
        .collect::<Vec<_>>()
        .join("\n"))
}

/// The numbers of references in use and of deferred ones among `counters`, and the other lines. What the queues of disks
/// hold is not among those in use: it grows with their use.
fn references(counters: &str) -> ([i64; 2], Vec<&str>) {
    let number = |line: &str, name: &str| {
        let number = line.strip_prefix(name)?.strip_prefix(": ")?;
        number.trim().parse::<i64>().ok()
    };
    let (mut found, mut others) = ([0; 2], Vec::new());
    for line in counters.lines() {
        if let Some(in_use) = number(line, "in_use") {
            found[0] += in_use;
        } else if let Some(of_disks) = number(line, "disks") {
            found[0] -= of_disks;
        } else if let Some(deferred) = number(line, "deferred") {
            found[1] = deferred;
        } else {
            others.push(line);
        }
    }
    (found, others)
}

/// Waits until no more is held than was: what was deferred at first may have ended.
pub fn counters_return(guest: &Domain, before: &str) -> Result<()> {
    let ([held, deferred], others) = references(before);
    let mut now = String::new();
    for _ in 0..30 {
        now = counters(guest)?;
        let ([holds, defers], other) = references(&now);
        if other == others && holds <= held && defers <= deferred {
            return Ok(());
        }
        guest.sh("sleep 1")?;
    }
    let new: Vec<_> = now
        .lines()
        .filter(|line| !before.lines().any(|other| other == *line))
        .collect();
    bail!(
        "counters do not return: {}\nbefore:\n{before}\n--- and now:\n{now}",
        new.join(", ")
    )
}

/// The guest's domain id.
pub fn domid(dom0: &Domain, guest: &str) -> Result<u32> {
    let text = dom0.sh(&format!("xl domid {guest}"))?;
    text.trim()
        .parse()
        .with_context(|| format!("xl domid {guest}: {text}"))
}

/// A module that must not load: its exit code is not 0 and one sentence in the log says why.
pub fn refuses(guest: &Domain, load: &str, words: &[&str]) -> Result<String> {
    let before: usize = guest.sh("dmesg | wc -l")?.trim().parse().unwrap_or(0);
    let output = guest.try_sh(load, BRIEF)?;
    ensure!(!output.success(), "{load}: loaded where it must not");
    let said = guest.sh(&format!("dmesg | tail -n +{}", before + 1))?;
    one_sentence(&said, words)
}

/// Among `said` there is one line of ours, and it has all the words.
pub fn one_sentence(said: &str, words: &[&str]) -> Result<String> {
    let ours: Vec<&str> = said
        .lines()
        .map(|line| line.split_once("] ").map_or(line, |(_, text)| text))
        .filter(|text| text.starts_with("oxen_"))
        .filter(|text| !text.contains("taint") && !text.contains("verification failed"))
        .collect();
    let [line] = ours.as_slice() else {
        bail!("not one sentence but {}:\n{said}", ours.len());
    };
    for word in words {
        ensure!(
            line.to_lowercase().contains(&word.to_lowercase()),
            "the refusal does not say {word:?}: {line}"
        );
    }
    Ok((*line).into())
}

/// A person's way: `xl console`, a login, a command, and the login prompt again.
pub fn console_login(dom0: &Domain, name: &str) -> Result<String> {
    let mut console = Console::open(dom0, name)?;
    for (say, expect) in [
        ("", "login:"),
        ("root", "Password:"),
        ("oxen", "# "),
        ("echo sum-$((40 + 2))", "sum-42"),
        ("tty", "/dev/hvc0"),
        ("logout", "login:"),
    ] {
        console.say(&format!("{say}\r"))?;
        console.expect(expect, BRIEF)?;
    }
    console.close();
    Ok("login as root on /dev/hvc0, 40 + 2 is 42".into())
}
