// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/gntdev`: pages of other domains in a program's memory, as libxengnttab's `xengnttab` calls use it.
//!
//! A program names references, and maps them by one `mmap(2)`. They are mapped until the file has given them up and the
//! program's memory has nothing of them any more.

mod copy;
mod grants;

use abi::userdev::{
    gntdev::{
        Command,
        Find,
        Map,
        Ref,
        SetMost,
        Unmap, //
    },
    notify::Notify,
    space::Space, //
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

use self::grants::{
    Grants,
    Named, //
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

/// What is under the lock of a file. It is taken with that of a program's memory held, so nothing is copied under it.
struct Own {
    space: Space,
    /// With their places, in the order of these.
    grants: KVVec<(u64, Arc<Grants>)>,
    /// How many pages the program wants at most.
    most: usize,
}

impl Own {
    /// What was named together from this place on.
    fn get(&self, first: u64, count: usize) -> Option<&(u64, Arc<Grants>)> {
        let at = self
            .grants
            .binary_search_by_key(&first, |(place, _)| *place);
        let found = self.grants.get(at.ok()?)?;
        (found.1.count() == count).then_some(found)
    }

    /// How many pages there are.
    fn count(&self) -> usize {
        self.grants.iter().map(|(_, grants)| grants.count()).sum()
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
    fn map(&self, argument: Argument) -> Result {
        let mut map: Map = argument.read()?;
        // CAST: `usize` has 64 bits.
        let count = map.count as usize;
        if count == 0 || count > self.limit.most() {
            return Err(EINVAL);
        }
        let mut refs = KVVec::with_capacity(count, GFP_KERNEL)?;
        for number in 0..count {
            let at = size_of::<Ref>().wrapping_mul(number);
            let named: Ref = argument.behind(size_of::<Map>().wrapping_add(at)).read()?;
            let named = Named {
                domain: named.domain().ok_or(EINVAL)?,
                gref: named.gref,
                _share: Limit::take(&self.limit).ok_or(ENOSPC)?,
            };
            refs.push(named, GFP_KERNEL)?;
        }
        let grants = Grants::new(refs)?;
        let first = {
            let mut own = self.own.lock();
            if own.count().saturating_add(count) > own.most {
                return Err(ENOSPC);
            }
            own.space.take(map.count.into()).ok_or(ENOSPC)?
        };
        map.index = offset(first);
        argument.write(&map)?;
        let mut own = self.own.lock();
        own.grants.push((first, grants), GFP_KERNEL)?;
        // Another thread may have been faster.
        own.grants.sort_unstable_by_key(|(place, _)| *place);
        Ok(())
    }

    fn unmap(&self, argument: Argument) -> Result {
        let Unmap { index, count, .. } = argument.read()?;
        let first = page_number(index)?;
        let mut own = self.own.lock();
        // CAST: `usize` has 64 bits.
        own.get(first, count as usize).ok_or(ENOENT)?;
        own.grants.retain(|(place, _)| *place != first);
        Ok(())
    }

    fn find(&self, argument: Argument) -> Result {
        let mut find: Find = argument.read()?;
        let own = self.own.lock();
        // The latest, if the program has put something else in the place of what it has not given up.
        let mut all = own.grants.iter().rev();
        let (place, grants) = all
            .find(|(_, grants)| grants.address() as u64 == find.address && find.address != 0)
            .ok_or(EINVAL)?;
        find.index = offset(*place);
        find.count = u32::try_from(grants.count()).map_err(|_| EINVAL)?;
        drop(own);
        argument.write(&find)
    }

    fn set_most(&self, argument: Argument) -> Result {
        let SetMost { count } = argument.read()?;
        let mut own = self.own.lock();
        // CAST: `usize` has 64 bits.
        let count = count as usize;
        if count > self.limit.most() || count < own.count() {
            return Err(EINVAL);
        }
        own.most = count;
        Ok(())
    }

    fn set_notify(&self, argument: Argument) -> Result {
        let notify: Notify = argument.read()?;
        let wanted = notify.wanted().ok_or(EINVAL)?;
        let parting = Parting::new(&wanted, &self.known)?;
        let own = self.own.lock();
        for (place, grants) in own.grants.iter() {
            let index = wanted.page.checked_sub(*place);
            if let Some(Ok(index)) = index.map(usize::try_from) {
                if index < grants.count() {
                    return grants.set_parting(index, parting);
                }
            }
        }
        Err(ENOENT)
    }
}

impl Stream for File {
    const NAME: &'static CStr = c"xen/gntdev";

    type Module = crate::Own;

    type Context = Common;

    type Pages = Grants;

    fn open(common: &Common, _wait: Arc<WaitQueue>) -> Result<Arc<Self>> {
        let own = Own {
            space: Space::default(),
            grants: KVVec::new(),
            most: common.limit.most(),
        };
        Arc::pin_init(
            pin_init!(Self {
                limit: common.limit.clone(),
                known: common.known.clone(),
                own <- new_mutex!(own, "oxen_userdev_map"),
            }),
            GFP_KERNEL,
        )
    }

    fn ioctl(&self, command: u32, argument: Argument) -> Result<u32> {
        match Command::from_number(command).ok_or(ENOTTY)? {
            Command::Map => self.map(argument),
            Command::Unmap => self.unmap(argument),
            Command::Find => self.find(argument),
            Command::SetMost => self.set_most(argument),
            Command::SetNotify => self.set_notify(argument),
            Command::Copy => copy::copy(argument),
        }
        .map(|()| 0)
    }

    fn mmap(&self, area: &Area) -> Result<Arc<Grants>> {
        if !area.is_shared {
            return Err(EINVAL);
        }
        let own = self.own.lock();
        let (_, grants) = own.get(area.first, area.count).ok_or(EINVAL)?;
        grants.map(area.address, area.is_writable)?;
        Ok(grants.clone())
    }
}
