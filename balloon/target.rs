// SPDX-License-Identifier: GPL-2.0

//! What the toolstack writes in `memory/target`. The guest goes towards it, in bounded steps.

use abi::balloon;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use linux::fmt::Shown;
use xenbus::{
    Complaints,
    Follow,
    Store, //
};

use crate::size::Size;

/// What follows the toolstack.
pub(crate) struct Target {
    store: Store,
    size: Arc<Size>,
}

impl Follow for Target {
    const KEYS: &'static [&'static str] = &[balloon::TARGET];

    fn look(&self, log: &Complaints) -> Result<Option<u32>> {
        // Without an answer, what was wanted last is wanted on.
        if let Some(wanted) = self.wanted(Some(log))? {
            self.size.want(wanted);
        }
        Ok(self.size.go())
    }

    fn failed(error: Error) {
        pr_warn!("memory/target cannot be read ({error:?}); the guest stays as large as it is\n");
    }
}

impl Target {
    pub(crate) fn new(store: &Store, size: Arc<Size>) -> Self {
        Self {
            store: store.clone(),
            size,
        }
    }

    /// Tells the log of what the guest gives back at once, because it was built with more memory than it may use.
    pub(crate) fn announce(&self) {
        if let Ok(Some(wanted @ 1..)) = self.wanted(None) {
            pr_info!(
                "{} of this guest's MiB are not for it to use and go back to Xen\n",
                balloon::mib(wanted)
            );
        }
    }

    /// How many pages have to be away. `None` if the toolstack does not say so.
    fn wanted(&self, log: Option<&Complaints>) -> Result<Option<u64>> {
        let (Some(target), Some(most)) = (
            self.pages(balloon::TARGET, log)?,
            self.pages(balloon::STATIC_MAX, log)?,
        ) else {
            return Ok(None);
        };
        let videoram = self.pages(balloon::VIDEORAM, log)?.unwrap_or(0);
        Ok(Some(balloon::wanted(most, videoram, target)))
    }

    fn pages(&self, path: &str, log: Option<&Complaints>) -> Result<Option<u64>> {
        let value = match self.store.read(path) {
            Ok(value) => value,
            Err(ENOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        match balloon::pages(value.as_bytes()) {
            Ok(pages) => Ok(Some(pages)),
            Err(why) => {
                if log.is_some_and(Complaints::another) {
                    pr_warn!(
                        "{path}: {}; the guest stays as large as it is\n",
                        Shown(why)
                    );
                }
                Ok(None)
            }
        }
    }
}
