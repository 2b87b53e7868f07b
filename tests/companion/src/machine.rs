// SPDX-License-Identifier: GPL-2.0

//! The machine: QEMU with Xen and dom0, running in the background until it is stopped.

use crate::assets::{Assets, Ramdisk};
use crate::domain::{patience, Domain, BRIEF, LONG};
use crate::guest::{GuestConfig, Kind};
use crate::link::Link;
use crate::lost;
use crate::progress::progress;
use crate::watch::{Looks, Watch};
use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where dom0 sees the folder it shares with this side.
const SHARED: &str = "/companion";

/// How a machine is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name: several can run side by side.
    pub name: String,
    /// Memory in MiB, of which dom0 takes 1280.
    pub memory: u32,
    /// More words for Xen's command line.
    pub xen_args: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "companion".into(),
            memory: 4096,
            xen_args: String::new(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    pid: i32,
    port: u16,
}

/// A running machine.
pub struct Companion {
    assets: Assets,
    dir: PathBuf,
    port: u16,
    pid: i32,
    dom0: Domain,
}

impl Companion {
    fn dir(assets: &Assets, name: &str) -> PathBuf {
        assets.cache().join("run").join(name)
    }

    /// Whether a machine of that name runs.
    pub fn is_running(name: &str) -> bool {
        Self::state(&Self::folder(name)).is_some()
    }

    fn state(dir: &Path) -> Option<State> {
        let state: State = serde_json::from_slice(&fs::read(dir.join("state")).ok()?).ok()?;
        alive(state.pid).then_some(state)
    }

