// SPDX-License-Identifier: GPL-2.0

//! A key that tells the toolstack what it may ask for: `control/feature-*`.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};
use xen_core::resume::{
    Registration,
    Resume,
    Stage,
    Wake, //
};

use super::nodes::Store;

/// Where a key comes from, which tells how it is taken back.
#[derive(Clone, Copy)]
enum Key {
    /// Nobody could write it.
    Refused,
    /// The toolstack made it, empty. A guest that removed it could not make it again.
    Theirs,
    /// It was made here.
    Ours,
}

/// A key that says yes until this is dropped, in a domain that was restored, too.
pub struct Offer {
    /// Declared first: the key is not written again once it is taken back.
    _again: Registration,
    _told: Arc<Told>,
}

impl Offer {
    /// Writes the key. The protocol wants a guest to obey even where it may not write it, and a toolstack that does not
    /// know the key lets no guest write it, so an error is only told, and `EACCES` is not.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(store: &Store, path: &'static str) -> Result<Self> {
        let key = tell(store, path);
        let told = Arc::pin_init(
            pin_init!(Told {
                store: store.clone(),
                path,
                key <- new_mutex!(key),
            }),
            GFP_KERNEL,
        )?;
        Ok(Self {
            _again: Registration::new(Stage::Devices, told.clone())?,
            _told: told,
        })
    }
}

/// What was written. Dropping it takes that back.
#[pin_data(PinnedDrop)]
struct Told {
    store: Store,
    path: &'static str,
    #[pin]
    key: Mutex<Key>,
}

impl Resume for Told {
    fn late(&self, wake: Wake) {
        if wake == Wake::Resumed {
            let key = tell(&self.store, self.path);
            *self.key.lock() = key;
        }
    }
}

fn tell(store: &Store, path: &str) -> Key {
    write(store, path).unwrap_or_else(|error| {
        if error != EACCES {
            pr_info!("{path} cannot be written ({error:?}).\n");
        }
        Key::Refused
    })
}

fn write(store: &Store, path: &str) -> Result<Key> {
    let key = if store.exists(path)? {
        Key::Theirs
    } else {
        Key::Ours
    };
    store.write(path, 1)?;
    Ok(key)
}

#[pinned_drop]
impl PinnedDrop for Told {
    fn drop(self: Pin<&mut Self>) {
        let path = self.path;
        let key = *self.key.lock();
        let result = match key {
            Key::Refused => Ok(()),
            Key::Theirs => self.store.write(path, ""),
            Key::Ours => self.store.rm(path),
        };
        if let Err(error) = result {
            pr_warn!("{path} cannot be taken back ({error:?}).\n");
        }
    }
}
