// SPDX-License-Identifier: GPL-2.0

//! Everything a companion is made of, as files: made by the scripts in `tests`, found in
//! the cache the next time.

use anyhow::{bail, ensure, Context, Result};
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian kernel used when neither `KERNEL` nor a recorded SDK names another.
const DEFAULT_KERNEL: &str = "7.3.4+deb13-amd64";

/// Where the sources, the cache and the kernel are.
#[derive(Clone, Debug)]
pub struct Assets {
    scripts: PathBuf,
    cache: PathBuf,
    release: String,
    guest: Option<PathBuf>,
}

impl Assets {
    /// From the environment: `OXEN_CACHE`, `KERNEL`, `GUEST_KERNEL`.
    pub fn from_env() -> Assets {
        let home = env::var("HOME").unwrap_or_else(|_| "/root".into());
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        Assets {
            scripts: Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
            cache: set("OXEN_CACHE")
                .map_or_else(|| Path::new(&home).join(".cache/oxen"), Into::into),
            release: set("KERNEL").unwrap_or_else(|| DEFAULT_KERNEL.into()),
            guest: set("GUEST_KERNEL").map(Into::into),
        }
    }

    /// The cache directory.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Release of Debian's kernel, as `uname -r` gives it.
    pub fn release(&self) -> &str {
        &self.release
    }

    fn make(&self, script: &str, args: &[&OsStr]) -> Result<PathBuf> {
        let output = Command::new(self.scripts.join(script))
            .args(args)
            .env("OXEN_CACHE", &self.cache)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("tests/{script} cannot be run"))?;
        let path = String::from_utf8_lossy(&output.stdout).trim().to_string();
        if !output.status.success() || path.is_empty() {
            bail!("tests/{script} failed, see above");
        }
        Ok(path.into())
    }

    /// Folder with `vmlinuz` and `lib/modules/RELEASE`.
    ///
    /// # Errors
    ///
    /// When Debian's packages cannot be had.
    pub fn kernel(&self) -> Result<PathBuf> {
        self.make("images/kernel.sh", &[self.release.as_ref()])
    }

    /// The hypervisor: `XEN`, or Debian's.
    ///
    /// # Errors
    ///
    /// When Debian's package cannot be had.
    pub fn xen(&self) -> Result<PathBuf> {
        match env::var_os("XEN").filter(|path| !path.is_empty()) {
            Some(path) => Ok(path.into()),
            None => self.make("images/xen.sh", &[]),
        }
    }

    /// The emulator: Debian's, without a fault of its that guests die of.
    ///
    /// # Errors
    ///
    /// When it is not installed.
    pub fn qemu(&self) -> Result<PathBuf> {
        self.make("images/qemu.sh", &[])
    }

    /// The kernel that guests boot: `GUEST_KERNEL`, an image or a folder with `vmlinuz` and `lib/modules`, or Debian's.
    ///
    /// # Errors
    ///
    /// When Debian's package cannot be had.
    pub fn guest_kernel(&self) -> Result<PathBuf> {
        match &self.guest {
            Some(folder) if folder.is_dir() => Ok(folder.join("vmlinuz")),
            Some(image) => Ok(image.clone()),
            None => Ok(self.kernel()?.join("vmlinuz")),
        }
    }

    /// Folder of a guest kernel that is not Debian's, and its release.
    fn own_guest(&self) -> Result<Option<(&Path, String)>> {
        let Some(folder) = self.guest.as_deref().filter(|path| path.is_dir()) else {
            return Ok(None);
        };
        let modules = folder.join("lib/modules");
        let first = fs::read_dir(&modules).ok().and_then(|mut dir| dir.next());
        let Some(Ok(release)) = first else {
            bail!("GUEST_KERNEL: there is no release in {}", modules.display());
        };
        Ok(Some((folder, release.file_name().to_string_lossy().into())))
    }

    /// Release of the kernel that guests boot.
    ///
    /// # Errors
    ///
    /// When `GUEST_KERNEL` is a folder without modules.
    pub fn guest_release(&self) -> Result<String> {
        Ok(match self.own_guest()? {
            Some((_, release)) => release,
            None => self.release.clone(),
        })
    }

    /// Root disk of dom0.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn dom0_disk(&self) -> Result<PathBuf> {
        self.make("images/dom0.sh", &[])
    }

    /// Root disk of the guests.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn guest_disk(&self) -> Result<PathBuf> {
        self.make("images/domu.sh", &[])
    }

    /// Initramfs of `dom0` or `domu`.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn initramfs(&self, kind: &str) -> Result<PathBuf> {
        let agent = self.agent()?;
        // No folder stands for Debian's kernel.
        let (folder, release) = match self.own_guest()? {
            Some(own) if kind == "domu" => own,
            _ => (Path::new(""), self.release.clone()),
        };
        let args = [
            kind.as_ref(),
            release.as_ref(),
            agent.as_ref(),
            folder.as_ref(),
        ];
        self.make("images/initramfs.sh", &args)
    }

    /// The agent's program.
    fn agent(&self) -> Result<PathBuf> {
        self.make("agent/build", &[])
    }
}

