// SPDX-License-Identifier: GPL-2.0

//! A received packet goes through a program (C header: `include/net/xdp.h`).

use super::frame::Frame;
use crate::{
    bindings,
    net::{
        device::{
            Device,
            Driver, //
        },
        napi::PollContext,
        page_pool::{
            PagePool,
            RxPage, //
        }, //
    }, //
};
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// Bytes at the end of a page that the stack needs for itself when the page becomes a packet's head.
pub fn tail() -> usize {
    // SAFETY: The function has no requirements.
    unsafe { bindings::xdp_tail() as usize }
}

/// What programs are told of a queue that packets are received on.
///
/// # Invariants
///
/// It is registered for `dev`, which may be gone, and for the pages of `pool`, which it holds a reference to.
pub struct RxInfo {
    raw: Pin<KBox<Opaque<bindings::xdp_rxq_info>>>,
    dev: *mut bindings::net_device,
    pool: NonNull<bindings::page_pool>,
}

// SAFETY: It is not bound to a thread. The device is only compared.
unsafe impl Send for RxInfo {}

/// Where a packet lies in its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where its data begins.
    pub offset: usize,
    /// Bytes of the data.
    pub len: usize,
    /// Bytes right before the data that the program has left for the stack.
    pub meta: usize,
}

/// What a program wants to become of a packet.
pub enum Verdict {
    /// It goes to the stack as it lies there now.
    Pass(RxPage, Extent),
    /// It is dropped.
    Drop,
    /// It is sent where it came from.
    Send(Frame),
    /// It was handed over to somebody else. [`PollContext::flush_redirected`] has to follow in this poll.
    Redirected,
    /// It is lost: the program has failed, or its wish cannot be fulfilled.
    Failed,
}

impl RxInfo {
    /// Registers queue `index` of a device, whose packets lie in pages of `pool`. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new<T: Driver>(dev: &Device<T>, index: usize, pool: &PagePool) -> Result<Self> {
        let raw = KBox::pin_init(Opaque::zeroed(), GFP_KERNEL)?;
        // SAFETY: The structure is zeroed, pinned, and unregistered before it is freed. Device and pool are valid.
        // CAST: Queues are few.
        to_result(unsafe {
            bindings::xdp_rxq_register(raw.get(), dev.raw(), index as u32, pool.raw().as_ptr())
        })?;
        // INVARIANT: Just registered, which took the reference.
        Ok(Self {
            raw,
            dev: dev.raw(),
            pool: pool.raw(),
        })
    }
}

impl Drop for RxInfo {
    fn drop(&mut self) {
        // SAFETY: It is registered by the type invariant. The device is not looked at.
        unsafe { bindings::xdp_rxq_info_unreg(self.raw.get()) }
    }
}

impl PollContext<'_> {
    /// Whether received packets have to go through a program.
    pub fn has_program(&self) -> bool {
        self.program.is_some()
    }

    /// Has a packet go through the program, if there is one: `len` bytes from `offset` on in a page that only we use.
    ///
    /// A packet that leaves no [`tail`] behind it fails, as one does of another device's queue.
    pub fn run_program(&self, info: &RxInfo, page: RxPage, offset: usize, len: usize) -> Verdict {
        let end = offset.saturating_add(len).saturating_add(tail());
        let Some(program) = self.program else {
            let meta = 0;
            return Verdict::Pass(page, Extent { offset, len, meta });
        };
        if end > kernel::page::PAGE_SIZE || info.dev != self.dev || info.pool != page.pool() {
            return Verdict::Failed;
        }
        let program = program.as_ptr();
        let mut place = MaybeUninit::<bindings::xdp_buff>::uninit();
        let buff = place.as_mut_ptr();
        // SAFETY: The program is valid until the end of the poll, which runs by the type invariant. The page is ours and
        // mapped, and the packet lies in it with room behind. The queue is registered for this device and the page's pool.
        // CAST: Less than a page.
        let wish = unsafe {
            bindings::xdp_run(
                program,
                buff,
                info.raw.get(),
                page.raw(),
                offset as u32,
                len as u32,
            )
        };
        match wish {
            bindings::xdp_action_XDP_PASS => {
                let (mut offset, mut len, mut meta) = (0, 0, 0);
                // SAFETY: It was set up above.
                unsafe { bindings::xdp_result(buff, &mut offset, &mut len, &mut meta) };
                let extent = Extent {
                    offset: offset as usize,
                    len: len as usize,
                    meta: meta as usize,
                };
                return Verdict::Pass(page, extent);
            }
            bindings::xdp_action_XDP_DROP => return Verdict::Drop,
            bindings::xdp_action_XDP_TX => {
                // SAFETY: It was set up above, for a page of ours.
                let frame = unsafe { bindings::xdp_buff_to_frame(buff) };
                if let Some(frame) = NonNull::new(frame) {
                    page.into_raw();
                    // SAFETY: The page has become the frame's, which is in one piece as the packet was.
                    return Verdict::Send(unsafe { Frame::from_raw(frame) });
                }
            }
            bindings::xdp_action_XDP_REDIRECT => {
                // SAFETY: It was set up above; the poll runs, and the device is its own. The page is given away if it works.
                if unsafe { bindings::xdp_do_redirect(self.dev, buff, program) } == 0 {
                    page.into_raw();
                    return Verdict::Redirected;
                }
            }
            bindings::xdp_action_XDP_ABORTED => {}
            // SAFETY: Device and program are valid, as above.
            _ => unsafe { bindings::bpf_warn_invalid_xdp_action(self.dev, program, wish) },
        }
        // SAFETY: As above.
        unsafe { bindings::xdp_exception(self.dev, program, wish) };
        Verdict::Failed
    }

    /// Says that a packet which a program wanted to be sent could not be.
    pub fn not_sent(&self) {
        if let Some(program) = self.program {
            let wish = bindings::xdp_action_XDP_TX;
            // SAFETY: The program is valid until the end of the poll, which runs for this device.
            unsafe { bindings::xdp_exception(self.dev, program.as_ptr(), wish) }
        }
    }

    /// Passes on what programs have redirected in this poll.
    pub fn flush_redirected(&self) {
        // SAFETY: A poll runs, by the type invariant.
        unsafe { bindings::xdp_do_flush() }
    }
}
