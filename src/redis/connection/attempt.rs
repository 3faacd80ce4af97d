//! How many threads may be under way that nothing can end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A thread's work, counted until it is dropped: nobody waits for a thread that hangs, so without a
/// limit there would be ever more of them.
pub(in crate::redis) struct Attempt(Arc<AtomicUsize>);

impl Attempt {
    /// One more, unless `limit` are under way.
    pub fn start(count: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let attempt = Self(count.clone());
        (count.fetch_add(1, Ordering::Relaxed) < limit).then_some(attempt)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
