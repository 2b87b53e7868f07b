// SPDX-License-Identifier: GPL-2.0

//! What a disk is made of: a file, or memory.

use anyhow::{Context, Result};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes in the unit of the protocol's sector numbers.
pub const SECTOR: u64 = 512;

/// The data of a disk.
pub enum Disk {
    /// In a file.
    File(File, u64),
    /// In memory, and lost with the program.
    Memory(Vec<u8>),
}

impl Disk {
    /// Opens a file; the disk has its length.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = || format!("{}", path.display());
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .with_context(shown)?;
        let len = file.metadata().with_context(shown)?.len();
        Ok(Self::File(file, len))
    }

    /// A disk of `mib` MiB in memory, all zero.
    pub fn memory(mib: usize) -> Self {
        Self::Memory(vec![0; mib << 20])
    }

    /// Size in units of [`SECTOR`].
    pub fn sectors(&self) -> u64 {
        let bytes = match self {
            Self::File(_, len) => *len,
            Self::Memory(data) => data.len() as u64,
        };
        bytes / SECTOR
    }

    /// First byte of `len` bytes from `sector` on, if all of them are on the disk.
    fn place(&self, sector: u64, len: u64) -> Option<u64> {
        let first = sector.checked_mul(SECTOR)?;
        let end = first.checked_add(len)?;
        (end <= self.sectors() * SECTOR).then_some(first)
    }

    /// Reads from `sector` on.
    ///
    /// # Errors
    ///
    /// Beyond the end, and when the file cannot be read.
    pub fn read(&self, sector: u64, into: &mut [u8]) -> Result<()> {
        let at = self
            .place(sector, into.len() as u64)
            .context("beyond the end")?;
        match self {
            Self::File(file, _) => file.read_exact_at(into, at)?,
            Self::Memory(data) => into.copy_from_slice(&data[at as usize..][..into.len()]),
        }
        Ok(())
    }

    /// Writes from `sector` on.
    ///
    /// # Errors
    ///
    /// Beyond the end, and when the file cannot be written.
    pub fn write(&mut self, sector: u64, from: &[u8]) -> Result<()> {
        let at = self
            .place(sector, from.len() as u64)
            .context("beyond the end")?;
        match self {
            Self::File(file, _) => file.write_all_at(from, at)?,
            Self::Memory(data) => data[at as usize..][..from.len()].copy_from_slice(from),
        }
        Ok(())
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    ///
    /// When the file cannot be synchronised.
    pub fn flush(&self) -> Result<()> {
        match self {
            Self::File(file, _) => Ok(file.sync_data()?),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Forgets `sectors` sectors from `sector` on: they read as zero afterwards.
    ///
    /// # Errors
    ///
    /// Beyond the end, and when the file system cannot punch holes.
    pub fn discard(&mut self, sector: u64, sectors: u64) -> Result<()> {
        let len = sectors.checked_mul(SECTOR).context("beyond the end")?;
        let at = self.place(sector, len).context("beyond the end")?;
        match self {
            Self::File(file, _) => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                let (at, len) = (i64::try_from(at)?, i64::try_from(len)?);
                // SAFETY: fallocate() takes numbers and touches no memory.
                if unsafe { libc::fallocate(file.as_raw_fd(), mode, at, len) } != 0 {
                    return Err(std::io::Error::last_os_error().into());
                }
            }
            Self::Memory(data) => data[at as usize..][..len as usize].fill(0),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_disk_is_its_end() {
        let mut disk = Disk::memory(1);
        assert_eq!(disk.sectors(), 2048);
        let mut sector = [1; 512];
        disk.write(2047, &sector).expect("the last sector");
        disk.read(2047, &mut sector).expect("the last sector");
        assert_eq!(sector, [1; 512]);
        disk.discard(2047, 1).expect("the last sector");
        disk.read(2047, &mut sector).expect("the last sector");
        assert_eq!(sector, [0; 512]);
        for first in [2048, u64::MAX / 512, u64::MAX] {
            assert!(disk.read(first, &mut sector).is_err());
            assert!(disk.write(first, &sector).is_err());
            assert!(disk.discard(first, 1).is_err());
        }
        assert!(disk.discard(0, 2049).is_err() && disk.discard(0, u64::MAX).is_err());
    }
}
