// SPDX-License-Identifier: GPL-2.0

//! Character devices that are streams: read, write and poll, and what a program asks by `ioctl(2)`.
//!
//! The kernel crate's `MiscDevice` has no poll, without which an event loop cannot use a device.
//!
//! C headers: `include/linux/miscdevice.h`, `include/linux/poll.h`.

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_char,
        c_int,
        c_long,
        c_uint,
        c_ulong, //
    },
    prelude::*,
    sync::Arc,
    types::{
        ForeignOwnable,
        Opaque, //
    },
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader,
        UserSliceWriter, //
    },
};

use crate::{
    module::{
        this_module,
        OwnModule, //
    },
    sync::{
        lock_class::lock_class,
        wait::WaitQueue, //
    },
};

mod argument;
#[cfg(CONFIG_KUNIT = "y")]
mod kunit;
mod map;

pub use argument::Argument;
pub use map::{
    Area,
    NoPages,
    UserPages, //
};

use map::Mapping;

/// What an open file can do at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readiness {
    /// A read returns something.
    pub readable: bool,
    /// A write is taken.
    pub writable: bool,
    /// The other end is gone.
    pub hung_up: bool,
    /// A read reports an error.
    pub failed: bool,
}

/// An open file of a stream device.
pub trait Stream: Sized + Send + Sync + 'static {
    /// The device's name; a slash in it makes a folder under `/dev`.
    const NAME: &'static CStr;

    /// The module that has the code.
    type Module: OwnModule;

    /// What the device has in common for all its files.
    type Context: Send + Sync + 'static;

    /// What a program can map.
    type Pages: UserPages;

    /// Opens a file. `wait` is woken by the file whenever its readiness has changed.
    ///
    /// # Errors
    ///
    /// What `open(2)` shall report.
    fn open(context: &Self::Context, wait: Arc<WaitQueue>) -> Result<Arc<Self>>;

    /// Reads; waits when there is nothing, unless `nonblocking`.
    ///
    /// # Errors
    ///
    /// What `read(2)` shall report: `EAGAIN` when it would have to wait, `ERESTARTSYS` when a signal came.
    fn read(&self, into: UserSliceWriter, nonblocking: bool) -> Result<usize> {
        let _ = (into, nonblocking);
        Err(EINVAL)
    }

    /// Writes.
    ///
    /// # Errors
    ///
    /// What `write(2)` shall report.
    fn write(&self, from: UserSliceReader, nonblocking: bool) -> Result<usize> {
        let _ = (from, nonblocking);
        Err(EINVAL)
    }

    /// Carries out a command.
    ///
    /// # Errors
    ///
    /// What `ioctl(2)` shall report: `ENOTTY` for a command that is not known.
    fn ioctl(&self, command: u32, argument: Argument) -> Result<u32> {
        let _ = (command, argument);
        Err(ENOTTY)
    }

    /// Gives what a program wants to map, which lives until nothing of it is mapped any more. The program's memory is
    /// locked.
    ///
    /// # Errors
    ///
    /// What `mmap(2)` shall report: `ENODEV` when nothing can be mapped.
    fn mmap(&self, area: &Area) -> Result<Arc<Self::Pages>> {
        let _ = area;
        Err(ENODEV)
    }

    /// Tells what would not wait.
    fn poll(&self) -> Readiness {
        Readiness {
            readable: true,
            writable: true,
            ..Readiness::default()
        }
    }

    /// Returns another queue that is woken when the readiness has changed. It lives as long as the file.
    fn more_to_wait_for(&self) -> Option<&WaitQueue> {
        None
    }

    /// The last descriptor of the file is closed, and nothing of it is mapped.
    fn release(&self) {}
}

/// What an open file points to.
struct Open<T> {
    stream: Arc<T>,
    wait: Arc<WaitQueue>,
}

/// A device that can be opened. Dropping it takes the name away; the module stays in use while a file is open.
///
/// # Invariants
///
/// `inner` is registered until `drop`, and lies in a `Registration<T>`.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Stream> {
    #[pin]
    inner: Opaque<bindings::miscdevice>,
    context: T::Context,
    _stream: PhantomData<T>,
}

