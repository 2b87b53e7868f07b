// SPDX-License-Identifier: GPL-2.0

//! How much of something there may be at once, counted as long as it exists.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

/// A number of shares, of which some are taken.
pub struct Limit {
    most: usize,
    taken: Atomic<usize>,
}

/// A share that is taken, given back on drop.
pub struct Share(Arc<Limit>);

impl Limit {
    /// A limit of which nothing is taken.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(most: usize) -> Result<Arc<Self>> {
        let limit = Self {
            most,
            taken: Atomic::new(0),
        };
        Ok(Arc::new(limit, GFP_KERNEL)?)
    }

    /// How many shares there are.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Takes a share, unless all are taken.
    pub fn take(this: &Arc<Self>) -> Option<Share> {
        if this.taken.fetch_add(1, Relaxed) < this.most {
            return Some(Share(this.clone()));
        }
        this.taken.fetch_sub(1, Relaxed);
        None
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

#[kunit_tests(oxen_limit)]
mod tests {
    use super::*;

    #[test]
    fn a_share_comes_back_when_it_is_dropped() -> Result {
        let limit = Limit::new(2)?;
        let (first, second) = (Limit::take(&limit), Limit::take(&limit));
        assert!(first.is_some() && second.is_some());
        assert!(Limit::take(&limit).is_none() && Limit::take(&limit).is_none());
        drop(first);
        let third = Limit::take(&limit);
        assert!(third.is_some() && Limit::take(&limit).is_none());
        assert!(Limit::take(&Limit::new(0)?).is_none());
        Ok(())
    }
}
