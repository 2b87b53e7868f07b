// SPDX-License-Identifier: GPL-2.0

//! Programs for received packets, written by hand, and how the guest gets them.
//!
//! Each but one looks for requests of ping over IPv4, does something to them, and lets all else pass.

use anyhow::Result;
use companion::Domain;

/// Loads a program and gives it a name in the file system of programs. There is no tool for it in the guest, but Perl.
const LOADER: &str = r#"
my ($from, $to) = @ARGV;
open my $file, "<:raw", $from or die "$from: $!";
my $code = do { local $/; <$file> };
my ($licence, $log, $path) = ("GPL\0", "\0" x 65536, "$to\0");
my $load = pack("L<L<PPL<L<P", 6, length($code) / 8, $code, $licence, 1, length $log, $log) . "\0" x 80;
my $fd = syscall(321, 5, $load, length $load);
$fd >= 0 or die "it is not loaded: $!\n$log";
my $pin = pack("PL<L<", $path, $fd, 0);
syscall(321, 6, $pin, length $pin) == 0 or die "$to: $!";
"#;

/// Where the programs are in the guest.
pub(super) const FOLDER: &str = "/sys/fs/bpf";

/// Number of the helper that moves the front of a packet, and of the one that sends it elsewhere.
const ADJUST_HEAD: i32 = 44;
const REDIRECT: i32 = 23;

const DROP: i32 = 1;
const PASS: i32 = 2;
const TX: i32 = 3;

/// One instruction: operation, destination, source, offset and number.
type Instruction = (u8, u8, u8, i16, i32);

/// Sizes of what is loaded and stored.
const WORD: u8 = 0x00;
const HALF: u8 = 0x08;
const BYTE: u8 = 0x10;

fn load(size: u8, to: u8, from: u8, offset: i16) -> Instruction {
    (0x61 | size, to, from, offset, 0)
}

fn store(size: u8, to: u8, offset: i16, from: u8) -> Instruction {
    (0x63 | size, to, from, offset, 0)
}

fn set(register: u8, value: i32) -> Instruction {
    (0xb7, register, 0, 0, value)
}

fn copy(to: u8, from: u8) -> Instruction {
    (0xbf, to, from, 0, 0)
}

fn add(register: u8, value: i32) -> Instruction {
    (0x07, register, 0, 0, value)
}

fn call(helper: i32) -> Instruction {
    (0x85, 0, 0, 0, helper)
}

const EXIT: Instruction = (0x95, 0, 0, 0, 0);

/// What follows is done to packets of at least `bytes` bytes with these values in them; register 2 is where they begin,
/// register 6 what helpers want.
fn of(bytes: i32, values: &[(u8, i16, i32)], work: &[Instruction]) -> Vec<Instruction> {
    let mut code = vec![
        copy(6, 1),
        load(WORD, 2, 1, 0),
        load(WORD, 3, 1, 4),
        copy(4, 2),
        add(4, bytes),
        // Register 4 is beyond register 3.
        (0x2d, 4, 3, 0, 0),
    ];
    let mut jumps = vec![code.len() - 1];
    for (size, at, value) in values {
        code.push(load(*size, 5, 2, *at));
        jumps.push(code.len());
        code.push((0x55, 5, 0, 0, *value));
    }
    code.extend_from_slice(work);
    for jump in jumps {
        code[jump].3 = (code.len() - jump - 1) as i16;
    }
    code.extend([set(0, PASS), EXIT]);
    code
}

/// A request of ping: IPv4, ICMP, its type.
fn of_ping(work: &[Instruction]) -> Vec<Instruction> {
    of(
        42,
        &[(HALF, 12, 0x0008), (BYTE, 23, 1), (BYTE, 34, 8)],
        work,
    )
}

/// The answer, made of the request.
fn answer() -> Vec<Instruction> {
    let mut code = Vec::new();
    // The hardware addresses, and those of IP.
    for (size, one, other) in [(WORD, 0, 6), (HALF, 4, 10), (WORD, 26, 30)] {
        code.extend([
            load(size, 5, 2, one),
            load(size, 7, 2, other),
            store(size, 2, one, 7),
            store(size, 2, other, 5),
        ]);
    }
    // The type, and the checksum of which it is a part: 8 less in the one is 8 more in the other.
    code.extend([
        set(5, 0),
        store(BYTE, 2, 34, 5),
        load(HALF, 5, 2, 36),
        add(5, 8),
        copy(7, 5),
        (0x77, 7, 0, 0, 16),
        (0x57, 5, 0, 0, 0xffff),
        (0x0f, 5, 7, 0, 0),
        store(HALF, 2, 36, 5),
        set(0, TX),
        EXIT,
    ]);
    code
}

/// The front is moved out as far as there is room, and back.
fn stretch() -> Vec<Instruction> {
    let mut code = Vec::new();
    for by in [-192, 192] {
        code.extend([
            copy(1, 6),
            set(2, by),
            call(ADJUST_HEAD),
            // Register 0 is zero: the next two are skipped.
            (0x15, 0, 0, 2, 0),
            set(0, DROP),
            EXIT,
        ]);
    }
    code
}

/// The tag of a VLAN is taken out, whatever is in the packet.
fn untag() -> Vec<Instruction> {
    let work = [
        load(WORD, 5, 2, 0),
        load(WORD, 7, 2, 4),
        load(WORD, 8, 2, 8),
        store(WORD, 2, 4, 5),
        store(WORD, 2, 8, 7),
        store(WORD, 2, 12, 8),
        copy(1, 6),
        set(2, 4),
        call(ADJUST_HEAD),
    ];
    of(18, &[(HALF, 12, 0x0081)], &work)
}

/// The programs by their names. `elsewhere` is the number of the interface that one of them sends to.
fn all(elsewhere: i32) -> [(&'static str, Vec<Instruction>); 6] {
    [
        ("pass", of_ping(&[])),
        ("drop", of_ping(&[set(0, DROP), EXIT])),
        ("answer", of_ping(&answer())),
        (
            "redirect",
            of_ping(&[set(1, elsewhere), set(2, 0), call(REDIRECT), EXIT]),
        ),
        ("stretch", of_ping(&stretch())),
        ("untag", untag()),
    ]
}

fn bytes(code: &[Instruction]) -> Vec<u8> {
    code.iter()
        .flat_map(|(operation, to, from, offset, value)| {
            let [o0, o1] = offset.to_le_bytes();
            let [v0, v1, v2, v3] = value.to_le_bytes();
            [*operation, to | (from << 4), o0, o1, v0, v1, v2, v3]
        })
        .collect()
}

/// Loads all programs, unless they are there.
pub(super) fn load_all(guest: &Domain, elsewhere: &str) -> Result<()> {
    guest.sh(&format!(
        "mountpoint -q {FOLDER} || mount -t bpf bpf {FOLDER}; rm -f {FOLDER}/*"
    ))?;
    guest.put_bytes(LOADER.as_bytes(), "/tmp/loader.pl")?;
    let number = guest.sh(&format!("cat /sys/class/net/{elsewhere}/ifindex"))?;
    for (name, code) in all(number.trim().parse()?) {
        guest.put_bytes(&bytes(&code), "/tmp/program")?;
        guest.sh(&format!("perl /tmp/loader.pl /tmp/program {FOLDER}/{name}"))?;
    }
    Ok(())
}
