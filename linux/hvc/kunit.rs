// SPDX-License-Identifier: GPL-2.0

//! What the layer gets to see of a backend: through the functions that it would call.

use super::{
    layer::OPS,
    *, //
};
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Number of the tests' terminal, which no driver takes.
const NUMBER: u32 = 7;

/// What the backend says to output.
#[derive(Clone, Copy)]
enum Says {
    /// Three bytes were taken.
    Three,
    /// More bytes were taken than there were.
    TooMany,
    Full,
    Stalled,
}

struct Scripted {
    says: Says,
    flushes: Atomic<u32>,
    /// Pieces of kernel messages.
    pieces: Atomic<u32>,
    /// Backends that exist.
    alive: Arc<Atomic<u32>>,
}

impl Backend for Scripted {
    fn put(&self, bytes: &[u8], is_piece: bool) -> Output {
        self.pieces.add(u32::from(is_piece), Relaxed);
        match self.says {
            Says::Three => Output::Taken(bytes.len().min(3)),
            Says::TooMany => Output::Taken(bytes.len() + 1),
            Says::Full => Output::Full,
            Says::Stalled => Output::Stalled,
        }
    }

    fn flush(&self) {
        self.flushes.add(1, Relaxed);
    }

    fn get(&self, into: &mut [u8]) -> usize {
        into.fill(b'x');
        match self.says {
            Says::TooMany => into.len() + 1,
            _ => into.len().min(2),
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Relaxed);
    }
}

fn scripted(says: Says, alive: &Arc<Atomic<u32>>) -> Result<Arc<Scripted>> {
    alive.add(1, Relaxed);
    let backend = Scripted {
        says,
        flushes: Atomic::new(0),
        pieces: Atomic::new(0),
        alive: alive.clone(),
    };
    Ok(Arc::new(backend, GFP_KERNEL)?)
}

/// Has the layer's function take five bytes, as a process's.
fn put() -> isize {
    put_from(b"hello")
}

fn put_from(bytes: &[u8]) -> isize {
    OPS.put_chars.map_or(0, |put| {
        // SAFETY: The bytes are readable.
        unsafe { put(NUMBER, bytes.as_ptr(), bytes.len()) }
    })
}

/// Has the layer's function give up to five bytes.
fn get() -> (isize, [u8; 5]) {
    let mut bytes = [b'-'; 5];
    let got = OPS.get_chars.map_or(-1, |get| {
        // SAFETY: The bytes are writable.
        unsafe { get(NUMBER, bytes.as_mut_ptr(), bytes.len()) }
    });
    (got, bytes)
}

/// Has the layer's function wait for room.
fn flush(may_sleep: bool) -> c_int {
    OPS.flush.map_or(-1, |flush| {
        // SAFETY: The function has no requirements.
        unsafe { flush(NUMBER, may_sleep) }
    })
}

#[kunit_tests(oxen_hvc)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_is_told_what_became_of_output() -> Result {
        let alive = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        for (says, told) in [
            (Says::Three, 3),
            (Says::TooMany, 5),
            (Says::Full, EAGAIN.to_errno() as isize),
            (Says::Stalled, 0),
        ] {
            let terminal = Terminal::new(NUMBER, scripted(says, &alive)?)?;
            assert_eq!(put(), told);
            drop(terminal);
        }
        assert_eq!(alive.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn input_is_never_more_than_there_is_room_for() -> Result {
        let alive = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let terminal = Terminal::new(NUMBER, scripted(Says::Three, &alive)?)?;
        assert_eq!(get().0, 2);
        drop(terminal);
        let terminal = Terminal::new(NUMBER, scripted(Says::TooMany, &alive)?)?;
        assert_eq!(get(), (5, *b"xxxxx"));
        drop(terminal);
        Ok(())
    }

    #[test]
    fn only_a_kernel_message_is_flushed() -> Result {
        let alive = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let backend = scripted(Says::Full, &alive)?;
        let terminal = Terminal::new(NUMBER, backend.clone())?;
        assert_eq!(flush(true), 0);
        assert_eq!(backend.flushes.load(Relaxed), 0);
        assert_eq!(flush(false), 0);
        assert_eq!(backend.flushes.load(Relaxed), 1);
        drop(terminal);
        Ok(())
    }

    /// The layer prints from its stack, and writes for processes out of its structure.
    #[test]
    fn a_piece_of_a_kernel_message_is_told_from_a_processs_output() -> Result {
        let alive = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let backend = scripted(Says::Three, &alive)?;
        let terminal = Terminal::new(NUMBER, backend.clone())?;
        let heap = KBox::new(*b"hello", GFP_KERNEL)?;
        put_from(&*heap);
        assert_eq!(backend.pieces.load(Relaxed), 0);
        let stack = core::hint::black_box(*b"hello");
        put_from(&stack);
        assert_eq!(backend.pieces.load(Relaxed), 1);
        drop(terminal);
        Ok(())
    }

    #[test]
    fn a_number_is_taken_once_and_free_again() -> Result {
        let alive = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let terminal = Terminal::new(NUMBER, scripted(Says::Three, &alive)?)?;
        let second = Terminal::new(NUMBER, scripted(Says::Full, &alive)?);
        assert_eq!(second.err(), Some(EBUSY));
        let beyond = Terminal::new(MAX_TERMINALS as u32, scripted(Says::Full, &alive)?);
        assert_eq!(beyond.err(), Some(EINVAL));
        // The first is as it was.
        assert_eq!(alive.load(Relaxed), 1);
        assert_eq!(put(), 3);
        drop(terminal);
        drop(Terminal::new(NUMBER, scripted(Says::Full, &alive)?)?);
        assert_eq!(alive.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn a_terminal_has_the_device_of_its_number() -> Result {
        let alive = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let index = NUMBER as c_int;
        let terminal = Terminal::new(NUMBER, scripted(Says::Three, &alive)?)?;
        // SAFETY: The table of functions stays.
        let named = unsafe { layer::hvc_instantiate(NUMBER, index, &OPS) };
        assert_ne!(named, 0, "the device is free");
        drop(terminal);
        Ok(())
    }

    #[test]
    fn a_terminal_without_backend_takes_and_gives_nothing() -> Result {
        let alive = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        drop(Terminal::new(NUMBER, scripted(Says::Three, &alive)?)?);
        assert_eq!(put(), EIO.to_errno() as isize);
        assert_eq!(get().0, 0);
        assert_eq!(flush(false), 0);
        Ok(())
    }

    #[test]
    fn the_layers_structure_tells_when_it_goes() -> Result {
        let alive = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let before = STATE.lock().structures;
        let terminal = Terminal::new(NUMBER, scripted(Says::Three, &alive)?)?;
        assert!(terminal.hooked);
        assert_eq!(STATE.lock().structures, before + 1);
        drop(terminal);
        // Nobody had it open, so it is gone and needs no pin.
        let state = STATE.lock();
        let (structures, leftovers) = (state.structures, state.has_leftovers());
        drop(state);
        assert_eq!(structures, before);
        assert!(!leftovers);
        Ok(())
    }
}
