//! What the calls of one run share.

use std::cell::OnceCell;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::redis::connection::Bell;
use crate::redis::deadline::Deadline;

/// The calls' deadline, and what wakes the thread that runs them.
pub(super) struct Round {
    pub deadline: Deadline,
    /// Made when the first call waits for something other than a socket.
    bell: OnceCell<Arc<Bell>>,
}

impl Round {
    pub fn new(deadline: Deadline) -> Self {
        Self {
            deadline,
            bell: OnceCell::new(),
        }
    }

    /// The bell, if anyone may ring it.
    pub fn bell_in_use(&self) -> Option<&Arc<Bell>> {
        self.bell.get()
    }

    /// What is rung for the thread that runs the calls.
    pub fn bell(&self) -> Result<&Arc<Bell>> {
        if let Some(bell) = self.bell.get() {
            return Ok(bell);
        }
        let made = Bell::new().map_err(|error| {
            Error::new(
                ErrorKind::Connection,
                format!("a pipe to wait with cannot be made: {error}"),
            )
        })?;
        Ok(self.bell.get_or_init(|| Arc::new(made)))
    }
}
