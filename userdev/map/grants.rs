// SPDX-License-Identifier: GPL-2.0

//! Pages of other domains: what a program has named, and what of it is mapped.

use abi::types::{
    DomainId,
    GrantRef, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SetOnce, //
    },
};
use linux::{
    limit::Share,
    miscdev::UserPages,
    mm::pages::UserPage, //
};
use xen_core::foreign::ForeignPages;

use crate::parting::Parting;

/// A reference that a program has named, which counts as a page from then on.
pub(super) struct Named {
    pub(super) domain: DomainId,
    pub(super) gref: GrantRef,
    pub(super) _share: Share,
}

/// References that a program has named together, and their pages as soon as it maps them.
///
/// When it is dropped it says what the program wants, and the pages are the other domains' alone.
#[pin_data(PinnedDrop)]
pub(crate) struct Grants {
    // Declared first: the references count until their pages are back.
    pages: SetOnce<ForeignPages>,
    refs: KVVec<Named>,
    /// Where they are in the program's memory.
    address: Atomic<usize>,
    /// What is to be said, and of which page.
    #[pin]
    parting: Mutex<(usize, Parting)>,
}

impl Grants {
    pub(super) fn new(refs: KVVec<Named>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                pages: SetOnce::new(),
                refs,
                address: Atomic::new(0),
                parting <- new_mutex!((0, Parting::default()), "oxen_userdev_parting"),
            }),
            GFP_KERNEL,
        )
    }

    /// How many pages.
    pub(super) fn count(&self) -> usize {
        self.refs.len()
    }

    /// The address at which the program maps them, 0 if it has not.
    pub(super) fn address(&self) -> usize {
        self.address.load(Relaxed)
    }

    /// Maps the pages, which can be done once. The caller sees to it that nobody else does meanwhile.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it was done, or a byte is to become 0 that the program cannot write; as for [`ForeignPages::new`].
    pub(super) fn map(&self, address: usize, is_writable: bool) -> Result {
        if self.pages.as_ref().is_some() || !is_writable && self.parting.lock().1.clears() {
            return Err(EINVAL);
        }
        let refs = self.refs.iter().map(|named| (named.domain, named.gref));
        let pages = ForeignPages::new(refs, is_writable)?;
        self.address.store(address, Relaxed);
        self.pages.populate(pages);
        Ok(())
    }

    /// What is to be said of the page of this number when it goes, in the place of what was.
    ///
    /// # Errors
    ///
    /// `EINVAL` when a byte is to become 0 in a page that can only be read.
    pub(super) fn set_parting(&self, page: usize, parting: Parting) -> Result {
        let is_readonly = |pages: &ForeignPages| pages.writable(page).is_none();
        if parting.clears() && self.pages.as_ref().is_some_and(is_readonly) {
            return Err(EINVAL);
        }
        *self.parting.lock() = (page, parting);
        Ok(())
    }
}

#[pinned_drop]
impl PinnedDrop for Grants {
    fn drop(self: Pin<&mut Self>) {
        let said = self.parting.lock();
        let pages = self.pages.as_ref();
        said.1.say(pages.and_then(|pages| pages.writable(said.0)));
    }
}

impl UserPages for Grants {
    fn page(&self, index: usize) -> Option<UserPage<'_>> {
        self.pages.as_ref()?.user_page(index)
    }
}