// SAFETY: A device may be unregistered from any thread.
unsafe impl<T: Stream> Send for Registration<T> {}
// SAFETY: `&Registration` gives nothing but the context, which can be shared.
unsafe impl<T: Stream> Sync for Registration<T> {}

impl<T: Stream> Registration<T> {
    /// Registers the device.
    ///
    /// # Errors
    ///
    /// `EEXIST` when there is one of that name.
    pub fn new(context: T::Context) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // A file can be opened as soon as it is registered.
            context,
            inner <- Opaque::try_ffi_init(|slot: *mut bindings::miscdevice| {
                let device = bindings::miscdevice {
                    minor: bindings::MISC_DYNAMIC_MINOR as c_int,
                    name: T::NAME.as_char_ptr(),
                    fops: &Self::OPERATIONS,
                    mode: 0o600,
                    ..bindings::miscdevice::default()
                };
                // SAFETY: `slot` is valid for writes.
                unsafe { slot.write(device) };
                // SAFETY: The structure is complete, pinned, and unregistered before it goes away.
                to_result(unsafe { bindings::misc_register(slot) })
            }),
            _stream: PhantomData,
        }? Error)
    }

    const OPERATIONS: bindings::file_operations = bindings::file_operations {
        owner: this_module::<T::Module>().as_ptr(),
        open: Some(open::<T>),
        release: Some(release::<T>),
        read: Some(read::<T>),
        write: Some(write::<T>),
        poll: Some(poll::<T>),
        unlocked_ioctl: Some(ioctl::<T>),
        mmap: Some(mmap::<T>),
        ..pin_init::zeroed()
    };
}

#[pinned_drop]
impl<T: Stream> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant.
        unsafe { bindings::misc_deregister(self.inner.get()) };
    }
}

/// # Safety
///
/// Called by the VFS for a new file of the device, with what the misc core has set: the device, which stays registered
/// meanwhile.
unsafe extern "C" fn open<T: Stream>(
    inode: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    kernel::error::from_result(|| {
        let (name, key) = lock_class!(c"oxen_miscdev");
        let wait = Arc::pin_init(WaitQueue::new(name, key), GFP_KERNEL)?;
        // Before the stream, which from then on has to be released.
        let place = KBox::<Open<T>>::new_uninit(GFP_KERNEL)?;
        // SAFETY: By the safety requirements the file points to the device, which by the invariants of `Registration` lies in
        // one of this type. `Opaque` has the address of what is in it.
        let device = unsafe {
            let inner = (*file).private_data.cast::<Opaque<bindings::miscdevice>>();
            &*kernel::container_of!(inner, Registration<T>, inner)
        };
        let stream = T::open(&device.context, wait.clone())?;
        let open = KBox::write(place, Open { stream, wait });
        // SAFETY: The file is being opened, so this is the time to set its data.
        unsafe { (*file).private_data = open.into_foreign() };
        // SAFETY: As above; this cannot fail.
        Ok(unsafe { bindings::stream_open(inode, file) })
    })
}

/// # Safety
///
/// Called by the VFS once for a file that [`open`] has set up, after all other calls.
unsafe extern "C" fn release<T: Stream>(
    _inode: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    // SAFETY: `open` set the data, and nobody uses it after this.
    let open = unsafe { KBox::<Open<T>>::from_foreign((*file).private_data) };
    open.stream.release();
    0
}

/// Returns the data and whether the file is non-blocking.
///
/// # Safety
///
/// `file` was set up by [`open`] for the same `T` and stays open during `'a`.
unsafe fn opened<'a, T: Stream>(file: *mut bindings::file) -> (&'a Open<T>, bool) {
    // SAFETY: By the safety requirements.
    unsafe {
        (
            <KBox<Open<T>> as ForeignOwnable>::borrow((*file).private_data),
            (*file).f_flags & bindings::O_NONBLOCK != 0,
        )
    }
}