    /// Boots a machine and waits for dom0.
    ///
    /// # Errors
    ///
    /// When a part cannot be made, or dom0 is not up in time: with the end of its serial log.
    pub fn start(options: &Options) -> Result<Companion> {
        let assets = Assets::from_env();
        let dir = Self::dir(&assets, &options.name);
        if Self::state(&dir).is_some() {
            bail!("a companion called {} is running already", options.name);
        }
        let kernel = assets.kernel()?.join("vmlinuz");
        let (emulator, xen) = (assets.qemu()?, assets.xen()?);
        let dom0_disk = assets.dom0_disk()?;
        let guest_disk = assets.guest_disk()?;
        let initramfs = assets.initramfs("dom0")?;
        let guest_kernel = assets.guest_kernel()?;

        fs::remove_dir_all(&dir).ok();
        let shared = dir.join("shared");
        fs::create_dir_all(&shared)?;
        fs::copy(&guest_kernel, shared.join("vmlinuz"))
            .with_context(|| format!("{}", guest_kernel.display()))?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let accelerator = accelerator();
        progress(&format!(
            "companion: booting Xen and dom0 under QEMU ({}), about a minute",
            accelerator.name
        ));
        let mut qemu = Command::new(&emulator);
        qemu.env("TMPDIR", &dir)
            .args(["-name", &format!("oxen-{}", options.name)])
            .args([
                "-machine",
                "q35",
                "-accel",
                accelerator.accel,
                "-cpu",
                accelerator.cpu,
            ])
            .args(["-smp", accelerator.cpus, "-m", &options.memory.to_string()])
            .args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
            ])
            .args(["-daemonize", "-pidfile"])
            .arg(dir.join("pid"))
            .arg("-serial")
            .arg(format!("file:{}", escaped(&dir.join("serial.log"))))
            .arg("-qmp")
            .arg(format!(
                "unix:{},server=on,wait=off",
                escaped(&dir.join("qmp"))
            ))
            .arg("-kernel")
            .arg(&xen)
            // With lazy FPU switching the emulated SVM mixes up the FPU state of the domains.
            .arg("-append")
            .arg(format!(
                "console=com1 com1=115200,8n1 dom0_mem=1280M,max:1280M dom0_max_vcpus=1 \
                 spec-ctrl=eager-fpu loglvl=warning guest_loglvl=warning watchdog=0 noreboot=1 {}",
                options.xen_args
            ))
            .arg("-initrd")
            .arg(format!(
                "{} console=hvc0 loglevel=5 panic=1,{}",
                escaped(&kernel),
                escaped(&initramfs)
            ));
        for (id, disk) in [("dom0", &dom0_disk), ("guest", &guest_disk)] {
            qemu.arg("-drive").arg(format!(
                "file={},format=raw,if=none,id={id},snapshot=on,cache=unsafe",
                escaped(disk)
            ));
            qemu.args(["-device", &format!("virtio-blk-pci,drive={id}")]);
        }
        qemu.arg("-netdev")
            .arg(format!(
                "user,id=net0,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:{}",
                agent::TCP_PORT
            ))
            .args(["-device", "virtio-net-pci,netdev=net0,romfile="])
            .arg("-virtfs")
            .arg(format!(
                "local,path={},mount_tag=companion,security_model=none",
                escaped(&shared)
            ));
        let status = qemu
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("{} cannot be run", emulator.display()))?;
        if !status.success() {
            bail!("QEMU did not start, see above");
        }
        let pid = fs::read_to_string(dir.join("pid"))?.trim().parse()?;
        // On a busy host the emulated machine falls behind its own timers until nothing moves: let
        // it go first where the kernel schedules by session. Without the right to, it is slower.
        fs::write(format!("/proc/{pid}/autogroup"), "-10").ok();
        if accelerator.name == "emulation" {
            first(pid);
        }
        fs::write(dir.join("state"), serde_json::to_vec(&State { pid, port })?)?;
        let dom0 = match await_dom0(&dir, pid, port) {
            Ok(dom0) => dom0,
            Err(why) => {
                let log = tail(&dir.join("serial.log"), 40);
                end(pid);
                return Err(
                    why.context(format!("the companion did not boot\n--- serial log\n{log}"))
                );
            }
        };
        progress("companion: dom0 is up");
        Ok(Companion {
            assets,
            dir,
            port,
            pid,
            dom0,
        })
    }

    /// A machine that was started before.
    ///
    /// # Errors
    ///
    /// When none of that name runs.
    pub fn attach(name: &str) -> Result<Companion> {
        let assets = Assets::from_env();
        let dir = Self::dir(&assets, name);
        let Some(State { pid, port }) = Self::state(&dir) else {
            bail!("no companion called {name} is running: use `companion start`");
        };
        let dom0 = Domain::new("dom0", Link::dom0(port, BRIEF)?);
        Ok(Companion {
            assets,
            dir,
            port,
            pid,
            dom0,
        })
    }

    /// The one that runs, or a new one.
    ///
    /// # Errors
    ///
    /// As [`Companion::start`].
    pub fn ensure(options: &Options) -> Result<Companion> {
        if Self::is_running(&options.name) {
            return Self::attach(&options.name);
        }
        Self::start(options)
    }

    /// The control domain.
    pub fn dom0(&self) -> &Domain {
        &self.dom0
    }

    /// What it is made of.
    pub fn assets(&self) -> &Assets {
        &self.assets
    }

    /// The folder it shares with dom0, which has it at `/companion`.
    pub fn shared(&self) -> PathBuf {
        self.dir.join("shared")
    }

    /// Creates a guest and, if its configuration says so, waits for its agent.
    ///
    /// # Errors
    ///
    /// When `xl` refuses it or its agent does not answer in time: with its serial log.
    pub fn create(&self, config: &GuestConfig) -> Result<Option<Domain>> {
        let name = &config.name;
        let shared = self.shared();
        Ramdisk {
            assets: &self.assets,
            modules: config.modules.as_deref(),
        }
        .write(&shared.join(format!("{name}.cpio")))?;
        fs::write(shared.join(format!("{name}.cfg")), config.xl(SHARED))?;
        let mut prepare = String::from("set -e\n");
        if config.root {
            prepare.push_str(&format!(
                "truncate -s 0 /var/lib/companion/{name}.cow\n\
                 truncate -s 1500M /var/lib/companion/{name}.cow\n\
                 loop=$(losetup -f --show /var/lib/companion/{name}.cow)\n\
                 echo \"0 $(blockdev --getsz /dev/vdb) snapshot /dev/vdb $loop N 8\" | \
                 dmsetup create --noudevsync {name}-root\n\
                 dmsetup mknodes {name}-root\n"
            ));
        }
        for disk in &config.disks {
            let image = disk.image(name);
            prepare.push_str(&format!(
                "truncate -s 0 {image}; truncate -s {}M {image}\n",
                disk.mib
            ));
        }
        self.dom0.sh(&prepare)?;
        let pause = if config.paused { "-p " } else { "" };
        self.dom0
            .sh_for(&format!("xl -f create {pause}{SHARED}/{name}.cfg"), LONG)
            .map_err(|why| why.context(self.report(None)))?;
        if !config.wait || config.paused || config.kind == Kind::Pvh {
            return Ok(None);
        }
        let watch = Watch::start(&self.dom0, name)?;
        let link = Link::guest(
            self.port,
            &GuestConfig::agent_socket(name),
            patience(LONG / 2),
            || {
                watch
                    .ended(Duration::ZERO)
                    .map(|sign| format!("the guest is at its end: {sign}"))
            },
        );
        match link {
            Ok(link) => {
                watch.guard(link.clone());
                let guest = Domain::new(name, link);
                lost::learn(&self.dom0, &guest);
                Ok(Some(guest))
            }
            Err(why) => Err(why.context(format!(
                "guest {name} did not come up\n{}",
                self.report(Some(name))
            ))),
        }
    }

    /// A guest whose agent answers within `limit`. One client at a time is served.
    ///
    /// # Errors
    ///
    /// When there is no such guest, the emulator has lost it, or its agent is silent.
    pub fn guest(&self, name: &str, limit: Duration) -> Result<Domain> {
        let looks = Looks::new(&self.dom0, name);
        let socket = GuestConfig::agent_socket(name);
        let link = Link::guest(self.port, &socket, limit, || looks.lost())
            .with_context(|| format!("guest {name}"))?;
        looks.guard(link.clone());
        Ok(Domain::new(name, link))
    }

    /// Whether the emulator lost this guest, and how. Any other end is the guest's own.
    pub fn lost(&self, name: &str) -> Option<String> {
        lost::lost(&self.dom0, name)
    }

    /// Ends a guest, at once, and takes its disks away.
    ///
    /// # Errors
    ///
    /// When dom0 does not answer.
    pub fn destroy(&self, name: &str) -> Result<()> {
        self.dom0.try_sh(
            &format!(
                "xl destroy {name}; \
                 n=0; while dmsetup info {name}-root >/dev/null 2>&1 && [ $n -lt 100 ]; do \
                 dmsetup remove --noudevsync {name}-root; n=$((n + 1)); sleep 0.2; done; \
                 for f in /var/lib/companion/{name}.cow /var/lib/companion/{name}-*.img; do \
                 losetup -j $f | cut -d: -f1 | xargs -r losetup -d; rm -f $f; done"
            ),
            LONG,
        )?;
        Ok(())
    }

    /// The logs that explain a failure: of QEMU's serial port, Xen, and a guest.
    pub fn report(&self, guest: Option<&str>) -> String {
        let mut report = format!(
            "--- companion serial log\n{}\n",
            tail(&self.dir.join("serial.log"), 15)
        );
        let mut ask = |title: &str, script: &str| {
            let text = match self.dom0.try_sh(script, BRIEF) {
                Ok(output) => output.stdout + &output.stderr,
                Err(why) => format!("{why:#}"),
            };
            report.push_str(&format!("--- {title}\n{}\n", text.trim_end()));
        };
        ask("domains", "xl list");
        ask("xl dmesg", "xl dmesg | tail -n 25");
        if let Some(name) = guest {
            ask(
                &format!("{name}: serial port"),
                &format!("tail -c 6000 /run/companion/{name}.serial"),
            );
            ask(
                &format!("{name}: console"),
                &format!("tail -c 3000 /var/log/xen/console/guest-{name}.log 2>/dev/null"),
            );
            ask(
                &format!("{name}: device model"),
                &format!("tail -n 8 /var/log/xen/qemu-dm-{name}.log; tail -n 12 /var/log/xen/xen-hotplug.log"),
            );
            // The end is what one sees first.
            ask(
                &format!("{name}: processors"),
                &format!("/usr/lib/xen-*/bin/xenctx -a -C $(xl domid {name}) 2>&1"),
            );
        }
        report
    }

    /// Ends the machine.
    pub fn stop(self) {
        self.dom0.close();
        end(self.pid);
        forget(&self.dir);
    }

    /// Ends the machine of that name, one that is still booting too.
    pub fn kill(name: &str) {
        let dir = Self::folder(name);
        let pid = fs::read_to_string(dir.join("pid")).ok();
        if let Some(pid) = pid.and_then(|pid| pid.trim().parse().ok()) {
            end(pid);
        }
        forget(&dir);
    }

    /// Where what is known of the machine of that name lies.
    pub(crate) fn folder(name: &str) -> PathBuf {
        Self::dir(&Assets::from_env(), name)
    }
}

