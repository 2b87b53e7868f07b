// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/gntalloc`: pages that a program shares with another domain, as libxengnttab's `xengntshr` calls use it.
//!
//! A page is granted until the program has given it up in the file and nothing maps it any more. One that the other domain
//! still uses then is kept as [`grant_table`] keeps those of drivers, and counts until that lets go.

mod page;

use abi::{
    grant::Access,
    shared::bytes_of,
    types::DomainId,
    userdev::{
        gntalloc::{
            Alloc,
            Command,
            Dealloc,
            WRITABLE, //
        },
        notify::Notify,
        space::{
            self,
            Space, //
        },
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
    limit::Limit,
    miscdev::{
        Area,
        Argument,
        Stream, //
    },
    sync::wait::WaitQueue, //
};

use self::page::{
    Page,
    Pages, //
};
use crate::{
    common::{
        offset,
        page_number,
        Common, //
    },
    known::Known,
    parting::Parting, //
};

/// A page and its place in the file.
type Placed = (u64, Arc<Page>);

/// What is under the lock of a file. It is taken with that of a program's memory held, so nothing is copied under it.
struct Own {
    space: Space,
    /// In the order of their places.
    pages: KVVec<Placed>,
}

impl Own {
    fn run(&self, first: u64, count: u64) -> Option<&[Placed]> {
        self.pages
            .get(space::run(&self.pages, |(place, _)| *place, first, count)?)
    }
}

/// An open file.
#[pin_data]
pub(crate) struct File {
    limit: Arc<Limit>,
    known: Arc<Known>,
    #[pin]
    own: Mutex<Own>,
}

impl File {
    fn alloc(&self, argument: Argument) -> Result {
        let mut alloc: Alloc = argument.read()?;
        let domain = DomainId::from_untrusted(alloc.domain.into()).ok_or(EINVAL)?;
        let access = if alloc.flags & WRITABLE != 0 {
            Access::ReadWrite
        } else {
            Access::ReadOnly
        };
        // CAST: `usize` has 64 bits.
        let count = alloc.count as usize;
        if count == 0 {
            return Err(EINVAL);
        }
        if count > self.limit.most() {
            return Err(ENOSPC);
        }
        let mut pages = KVVec::with_capacity(count, GFP_KERNEL)?;
        let mut grefs = KVVec::with_capacity(count, GFP_KERNEL)?;
        let first = self
            .own
            .lock()
            .space
            .take(alloc.count.into())
            .ok_or(ENOSPC)?;
        for place in (first..).take(count) {
            let share = Limit::take(&self.limit).ok_or(ENOSPC)?;
            let page = Page::new(domain, access, share)?;
            grefs.push(page.gref().ok_or(ENOMEM)?, GFP_KERNEL)?;
            pages.push((place, page), GFP_KERNEL)?;
        }
        alloc.index = offset(first);
        argument.write(&alloc)?;
        let mut out = argument
            .at(
                size_of::<Alloc>(),
                grefs.len().saturating_mul(size_of::<u32>()),
            )
            .writer();
        for gref in &grefs {
            out.write_slice(bytes_of(gref))?;
        }
        let mut own = self.own.lock();
        own.pages.reserve(count, GFP_KERNEL)?;
        for page in pages.drain_all() {
            own.pages.push(page, GFP_KERNEL)?;
        }
        // Another thread may have been faster.
        own.pages.sort_unstable_by_key(|(place, _)| *place);
        Ok(())
    }

    fn dealloc(&self, argument: Argument) -> Result {
        let Dealloc { index, count, .. } = argument.read()?;
        let first = page_number(index)?;
        let mut own = self.own.lock();
        own.run(first, count.into()).ok_or(EINVAL)?;
        let end = first.saturating_add(count.into());
        own.pages.retain(|(place, _)| !(first..end).contains(place));
        Ok(())
    }

    fn set_notify(&self, argument: Argument) -> Result {
        let notify: Notify = argument.read()?;
        let wanted = notify.wanted().ok_or(EINVAL)?;
        let parting = Parting::new(&wanted, &self.known)?;
        let own = self.own.lock();
        let found = own.run(wanted.page, 1).and_then(|run| run.first());
        let (_, page) = found.ok_or(ENOENT)?;
        page.set_parting(parting);
        Ok(())
    }
}

impl Stream for File {
    const NAME: &'static CStr = c"xen/gntalloc";

    type Module = crate::Own;

    type Context = Common;

    type Pages = Pages;

    fn open(common: &Common, _wait: Arc<WaitQueue>) -> Result<Arc<Self>> {
        let own = Own {
            space: Space::default(),
            pages: KVVec::new(),
        };
        Arc::pin_init(
            pin_init!(Self {
                limit: common.limit.clone(),
                known: common.known.clone(),
                own <- new_mutex!(own, "oxen_userdev_alloc"),
            }),
            GFP_KERNEL,
        )
    }

    fn ioctl(&self, command: u32, argument: Argument) -> Result<u32> {
        match Command::from_number(command).ok_or(ENOTTY)? {
            Command::Alloc => self.alloc(argument),
            Command::Dealloc => self.dealloc(argument),
            Command::SetNotify => self.set_notify(argument),
        }
        .map(|()| 0)
    }

    fn mmap(&self, area: &Area) -> Result<Arc<Pages>> {
        let mut pages = KVVec::with_capacity(area.count, GFP_KERNEL)?;
        let own = self.own.lock();
        // CAST: `u64` is not smaller.
        for (_, page) in own.run(area.first, area.count as u64).ok_or(ENOENT)? {
            pages.push(page.clone(), GFP_KERNEL)?;
        }
        Pages::new(pages)
    }
}