/// # Safety
///
/// Called by the VFS for a file that [`open`] has set up.
unsafe extern "C" fn read<T: Stream>(
    file: *mut bindings::file,
    buffer: *mut c_char,
    count: usize,
    _position: *mut bindings::loff_t,
) -> isize {
    // SAFETY: By the safety requirements.
    let (open, nonblocking) = unsafe { opened::<T>(file) };
    let into = UserSlice::new(UserPtr::from_ptr(buffer.cast()), count).writer();
    match open.stream.read(into, nonblocking) {
        Ok(done) => done as isize,
        Err(error) => error.to_errno() as isize,
    }
}

/// # Safety
///
/// Called by the VFS for a file that [`open`] has set up.
unsafe extern "C" fn write<T: Stream>(
    file: *mut bindings::file,
    buffer: *const c_char,
    count: usize,
    _position: *mut bindings::loff_t,
) -> isize {
    // SAFETY: By the safety requirements.
    let (open, nonblocking) = unsafe { opened::<T>(file) };
    let from = UserSlice::new(UserPtr::from_ptr(buffer.cast_mut().cast()), count).reader();
    match open.stream.write(from, nonblocking) {
        Ok(done) => done as isize,
        Err(error) => error.to_errno() as isize,
    }
}

/// # Safety
///
/// Called by the VFS for a file that [`open`] has set up.
unsafe extern "C" fn ioctl<T: Stream>(
    file: *mut bindings::file,
    command: c_uint,
    argument: c_ulong,
) -> c_long {
    // SAFETY: By the safety requirements.
    let (open, _) = unsafe { opened::<T>(file) };
    match open.stream.ioctl(command, Argument::new(argument)) {
        Ok(answer) => c_long::try_from(answer).unwrap_or(c_long::MAX),
        Err(error) => error.to_errno() as c_long,
    }
}

/// # Safety
///
/// Called by the VFS for a file that [`open`] has set up, with a new VMA of it.
unsafe extern "C" fn mmap<T: Stream>(
    file: *mut bindings::file,
    vma: *mut bindings::vm_area_struct,
) -> c_int {
    kernel::error::from_result(|| {
        // SAFETY: By the safety requirements.
        let (open, _) = unsafe { opened::<T>(file) };
        // SAFETY: As above.
        let area = unsafe { Area::of(vma) };
        let pages = open.stream.mmap(&area)?;
        // SAFETY: As above; it is the last step. `owner` of the operations keeps the module.
        unsafe { Mapping::set_up(vma, &area, pages) }?;
        Ok(0)
    })
}

/// # Safety
///
/// Called by the VFS for a file that [`open`] has set up, with a valid or null table.
unsafe extern "C" fn poll<T: Stream>(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: By the safety requirements.
    let (open, _) = unsafe { opened::<T>(file) };
    // SAFETY: The queue lives as long as the file, and a poller is taken off it before the file is released.
    unsafe { bindings::poll_wait(file, open.wait.as_raw(), table) };
    if let Some(queue) = open.stream.more_to_wait_for() {
        // SAFETY: As above.
        unsafe { bindings::poll_wait(file, queue.as_raw(), table) };
    }
    let ready = open.stream.poll();
    let mut mask: c_uint = 0;
    if ready.readable {
        mask |= bindings::POLLIN | EPOLLRDNORM;
    }
    if ready.writable {
        mask |= EPOLLOUT | EPOLLWRNORM;
    }
    if ready.hung_up {
        mask |= EPOLLHUP;
    }
    if ready.failed {
        mask |= EPOLLERR;
    }
    mask
}

// The values of `include/uapi/linux/eventpoll.h`, which bindgen cannot evaluate.
const EPOLLOUT: c_uint = 0x4;
const EPOLLERR: c_uint = 0x8;
const EPOLLHUP: c_uint = 0x10;
const EPOLLRDNORM: c_uint = 0x40;
const EPOLLWRNORM: c_uint = 0x100;
