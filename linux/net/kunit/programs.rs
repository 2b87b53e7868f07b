// SPDX-License-Identifier: GPL-2.0

//! The tests of programs, and of what becomes of the pages that they look at.

use super::{
    super::{
        napi::PollContext,
        page_pool::{
            PagePool,
            PAGE_SIZE, //
        },
        xdp::{
            program::Program,
            run::{
                tail,
                Extent,
                RxInfo,
                Verdict, //
            }, //
        }, //
    },
    pattern,
    Fixture,
    Supply,
    Task, //
};
use crate::bindings;
use core::{
    mem,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// Where a packet lies in its page, and its bytes.
const AT: usize = 256;
const LEN: usize = 60;

/// A program that says the same of each packet.
struct Same(NonNull<bindings::bpf_prog>);

impl Same {
    fn new(act: u32) -> Result<Self> {
        // SAFETY: The function has no requirements.
        let raw = unsafe { bindings::xdp_test_program(act) };
        NonNull::new(raw).map(Self).ok_or(ENOMEM)
    }

    fn program(&self) -> Program {
        // SAFETY: The program is valid until this value goes.
        unsafe { Program::get(self.0) }
    }
}

impl Drop for Same {
    fn drop(&mut self) {
        // SAFETY: Whoever got it has given it back, and a grace period has passed since.
        unsafe { bindings::xdp_test_program_free(self.0.as_ptr()) }
    }
}

/// Has a packet go through the program.
fn run(supply: &mut Supply, context: &PollContext<'_>) -> Option<Verdict> {
    let page = supply.alloc()?;
    let info = supply.info.as_ref()?;
    for offset in 0..LEN {
        // SAFETY: The page is ours and mapped, and has as many bytes.
        unsafe {
            let to = bindings::page_address(page.raw()).cast::<u8>();
            *to.add(AT + offset) = pattern(offset);
        }
    }
    Some(context.run_program(info, page, AT, LEN))
}

/// Tells whether all came as it should with a program that says `act`.
fn says(test: &Fixture, act: u32, task: Task) -> Result<bool> {
    let same = Same::new(act)?;
    test.dev.put_program(Some(same.program()));
    let right = test.attempt(task);
    test.dev.put_program(None);
    // SAFETY: Process context.
    unsafe { bindings::synchronize_net() };
    right
}

/// A device that is up, with what programs are told of its first queue.
fn fixture() -> Result<Fixture> {
    let test = Fixture::opened()?;
    let pages = PagePool::new(64)?;
    let info = Some(RxInfo::new(&test.dev, 0, &pages)?);
    let napi = test.queue()?;
    let before = mem::replace(&mut napi.inner.lock().pool, Supply { pages, info });
    drop(before);
    Ok(test)
}

#[kunit_tests(oxen_net_programs)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_what_becomes_of_a_packet() -> Result {
        let test = fixture()?;
        assert!(test.attempt(|supply, context| {
            let passed = matches!(run(supply, context), Some(Verdict::Pass(_, _)));
            passed && !context.has_program()
        })?);
        assert!(says(
            &test,
            bindings::xdp_action_XDP_DROP,
            |supply, context| {
                matches!(run(supply, context), Some(Verdict::Drop)) && context.has_program()
            }
        )?);
        assert!(says(
            &test,
            bindings::xdp_action_XDP_PASS,
            |supply, context| {
                let as_it_was = Extent {
                    offset: AT,
                    len: LEN,
                    meta: 0,
                };
                matches!(run(supply, context), Some(Verdict::Pass(_, extent)) if extent == as_it_was)
            }
        )?);
        for act in [
            bindings::xdp_action_XDP_ABORTED,
            // Nobody has said where to.
            bindings::xdp_action_XDP_REDIRECT,
        ] {
            assert!(says(&test, act, |supply, context| {
                matches!(run(supply, context), Some(Verdict::Failed))
            })?);
        }
        Ok(())
    }

    #[test]
    fn a_packet_that_is_sent_back_is_a_frame_in_its_page() -> Result {
        let test = fixture()?;
        let right = says(&test, bindings::xdp_action_XDP_TX, |supply, context| {
            let Some(Verdict::Send(frame)) = run(supply, context) else {
                return false;
            };
            let place = frame.run();
            let mut bytes = [0; LEN];
            let whole = frame.copy(0, &mut bytes).is_some()
                && bytes
                    .iter()
                    .enumerate()
                    .all(|(at, byte)| *byte == pattern(at));
            let more = frame.copy(1, &mut bytes).is_some();
            let (first, beyond) = (frame.hold(0), frame.hold(LEN));
            let held = first.is_some_and(|page| page.gfn().0 == place.pfn) && beyond.is_none();
            let copied = frame.copy_page(LEN - 1).is_some_and(|copy| copy.len() == 1);
            (place.offset, place.len) == (AT, LEN)
                && whole
                && !more
                && held
                && copied
                && frame.copy_page(LEN).is_none()
        })?;
        assert!(right);
        Ok(())
    }

    #[test]
    fn a_program_gets_no_packet_that_the_stack_has_no_room_behind() -> Result {
        let test = fixture()?;
        assert!(says(
            &test,
            bindings::xdp_action_XDP_PASS,
            |supply, context| {
                let room = PAGE_SIZE - AT - tail();
                let (Some(fits), Some(long)) = (supply.alloc(), supply.alloc()) else {
                    return false;
                };
                let Some(info) = supply.info.as_ref() else {
                    return false;
                };
                matches!(
                    context.run_program(info, fits, AT, room),
                    Verdict::Pass(_, _)
                ) && matches!(
                    context.run_program(info, long, AT, room + 1),
                    Verdict::Failed
                )
            }
        )?);
        Ok(())
    }

    #[test]
    fn a_page_becomes_the_head_of_a_packet() -> Result {
        let test = fixture()?;
        assert!(test.attempt(|supply, context| {
            let (Some(mut page), Some(other)) = (supply.alloc(), supply.alloc()) else {
                return false;
            };
            page.shift(0, AT, LEN);
            // Not inside the page: nothing happens.
            page.shift(0, PAGE_SIZE - 1, 2);
            let room = PAGE_SIZE - AT - tail();
            let made = context.skb_in_page(page, AT, LEN, 8);
            made.is_some_and(|skb| skb.len() == LEN)
                && context.skb_in_page(other, AT, room + 1, 0).is_none()
        })?);
        Ok(())
    }
}
