//! Python's garbage collector.

use pyo3::ffi;

/// Keeps the garbage collector from running while many lists are made.
///
/// Every 700 new containers start a collection, and now and then one of everything that the
/// process holds. Lists of features are no part of a cycle, so while an answer is made of them,
/// all that is for nothing; with list features it took two fifths of the time.
pub struct CollectorPause {
    was_enabled: bool,
}

impl CollectorPause {
    /// Pauses the collector. The GIL must be held, and is where this is dropped too, since it does
    /// not leave the function that makes it.
    pub fn new() -> Self {
        #[expect(unsafe_code, reason = "no safe form of this call in PyO3")]
        // SAFETY: it only sets a flag of the interpreter; callers hold the GIL.
        let was_enabled = unsafe { ffi::PyGC_Disable() } != 0;
        Self { was_enabled }
    }
}

impl Drop for CollectorPause {
    fn drop(&mut self) {
        if self.was_enabled {
            #[expect(unsafe_code, reason = "no safe form of this call in PyO3")]
            // SAFETY: it only sets a flag of the interpreter; callers hold the GIL.
            unsafe {
                ffi::PyGC_Enable();
            }
        }
    }
}
