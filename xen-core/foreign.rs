// SPDX-License-Identifier: GPL-2.0

//! Pages of other domains, in the place of our RAM.
//!
//! The RAM of a page of ours goes back to Xen, and the other domain's page is mapped at its frame; at the end it is the other
//! way round. So the frame is one that the kernel knows, and it is the kernel's again only with RAM behind it. A guest that was
//! restored or migrated has nothing mapped any more: then there is RAM again, which holds zeroes.

use crate::{
    hypercall::{
        event,
        grant,
        memory, //
    },
    resume::{
        self,
        Resume,
        Stage,
        Wake, //
    },
};
use abi::{
    shared::RawMemory,
    types::{
        DomainId,
        Gfn,
        GrantRef, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};
use linux::{
    mm::pages::{
        OwnedPages,
        UserPage, //
    },
    power::shutdown::{
        Hook,
        Shutdown, //
    },
};

/// What lies at a frame.
enum At {
    /// RAM of ours.
    Ram,
    /// Nothing.
    Nothing,
    /// A page of another domain, by Xen's handle of the mapping.
    Foreign(u32),
}

fn gfn(page: &OwnedPages) -> Gfn {
    page.gfns().next().unwrap_or_default()
}

impl At {
    /// Maps the page of another domain at the frame of `page`, where RAM lies that holds nothing.
    fn map(
        &mut self,
        page: &OwnedPages,
        domain: DomainId,
        gref: GrantRef,
        is_writable: bool,
    ) -> Result {
        // SAFETY: The page is ours, holds nothing, and is reached as shared memory only.
        if unsafe { memory::decrease_reservation(&mut [gfn(page)]) }? == 0 {
            return Err(ENOMEM);
        }
        *self = Self::Nothing;
        // SAFETY: Nothing lies there, and what will is reached as shared memory only.
        *self = Self::Foreign(unsafe { grant::map(gfn(page), domain, gref, is_writable) }?);
        Ok(())
    }

    /// Puts RAM at the frame of `page` again.
    fn give_back(&mut self, page: &OwnedPages) -> Result {
        if let Self::Foreign(handle) = *self {
            // SAFETY: What is read there means nothing as long as nothing is there.
            unsafe { grant::unmap(gfn(page), handle) }?;
            *self = Self::Nothing;
        }
        if let Self::Nothing = *self {
            if memory::populate_physmap(&mut [gfn(page)])? == 0 {
                return Err(ENOMEM);
            }
            *self = Self::Ram;
        }
        Ok(())
    }
}

/// The number of this domain, which it loses when it is moved: Xen tells it of a port that this domain may bind to.
fn own_domain() -> Result<DomainId> {
    let port = event::alloc_unbound(DomainId::SELF)?;
    let status = event::status(port);
    event::close(port)?;
    Ok(status?.remote)
}

/// The pages and what lies there.
#[pin_data(PinnedDrop)]
struct Pages {
    /// Each of them alone.
    pages: KVVec<OwnedPages>,
    /// What lies at the frame of each.
    #[pin]
    at: Mutex<KVVec<At>>,
}

impl Pages {
    /// Puts RAM at all frames again.
    ///
    /// # Errors
    ///
    /// The last one, of a frame that is no RAM then.
    fn give_back(&self) -> Result {
        let mut result = Ok(());
        for (page, at) in self.pages.iter().zip(self.at.lock().iter_mut()) {
            result = at.give_back(page).and(result);
        }
        result
    }
}

impl Resume for Pages {
    fn late(&self, wake: Wake) {
        if wake == Wake::Cancelled {
            return;
        }
        for at in self.at.lock().iter_mut() {
            if let At::Foreign(_) = at {
                *at = At::Nothing;
            }
        }
        // A frame where that fails is tried again at the end.
        self.give_back().ok();
    }
}

impl Shutdown for Pages {
    fn shutdown(&self) {
        if let Err(error) = self.give_back() {
            pr_err!("A page of another domain stays where the next kernel looks for RAM ({error:?}): restart the guest instead.\n");
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Pages {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        for (page, at) in this.pages.drain_all().zip(this.at.lock().iter_mut()) {
            if let Err(error) = at.give_back(&page) {
                pr_warn!("A page of another domain could not be made RAM again ({error:?}): it is lost until the next boot.\n");
                page.leak();
            }
        }
    }
}

/// Pages of other domains, mapped as long as this value lives.
///
/// Dropping it gives RAM back to the kernel; a page where that fails is kept for good. It is undone before another kernel
/// runs, too.
pub struct ForeignPages {
    // The order matters: nothing is undone twice.
    _hook: Pin<KBox<Hook<Pages>>>,
    _resume: resume::Registration,
    pages: Arc<Pages>,
    is_writable: bool,
}

impl ForeignPages {
    /// Maps pages by their references. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when one of them is not granted to this guest as it is wanted, or is this guest's own: Xen would take the page
    /// out of its place here; `ENOSPC` when Xen maps no more for it, `EAGAIN` when the other domain's page is swapped out,
    /// `ENOMEM`. Nothing is mapped then.
    pub fn new(
        refs: impl ExactSizeIterator<Item = (DomainId, GrantRef)>,
        is_writable: bool,
    ) -> Result<Self> {
        crate::require()?;
        let own = own_domain()?;
        let mut ram = KVVec::with_capacity(refs.len(), GFP_KERNEL)?;
        let mut at = KVVec::with_capacity(refs.len(), GFP_KERNEL)?;
        for _ in 0..refs.len() {
            ram.push(OwnedPages::new(1)?, GFP_KERNEL)?;
            at.push(At::Ram, GFP_KERNEL)?;
        }
        // From here on, drop undoes what was done.
        let pages = Arc::pin_init(
            pin_init!(Pages {
                pages: ram,
                at <- new_mutex!(at, "oxen_foreign_pages"),
            }),
            GFP_KERNEL,
        )?;
        let hook = Hook::new(pages.clone())?;
        let resume = resume::Registration::new(Stage::Devices, pages.clone())?;
        let mut at = pages.at.lock();
        for ((page, at), (domain, gref)) in pages.pages.iter().zip(at.iter_mut()).zip(refs) {
            if domain == own || domain == DomainId::SELF {
                return Err(EINVAL);
            }
            at.map(page, domain, gref, is_writable)?;
        }
        drop(at);
        Ok(Self {
            _hook: hook,
            _resume: resume,
            pages,
            is_writable,
        })
    }

    /// The page of this number as shared memory, unless it can only be read.
    pub fn writable(&self, index: usize) -> Option<&RawMemory> {
        let page = self.pages.pages.get(index)?;
        self.is_writable.then(|| page.memory())
    }

    /// The page of this number, for a program, which may write only if it was mapped so.
    pub fn user_page(&self, index: usize) -> Option<UserPage<'_>> {
        self.pages.pages.get(index)?.user_page(0)
    }
}
