//! Objects of an answer that outlive it, to be freed while the next one is waited for.
//!
//! To free the numbers and texts of a large answer takes its reader a tenth of the time of the read.
//! While the next read waits for the server, its thread has nothing else to do. So one reader in the
//! process has a second reference to the objects of its last answer, and gives them up there. They are
//! freed last one first, which leaves their blocks of memory in the order in which the next answer's
//! objects are made. Only immutable objects that hold no others are kept: nothing but the memory that
//! is in use, and `sys.getrefcount`, tells of it.

use std::mem;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

/// So many are kept at the most, of so many stored bytes at the most: 8 MB of numbers, or four times
/// that of long texts in ASCII.
const MOST: usize = 1 << 18;
const LONGEST: usize = 64;

/// So many are freed at a time.
const AT_ONCE: usize = 6 * 1024;

/// What the last reader kept, unless another one has it now. With the GIL held, it is locked for no
/// longer than it takes to move it: no fork comes between. After a fork amid another thread's read the
/// child has none.
static LAST: Mutex<Option<KeptObjects>> = Mutex::new(Some(KeptObjects::NONE));

/// The objects that a reader keeps.
pub struct KeptObjects {
    /// Those of earlier answers.
    old: Vec<Py<PyAny>>,
    /// Those of the answer on its way.
    new: Vec<Py<PyAny>>,
}

impl KeptObjects {
    const NONE: Self = Self {
        old: Vec::new(),
        new: Vec::new(),
    };

    /// Those of the last reader, if no other reader has them. The GIL must be held.
    pub fn claim() -> Option<Self> {
        let mut kept = LAST.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        mem::swap(&mut kept.old, &mut kept.new);
        // What is left of older ones comes last, and is freed first.
        kept.old.append(&mut kept.new);
        Some(kept)
    }

    /// Frees some objects of earlier answers, if nobody else has them.
    pub fn free_some(&mut self, py: Python<'_>) {
        for _ in 0..AT_ONCE {
            let Some(object) = self.old.pop() else {
                return;
            };
            drop(object.into_bound(py));
        }
    }

    /// Keeps a number or a text that is stored in so many bytes.
    #[inline]
    pub fn keep(&mut self, object: &Bound<'_, PyAny>, bytes: usize) {
        if bytes <= LONGEST && self.old.len() + self.new.len() < MOST {
            self.new.push(object.clone().unbind());
        }
    }
}

/// Leaves them to the next reader. The GIL must be held.
impl Drop for KeptObjects {
    fn drop(&mut self) {
        let left = Self {
            old: mem::take(&mut self.old),
            new: mem::take(&mut self.new),
        };
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
    }
}
