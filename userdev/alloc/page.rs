// SPDX-License-Identifier: GPL-2.0

//! A page that a program shares, in its file and in its memory.

use abi::{
    grant::Access,
    types::{
        DomainId,
        GrantRef, //
    },
};
use grant_table::GrantedPages;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use linux::{
    limit::Share,
    miscdev::UserPages,
    mm::pages::UserPage, //
};

use crate::parting::Parting;

/// A page that a program shares. It says what the program wants when it is dropped, and ends access then.
#[pin_data(PinnedDrop)]
pub(super) struct Page {
    granted: GrantedPages,
    #[pin]
    parting: Mutex<Parting>,
}

impl Page {
    /// Makes a page for `domain`.
    ///
    /// # Errors
    ///
    /// As for [`GrantedPages::new`].
    pub(super) fn new(domain: DomainId, access: Access, share: Share) -> Result<Arc<Self>> {
        let granted = GrantedPages::counted(domain, access, share)?;
        Arc::pin_init(
            pin_init!(Self {
                granted,
                parting <- new_mutex!(Parting::default(), "oxen_userdev_parting"),
            }),
            GFP_KERNEL,
        )
    }

    pub(super) fn gref(&self) -> Option<GrantRef> {
        self.granted.grefs().first().copied()
    }

    /// What is to be said when it goes, in the place of what was.
    pub(super) fn set_parting(&self, parting: Parting) {
        *self.parting.lock() = parting;
    }
}

#[pinned_drop]
impl PinnedDrop for Page {
    fn drop(self: Pin<&mut Self>) {
        self.parting.lock().say(Some(self.granted.memory()));
    }
}

/// Pages in a program's memory.
pub(crate) struct Pages(KVVec<Arc<Page>>);

impl Pages {
    pub(super) fn new(pages: KVVec<Arc<Page>>) -> Result<Arc<Self>> {
        Ok(Arc::new(Self(pages), GFP_KERNEL)?)
    }
}

impl UserPages for Pages {
    fn page(&self, index: usize) -> Option<UserPage<'_>> {
        self.0.get(index)?.granted.pages().user_page(0)
    }
}
