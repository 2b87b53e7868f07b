// SPDX-License-Identifier: GPL-2.0

//! What keeps a granted page allocated.
//!
//! A deferred grant outlives the driver that made it, so its owner is of one of these types and nothing of the driver's own:
//! how it is dropped is code of this module and of those below it.

use linux::{
    limit::Share,
    mm::{
        page::PageRef,
        pages::OwnedPage, //
    },
    net::skb::{
        PageCopy,
        SkBuff, //
    },
};

/// What keeps a granted page allocated, and gives it back on drop. Everything that can be one is converted by `From`.
#[expect(
    dead_code,
    reason = "an owner is kept and dropped, and nothing else is done with it"
)]
pub struct Owner(Kind);

#[expect(dead_code, reason = "as above")]
enum Kind {
    /// There is no page, or one that nobody frees.
    Nothing,
    /// Counted by a limit, if there is one.
    Page(OwnedPage, Option<Share>),
    Counted(PageRef),
    Packet(SkBuff),
    Copied(PageCopy),
}

impl Owner {
    /// Of a reference through which no page is reached.
    pub(crate) const NOTHING: Self = Self(Kind::Nothing);
}

impl From<OwnedPage> for Owner {
    fn from(page: OwnedPage) -> Self {
        Self(Kind::Page(page, None))
    }
}

impl From<(OwnedPage, Option<Share>)> for Owner {
    fn from((page, share): (OwnedPage, Option<Share>)) -> Self {
        Self(Kind::Page(page, share))
    }
}

impl From<PageRef> for Owner {
    fn from(page: PageRef) -> Self {
        Self(Kind::Counted(page))
    }
}

impl From<Option<PageRef>> for Owner {
    fn from(page: Option<PageRef>) -> Self {
        Self(page.map_or(Kind::Nothing, Kind::Counted))
    }
}

impl From<SkBuff> for Owner {
    fn from(packet: SkBuff) -> Self {
        Self(Kind::Packet(packet))
    }
}

impl From<PageCopy> for Owner {
    fn from(copy: PageCopy) -> Self {
        Self(Kind::Copied(copy))
    }
}
