// SPDX-License-Identifier: GPL-2.0

//! When the backend is told of output, and when a kernel message waits for it.
//!
//! A message comes in pieces with a flush at its end: one notification for all of it is enough. A message that found room
//! does not wait.

/// What became of a piece of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// Some of it is in the ring.
    Taken,
    /// None, and it is worth to wait.
    Full,
    /// None, and nobody should wait.
    Dropped,
}

/// What a flush has to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// Notify the backend.
    pub tell: bool,
    /// Wait a little for room.
    pub wait: bool,
}

/// What the backend was not told of yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    untold: bool,
    full: bool,
}

impl Notice {
    /// Takes in what became of output. Returns whether the backend has to be notified now; for a piece of a kernel message,
    /// which a flush follows, only if the ring is full: somebody is about to wait for room.
    pub fn put(&mut self, put: Put, is_piece: bool) -> bool {
        self.untold |= put == Put::Taken;
        self.full = put == Put::Full;
        let tell = self.untold && (!is_piece || self.full);
        self.untold &= !tell;
        tell
    }

    /// A message ends, or is about to be tried again.
    pub fn flush(&mut self) -> Flush {
        Flush {
            tell: core::mem::take(&mut self.untold),
            wait: self.full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_announced_once_and_waits_for_nothing() {
        let mut notice = Notice::default();
        for _ in 0..5 {
            assert!(!notice.put(Put::Taken, true));
        }
        let (tell, wait) = (true, false);
        assert_eq!(notice.flush(), Flush { tell, wait });
        let (tell, wait) = (false, false);
        assert_eq!(notice.flush(), Flush { tell, wait });
    }

    #[test]
    fn what_a_process_writes_is_announced_at_once() {
        let mut notice = Notice::default();
        assert!(notice.put(Put::Taken, false));
        // Also what is left of a message before.
        assert!(!notice.put(Put::Taken, true));
        assert!(notice.put(Put::Taken, false));
        assert!(!notice.put(Put::Full, false));
        assert!(!notice.flush().tell);
    }

    #[test]
    fn a_message_waits_only_after_a_full_ring_of_which_the_backend_knows() {
        let mut notice = Notice::default();
        assert!(!notice.put(Put::Taken, true));
        assert!(notice.put(Put::Full, true), "nobody would make room");
        let (tell, wait) = (false, true);
        assert_eq!(notice.flush(), Flush { tell, wait });
        assert!(!notice.put(Put::Full, true));
        assert!(notice.flush().wait);
        assert!(!notice.put(Put::Taken, true));
        assert!(!notice.flush().wait);
        assert!(!notice.put(Put::Full, true));
        assert!(!notice.put(Put::Dropped, true));
        assert!(!notice.flush().wait, "its patience is over");
    }
}