/// A guest's initramfs: the cached one plus the modules under test.
pub struct Ramdisk<'a> {
    /// Debian's kernel and the cache.
    pub assets: &'a Assets,
    /// Folder that holds the modules under test, at any depth.
    pub modules: Option<&'a Path>,
}

impl Ramdisk<'_> {
    /// Writes it to `out`, compressed.
    ///
    /// # Errors
    ///
    /// When the modules cannot be read or the archive not be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        let file = File::create(out).with_context(|| format!("{}", out.display()))?;
        let mut zstd = Command::new("zstd")
            .args(["-q", "-9"])
            .stdin(Stdio::piped())
            .stdout(file)
            .spawn()
            .context("zstd cannot be run")?;
        let packed = match zstd.stdin.take() {
            Some(mut archive) => self.pack(&mut archive),
            None => Ok(()),
        };
        let status = zstd.wait()?;
        packed?;
        ensure!(status.success(), "zstd failed, see above");
        Ok(())
    }

    /// The archive as it is: two, one after the other.
    fn pack(&self, archive: &mut impl Write) -> Result<()> {
        let base = self.assets.initramfs("domu")?;
        io::copy(&mut File::open(&base)?, archive)?;
        let Some(modules) = self.modules else {
            return Ok(());
        };
        let stage = tempfile::tempdir()?;
        let release = self.assets.guest_release()?;
        let tree = stage.path().join("lib/modules").join(&release);
        let updates = tree.join("updates");
        fs::create_dir_all(&updates)?;
        let mut found = Vec::new();
        find_modules(modules, &mut found)?;
        if found.is_empty() {
            bail!(
                "no .ko file under {}: run make modules first",
                modules.display()
            );
        }
        for module in &found {
            fs::copy(module, updates.join(module.file_name().unwrap_or_default()))?;
        }
        // Debug information only costs the guest memory. depmod has to see the kernel's modules
        // too; only its tables and ours are then packed.
        let script =
            "set -e; strip --strip-debug \"$1\"/lib/modules/*/updates/*.ko; cd \"$1\"; cpio -id --quiet -u 'lib/modules/*' <\"$2\"; depmod -b . \"$3\"; \
             find lib/modules/*/updates lib/modules/*/modules.* | cpio -o -H newc -R 0:0 --quiet";
        let output = Command::new("sh")
            .args(["-c", script, "ramdisk"])
            .args([stage.path(), &base, Path::new(&release)])
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            bail!("the modules cannot be packed into an initramfs, see above");
        }
        archive.write_all(&output.stdout)?;
        Ok(())
    }
}

/// Every `.ko` under `dir`.
fn find_modules(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("{}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        // A build folder links to its sources, and so to itself.
        if path.is_dir() && !path.is_symlink() {
            find_modules(&path, found)?;
        } else if path.extension() == Some(OsStr::new("ko")) {
            found.push(path);
        }
    }
    Ok(())
}
