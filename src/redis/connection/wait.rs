//! What has to happen before a step can be taken.

use std::time::Instant;

use rustix::event::PollFlags;

/// Until when to wait, and for which events of a socket.
#[derive(Clone, Copy, Debug)]
pub(in crate::redis) struct Wait {
    /// Empty for what is not about a socket: a moment, or the bell.
    pub events: PollFlags,
    /// When to take the step regardless; `None` is never.
    pub until: Option<Instant>,
}

impl Wait {
    /// Waits for a moment.
    pub fn until(moment: Instant) -> Self {
        Self::bell(Some(moment))
    }

    /// Waits for the bell.
    pub fn bell(until: Option<Instant>) -> Self {
        Self {
            events: PollFlags::empty(),
            until,
        }
    }
}

/// How far something has come.
pub(in crate::redis) enum Progress<T> {
    Waiting(Wait),
    Done(T),
}