/// What QEMU runs the machine's CPUs with: `KVM`, or `emulation`.
pub fn accelerator_name() -> &'static str {
    accelerator().name
}

pub(crate) struct Accelerator {
    pub(crate) name: &'static str,
    pub(crate) accel: &'static str,
    pub(crate) cpu: &'static str,
    /// CPUs of the machine below Xen; a guest has two whatever this is.
    cpus: &'static str,
}

/// KVM only where an HVM guest runs under a nested Xen: the host's CPU must lend out its own
/// virtualisation, which a `/dev/kvm` that opens does not say.
pub(crate) fn accelerator() -> Accelerator {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
    let nested = ["kvm_amd", "kvm_intel"].iter().any(|module| {
        fs::read_to_string(format!("/sys/module/{module}/parameters/nested"))
            .is_ok_and(|value| matches!(value.trim(), "1" | "Y"))
    });
    let opens = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    if opens && nested && (has("svm") || has("vmx")) {
        Accelerator {
            name: "KVM",
            accel: "kvm",
            cpu: "host",
            cpus: "2",
        }
    } else {
        Accelerator {
            name: "emulation",
            accel: "tcg,thread=multi",
            cpu: "max,+svm",
            // With two, guests died of triple faults: twice with QEMU 11.1 their VMCB held the registers with which
            // Xen goes on after VMRUN.
            cpus: "1",
        }
    }
}

