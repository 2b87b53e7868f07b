// SPDX-License-Identifier: GPL-2.0

//! What a guest is made of, and the xl configuration that says so.

use std::path::PathBuf;

/// How the guest is virtualised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Hardware virtual machine with a device model: what Oxen is for.
    #[default]
    Hvm,
    /// Without a device model: only to see it refused.
    Pvh,
}

/// A disk besides the root disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its name in the guest: `xvdb`; an `hd` name has an emulated twin.
    pub name: String,
    /// Size in MiB.
    pub mib: u32,
    /// Whether the guest may write.
    pub writable: bool,
}

impl Disk {
    /// A writable disk.
    pub fn new(name: &str, mib: u32) -> Disk {
        Disk {
            name: name.into(),
            mib,
            writable: true,
        }
    }

    /// Path of its image in dom0.
    pub fn image(&self, guest: &str) -> String {
        format!("/var/lib/companion/{guest}-{}.img", self.name)
    }

    /// What `xl` calls it, in a configuration or for `block-attach`.
    pub fn spec(&self, guest: &str) -> String {
        let access = if self.writable { "rw" } else { "ro" };
        format!(
            "format=raw,vdev={},access={access},script=/run/companion/block,target={}",
            self.name,
            self.image(guest)
        )
    }
}

/// A network interface.
#[derive(Clone, Debug)]
pub struct Vif {
    /// MAC address.
    pub mac: String,
    /// Bridge in dom0: `xenbr0` (10.77.0.1/24) or `xenbr1` (10.78.0.1/24).
    pub bridge: String,
    /// Further xl settings, `key=value,…`; `type=vif` is the default: no emulated twin.
    pub settings: String,
}

impl Vif {
    /// The guest's interface number `n`, on `bridge`.
    pub fn new(n: u8, bridge: &str) -> Vif {
        Vif {
            mac: format!("00:16:3e:77:00:{n:02x}"),
            bridge: bridge.into(),
            settings: "type=vif,script=/run/companion/vif".into(),
        }
    }

    /// What `xl` calls it, in a configuration.
    pub fn spec(&self) -> String {
        format!("{},mac={},bridge={}", self.settings, self.mac, self.bridge)
    }
}

/// A guest to be.
#[derive(Clone, Debug)]
pub struct GuestConfig {
    /// Name of the domain.
    pub name: String,
    /// How it is virtualised.
    pub kind: Kind,
    /// Number of virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// Whether it boots Debian from `xvda`. Without, it stays in its initramfs.
    pub root: bool,
    /// Folder with the modules under test.
    pub modules: Option<PathBuf>,
    /// Modules its initramfs loads, in this order.
    pub load: Vec<String>,
    /// Modules of Debian's that its initramfs loads before.
    pub early: Vec<String>,
    /// Disks besides the root disk.
    pub disks: Vec<Disk>,
    /// Network interfaces.
    pub vifs: Vec<Vif>,
    /// Whether the kernel's own Xen support is kept off.
    pub nopv: bool,
    /// Whether it has an HPET, as is Xen's default.
    pub hpet: bool,
    /// More kernel arguments.
    pub extra: String,
    /// More lines for the xl configuration.
    pub lines: Vec<String>,
    /// Whether it is created paused.
    pub paused: bool,
    /// Whether to wait for its agent.
    pub wait: bool,
}

impl GuestConfig {
    /// Two CPUs, 512 MiB, `nopv`, no modules, no disks: only an initramfs with a shell.
    pub fn new(name: &str) -> GuestConfig {
        GuestConfig {
            name: name.into(),
            kind: Kind::Hvm,
            vcpus: 2,
            memory: 512,
            root: false,
            modules: None,
            load: Vec::new(),
            early: Vec::new(),
            disks: Vec::new(),
            vifs: Vec::new(),
            nopv: true,
            hpet: true,
            extra: String::new(),
            lines: Vec::new(),
            paused: false,
            wait: true,
        }
    }

    /// UNIX socket of its agent, in dom0.
    pub fn agent_socket(name: &str) -> String {
        format!("/run/companion/{name}.agent")
    }

    /// Block device of its root disk, in dom0: a snapshot of the one image.
    pub fn root_device(&self) -> String {
        format!("/dev/mapper/{}-root", self.name)
    }

