// SPDX-License-Identifier: GPL-2.0

//! A stream's life as the VFS drives it, with a file that nobody else knows.

use super::*;
use crate::LocalModule;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// How many streams there are, were released, and whether opening fails. The suite's tests run one after the other.
static ALIVE: Atomic<u32> = Atomic::new(0);
static RELEASED: Atomic<u32> = Atomic::new(0);
static REFUSES: Atomic<u32> = Atomic::new(0);

/// What a stream says of its readiness, as the bits of a [`Readiness`] from the first on.
static READY: Atomic<u32> = Atomic::new(0);

struct Scripted {
    _wait: Arc<WaitQueue>,
}

impl Stream for Scripted {
    const NAME: &'static CStr = c"oxen-test-stream";

    type Module = LocalModule;

    fn open(wait: Arc<WaitQueue>) -> Result<Arc<Self>> {
        if REFUSES.load(Relaxed) != 0 {
            return Err(ENODEV);
        }
        ALIVE.add(1, Relaxed);
        Ok(Arc::new(Self { _wait: wait }, GFP_KERNEL)?)
    }

    fn read(&self, into: UserSliceWriter, nonblocking: bool) -> Result<usize> {
        if nonblocking {
            return Err(EAGAIN);
        }
        Ok(into.len() + 1)
    }

    fn write(&self, from: UserSliceReader, nonblocking: bool) -> Result<usize> {
        if nonblocking {
            return Err(EAGAIN);
        }
        Ok(from.len() + 2)
    }

    fn poll(&self) -> Readiness {
        let ready = READY.load(Relaxed);
        Readiness {
            readable: ready & 1 != 0,
            writable: ready & 2 != 0,
            hung_up: ready & 4 != 0,
        }
    }

    fn release(&self) {
        RELEASED.add(1, Relaxed);
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Relaxed);
    }
}

/// A file that the VFS does not know.
fn file() -> Result<KBox<Opaque<bindings::file>>> {
    KBox::init(Opaque::zeroed(), GFP_KERNEL)
}

#[kunit_tests(oxen_miscdev)]
mod tests {
    use super::*;
    use core::ptr;

    #[test]
    fn a_file_has_one_stream_until_it_is_released() -> Result {
        let (file, before) = (file()?, RELEASED.load(Relaxed));
        // SAFETY: As the VFS does: open, use, release, with a file that lives on.
        unsafe {
            assert_eq!(open::<Scripted>(ptr::null_mut(), file.get()), 0);
            // FMODE_STREAM of `include/linux/fs.h`: no position, so reads and writes need not wait for each other.
            assert_ne!((*file.get()).f_mode & (1 << 21), 0);
            assert_eq!(ALIVE.load(Relaxed), 1);
            let data = ptr::null_mut();
            assert_eq!(read::<Scripted>(file.get(), data, 0, ptr::null_mut()), 1);
            assert_eq!(write::<Scripted>(file.get(), data, 0, ptr::null_mut()), 2);
            assert_eq!(RELEASED.load(Relaxed), before);
            assert_eq!(release::<Scripted>(ptr::null_mut(), file.get()), 0);
        }
        assert_eq!(RELEASED.load(Relaxed), before + 1);
        assert_eq!(ALIVE.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn a_file_that_must_not_wait_says_so() -> Result {
        let file = file()?;
        let would_wait = EAGAIN.to_errno() as isize;
        // SAFETY: As above.
        unsafe {
            assert_eq!(open::<Scripted>(ptr::null_mut(), file.get()), 0);
            (*file.get()).f_flags = bindings::O_NONBLOCK;
            let (data, at) = (ptr::null_mut(), ptr::null_mut());
            assert_eq!(read::<Scripted>(file.get(), data, 0, at), would_wait);
            assert_eq!(write::<Scripted>(file.get(), data, 0, at), would_wait);
            release::<Scripted>(ptr::null_mut(), file.get());
        }
        Ok(())
    }

    #[test]
    fn a_poll_tells_each_kind_of_readiness() -> Result {
        let file = file()?;
        // SAFETY: As above; without a table nobody is entered anywhere.
        unsafe {
            assert_eq!(open::<Scripted>(ptr::null_mut(), file.get()), 0);
            for (ready, mask) in [
                (0, 0),
                (1, bindings::POLLIN | EPOLLRDNORM),
                (2, EPOLLOUT | EPOLLWRNORM),
                (4, EPOLLHUP),
                (
                    7,
                    bindings::POLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM | EPOLLHUP,
                ),
            ] {
                READY.store(ready, Relaxed);
                assert_eq!(poll::<Scripted>(file.get(), ptr::null_mut()), mask);
            }
            release::<Scripted>(ptr::null_mut(), file.get());
        }
        Ok(())
    }

    #[test]
    fn a_file_that_does_not_open_leaves_nothing() -> Result {
        let (file, before) = (file()?, RELEASED.load(Relaxed));
        REFUSES.store(1, Relaxed);
        // SAFETY: As above; what does not open is not released.
        let opened = unsafe { open::<Scripted>(ptr::null_mut(), file.get()) };
        REFUSES.store(0, Relaxed);
        assert_eq!(opened, ENODEV.to_errno());
        // SAFETY: Nobody else knows the file.
        assert!(unsafe { (*file.get()).private_data.is_null() });
        assert_eq!(ALIVE.load(Relaxed), 0);
        assert_eq!(RELEASED.load(Relaxed), before);
        Ok(())
    }

    #[test]
    fn the_name_is_free_when_the_device_is_gone() -> Result {
        for _ in 0..2 {
            drop(KBox::pin_init(Registration::<Scripted>::new(), GFP_KERNEL)?);
        }
        Ok(())
    }
}