/// Has the thread of QEMU's CPU run before everything else on the host. Where that is not allowed, or takes the last of the
/// host's CPUs, no other thread of QEMU's preempts it when it wakes it.
///
/// Where other work takes the host's CPU from it at the wrong moment, an interrupt is delivered twice, see `lost.rs`: on a busy
/// host guests died of it within minutes.
fn first(pid: i32) {
    let chrt = |args: &[&str]| {
        let status = Command::new("chrt")
            .args(args)
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    let ours = cpu_threads(pid);
    // Each of another machine may have one of the host's CPUs for itself, and the other threads need one as well.
    let all: usize = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| alive(*pid))
        .map(|pid| cpu_threads(pid).len())
        .sum();
    let spare = thread::available_parallelism().is_ok_and(|cpus| all < cpus.get());
    let put_first = |id: &String| spare && chrt(&["--fifo", "--pid", "1", id]);
    if !ours.iter().all(put_first) {
        chrt(&["--batch", "--all-tasks", "--pid", "0", &pid.to_string()]);
    }
}

/// The threads of a QEMU that emulate a CPU.
fn cpu_threads(pid: i32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads
        .into_iter()
        .flatten()
        .flatten()
        .filter(|thread| {
            fs::read_to_string(thread.path().join("comm"))
                .is_ok_and(|name| name.starts_with("CPU "))
        })
        .filter_map(|thread| thread.file_name().into_string().ok())
        .collect()
}

fn await_dom0(dir: &Path, pid: i32, port: u16) -> Result<Domain> {
    let deadline = Instant::now() + LONG;
    let log = dir.join("serial.log");
    loop {
        if !alive(pid) {
            bail!("QEMU ended");
        }
        let text = fs::read(&log).unwrap_or_default();
        if String::from_utf8_lossy(&text).contains("companion: dom0 is ready") {
            break;
        }
        if Instant::now() > deadline {
            bail!("dom0 is not ready after {} s", LONG.as_secs());
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(Domain::new("dom0", Link::dom0(port, BRIEF)?))
}

fn alive(pid: i32) -> bool {
    // Of that number and still a QEMU: numbers are used again.
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .is_ok_and(|name| name.starts_with("qemu-system"))
}

fn end(pid: i32) {
    if !alive(pid) {
        return;
    }
    // SAFETY: kill() takes two numbers and touches no memory.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    for _ in 0..100 {
        if !alive(pid) {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    // SAFETY: As above.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Notes that the machine of this folder has ended.
fn forget(dir: &Path) {
    for name in ["state", "pid"] {
        fs::remove_file(dir.join(name)).ok();
    }
}

/// A path inside a QEMU option, where a comma separates.
pub(crate) fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..)
        .unwrap_or_default()
        .join("\n")
}