    fn command_line(&self) -> String {
        let mut words = vec!["panic=0".to_string()];
        match self.kind {
            // The emulated serial port is slow: only what matters goes there. Nothing about clocks: users give nothing
            // about them either.
            Kind::Hvm => words.push(
                "console=ttyS0,115200 loglevel=3 8250.nr_uarts=1 initcall_blacklist=i8042_init"
                    .into(),
            ),
            Kind::Pvh => words.push("console=hvc0 loglevel=6".into()),
        }
        if self.nopv {
            words.push("nopv".into());
        }
        if !self.early.is_empty() {
            words.push(format!("oxen.early={}", self.early.join(",")));
        }
        if !self.load.is_empty() {
            words.push(format!("oxen.load={}", self.load.join(",")));
        }
        if self.root {
            words.push("oxen.root=xvda".into());
        }
        words.push(self.extra.clone());
        words.join(" ")
    }

    /// The xl configuration; `shared` is the folder in dom0 with the kernel and the initramfs.
    pub fn xl(&self, shared: &str) -> String {
        let name = &self.name;
        let mut disks = Vec::new();
        if self.root {
            disks.push(format!(
                "format=raw,vdev=xvda,access=rw,script=/run/companion/block,target={}",
                self.root_device()
            ));
        }
        disks.extend(self.disks.iter().map(|disk| disk.spec(name)));
        let vifs: Vec<String> = self.vifs.iter().map(Vif::spec).collect();
        let mut lines = vec![
            format!("name = \"{name}\""),
            format!("kernel = \"{shared}/vmlinuz\""),
            format!("ramdisk = \"{shared}/{name}.cpio\""),
            format!("cmdline = \"{}\"", self.command_line()),
            format!("memory = {}", self.memory),
            format!("vcpus = {}", self.vcpus),
            format!("disk = {}", list(&disks)),
            format!("vif = {}", list(&vifs)),
            "on_poweroff = \"destroy\"".into(),
            // Kept to be looked at: Xen takes a triple fault for a reboot.
            "on_reboot = \"preserve\"".into(),
            "on_crash = \"preserve\"".into(),
            // Xen intercepts RDTSC otherwise, and the emulated CPU reports RDTSCP as RDTSC.
            "tsc_mode = \"native\"".into(),
        ];
        match self.kind {
            Kind::Pvh => lines.push("type = \"pvh\"".into()),
            Kind::Hvm => {
                let agent = Self::agent_socket(name);
                lines.push("type = \"hvm\"".into());
                lines.push("vga = \"none\"".into());
                lines.push("vnc = 0".into());
                if !self.hpet {
                    lines.push("hpet = 0".into());
                }
                lines.push(format!("serial = \"file:/run/companion/{name}.serial\""));
                lines.push(format!(
                    "device_model_args_hvm = {}",
                    list(&[
                        "-device".into(),
                        // Room for the console and the agent: each port more is two queues to set up.
                        "virtio-serial-pci,id=agents,max_ports=2".into(),
                        "-chardev".into(),
                        format!("socket,id=agent,path={agent},server=on,wait=off"),
                        "-device".into(),
                        format!(
                            "virtserialport,bus=agents.0,chardev=agent,name={}",
                            agent::PORT_NAME
                        ),
                    ])
                ));
            }
        }
        lines.extend(self.lines.iter().cloned());
        lines.join("\n") + "\n"
    }
}

fn list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
    format!("[ {} ]", quoted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_disk_comes_first_and_has_no_twin() {
        let mut config = GuestConfig::new("g");
        config.root = true;
        config.disks.push(Disk::new("xvdb", 64));
        let xl = config.xl("/companion");
        let first = xl.find("vdev=xvda").expect("root disk");
        let second = xl.find("vdev=xvdb").expect("second disk");
        assert!(first < second);
        assert!(xl.contains("oxen.root=xvda"));
    }

    #[test]
    fn only_an_hvm_guest_has_a_device_model() {
        let mut config = GuestConfig::new("g");
        assert!(config.xl("/c").contains("virtserialport"));
        config.kind = Kind::Pvh;
        assert!(!config.xl("/c").contains("device_model"));
    }

    #[test]
    fn the_hpet_is_left_to_xl_unless_it_is_unwanted() {
        let mut config = GuestConfig::new("g");
        assert!(!config.xl("/c").contains("hpet"));
        config.hpet = false;
        assert!(config.xl("/c").contains("hpet = 0"));
    }
}
