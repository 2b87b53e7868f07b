// SPDX-License-Identifier: GPL-2.0

//! A stream's life as the VFS drives it, with a file that nobody else knows.

use super::*;
use crate::Own;
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

/// What the device was registered with.
const CONTEXT: u32 = 0x5a5a;

struct Scripted {
    _wait: Arc<WaitQueue>,
}

impl Stream for Scripted {
    const NAME: &'static CStr = c"oxen-test-stream";

    type Module = Own;

    type Context = u32;

    type Pages = NoPages;

    fn open(context: &u32, wait: Arc<WaitQueue>) -> Result<Arc<Self>> {
        if *context != CONTEXT {
            return Err(EINVAL);
        }
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

    fn ioctl(&self, command: u32, argument: Argument) -> Result<u32> {
        match command {
            1 => Ok(7),
            2 => argument.read::<u32>(),
            3 => argument.write(&7u32).map(|()| 0),
            _ => Err(ENOTTY),
        }
    }

    fn poll(&self) -> Readiness {
        let ready = READY.load(Relaxed);
        Readiness {
            readable: ready & 1 != 0,
            writable: ready & 2 != 0,
            hung_up: ready & 4 != 0,
            failed: ready & 8 != 0,
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

/// A device, and a file of it that the VFS does not know.
struct File {
    file: KBox<Opaque<bindings::file>>,
    device: Pin<KBox<Registration<Scripted>>>,
}

impl File {
    fn get(&self) -> *mut bindings::file {
        self.file.get()
    }
}

fn file() -> Result<File> {
    let device = KBox::pin_init(Registration::new(CONTEXT), GFP_KERNEL)?;
    let file: KBox<Opaque<bindings::file>> = KBox::init(Opaque::zeroed(), GFP_KERNEL)?;
    // SAFETY: Nobody else knows the file. The misc core does the same for one that it opens.
    unsafe { (*file.get()).private_data = device.inner.get().cast() };
    Ok(File { file, device })
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
                (8, EPOLLERR),
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
    fn a_command_gets_an_answer_or_an_error() -> Result {
        let file = file()?;
        // SAFETY: As above. The address is none of a program's.
        unsafe {
            assert_eq!(open::<Scripted>(ptr::null_mut(), file.get()), 0);
            let nowhere = c_ulong::MAX - 1;
            for (command, answer) in [
                (1, 7),
                (2, EFAULT.to_errno()),
                (3, EFAULT.to_errno()),
                (4, ENOTTY.to_errno()),
            ] {
                let got = ioctl::<Scripted>(file.get(), command, nowhere);
                assert_eq!(got, answer as c_long);
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
        let data = unsafe { (*file.get()).private_data };
        assert_eq!(data, file.device.inner.get().cast());
        assert_eq!(ALIVE.load(Relaxed), 0);
        assert_eq!(RELEASED.load(Relaxed), before);
        Ok(())
    }

    #[test]
    fn the_name_is_free_when_the_device_is_gone() -> Result {
        for _ in 0..2 {
            drop(KBox::pin_init(
                Registration::<Scripted>::new(CONTEXT),
                GFP_KERNEL,
            )?);
        }
        Ok(())
    }
}
