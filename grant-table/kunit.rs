// SPDX-License-Identifier: GPL-2.0

//! Grants whose peer does not let go, in a table that lies in our own memory: the peer is a bit that the tests set.

use crate::{
    frame::Frame,
    owner::Owner,
    pool::{
        Grant,
        Pool, //
    },
    table::Table,
};
use abi::{
    grant::{
        Access,
        ENTRIES_PER_FRAME,
        ENTRY_SIZE,
        PERMIT_ACCESS,
        READING,
        RESERVED_ENTRIES, //
    },
    shared::Memory,
    types::{
        DomainId,
        GrantRef, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    },
};
use linux::{
    error::ENOBUFS,
    mm::pages::OwnedPages, //
};

/// References of a frame that can be handed out.
const REFS: usize = (ENTRIES_PER_FRAME - RESERVED_ENTRIES) as usize;

fn table() -> Result<Arc<Table>> {
    let table = Table::new(4)?;
    Table::add_plain(&table, Frame::plain()?)?;
    Ok(table)
}

/// The peer maps the page of `gref`, or lets go of it.
fn peer(table: &Table, gref: GrantRef, maps: bool) -> Result {
    let flags = PERMIT_ACCESS | if maps { READING } else { 0 };
    let at = gref.0 as usize * ENTRY_SIZE;
    let frame = table.frame(0).ok_or(EINVAL)?;
    frame.memory().store_release_u16(at, flags);
    Ok(())
}

/// A page that is granted out of `pool`.
fn granted(pool: &Pool) -> Result<(Grant, Owner)> {
    let page = OwnedPages::new(1)?.take().next().ok_or(ENOMEM)?;
    let grant = pool
        .grant(DomainId(0), page.gfn(), Access::ReadOnly)
        .ok_or(ENOBUFS)?;
    Ok((grant, page.into()))
}

/// Waits until nothing is deferred, for 20 s at most.
fn drained(table: &Table) -> bool {
    for _ in 0..2000 {
        if table.counts().deferred == 0 {
            // The last thing that the work does is to let this module go.
            table.flush();
            return true;
        }
        fsleep(Delta::from_millis(10));
    }
    false
}

#[kunit_tests(oxen_grant)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_in_use_waits_and_the_pool_goes_on() -> Result {
        let table = table()?;
        let pool = Pool::of(table.clone(), 2)?;
        let (grant, owner) = granted(&pool)?;
        let gref = grant.gref();
        peer(&table, gref, true)?;
        assert!(!pool.end_or_defer(grant, owner));
        assert_eq!(table.counts().deferred, 1);
        // Two can still be granted.
        let (first, second) = (granted(&pool)?, granted(&pool)?);
        assert!(first.0.gref() != gref && second.0.gref() != gref);
        assert!(pool.end_or_defer(first.0, first.1));
        assert!(pool.end_or_defer(second.0, second.1));
        drop(pool);
        assert_eq!(table.counts().free, REFS - 1);
        peer(&table, gref, false)?;
        assert!(drained(&table));
        assert_eq!((table.counts().free, table.counts().active), (REFS, 0));
        Ok(())
    }

    /// All references are taken when the peer keeps a page: the pool is short of one only as long as it does.
    #[test]
    fn no_place_is_lost_when_the_table_is_full() -> Result {
        let table = table()?;
        let pool = Pool::of(table.clone(), REFS)?;
        let (grant, owner) = granted(&pool)?;
        let gref = grant.gref();
        peer(&table, gref, true)?;
        assert!(!pool.end_or_defer(grant, owner));
        let mut grants = KVVec::new();
        while let Ok(grant) = granted(&pool) {
            grants.push(grant, GFP_KERNEL)?;
        }
        assert_eq!(grants.len(), REFS - 1);
        peer(&table, gref, false)?;
        assert!(drained(&table));
        grants.push(granted(&pool)?, GFP_KERNEL)?;
        assert!(granted(&pool).is_err());
        for (grant, owner) in grants.drain_all() {
            assert!(pool.end_or_defer(grant, owner));
        }
        drop(pool);
        assert_eq!((table.counts().free, table.counts().active), (REFS, 0));
        Ok(())
    }

    #[test]
    fn a_pool_that_goes_leaves_what_is_in_use() -> Result {
        let table = table()?;
        let pool = Pool::of(table.clone(), 3)?;
        let (grant, owner) = granted(&pool)?;
        let gref = grant.gref();
        peer(&table, gref, true)?;
        assert!(pool.end(grant).is_err());
        drop(pool);
        let counts = table.counts();
        assert_eq!((counts.deferred, counts.free), (1, REFS - 1));
        peer(&table, gref, false)?;
        assert!(drained(&table));
        drop(owner);
        assert_eq!(table.counts().free, REFS);
        Ok(())
    }

    /// The next kernel must not find a page granted, nor may entries be written that it takes for RAM.
    #[test]
    fn access_ends_before_another_kernel_runs() -> Result {
        use linux::power::shutdown::Shutdown;

        let table = table()?;
        let pool = Pool::of(table.clone(), 2)?;
        let (first, second) = (granted(&pool)?, granted(&pool)?);
        peer(&table, second.0.gref(), true)?;
        table.shutdown();
        assert_eq!(table.counts().active, 1);
        peer(&table, second.0.gref(), false)?;
        table.shutdown();
        assert_eq!(table.counts().active, 0);
        drop((pool, first, second));
        assert_eq!(table.counts().free, REFS);
        Ok(())
    }
}
