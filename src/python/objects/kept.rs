//! Lists of answers that outlive them, to be freed while the next one is waited for.
//!
//! To free the objects of a large answer takes its reader a tenth of the time of the read. While the
//! next read waits for the server, its thread has nothing else to do. So its lists are kept by a
//! second reference, and given up there. They are freed last one first, which leaves their blocks of
//! memory in the order in which the next answer's objects are made. Only lists of what a reader made
//! before the answer was whole are kept: whoever uses the answer sees no more of it than the memory in
//! use, and that what he puts into them stays as long as they do.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyList;

/// So many bytes of memory are kept at the most.
const MOST: usize = 16 << 20;

/// So many are freed at a time.
const AT_ONCE: usize = 256 << 10;

/// The lists, those that were kept last behind the others. With the GIL held, it is locked for no
/// longer than it takes to move them: no fork comes between.
static KEPT: Mutex<KeptLists> = Mutex::new(KeptLists {
    lists: Vec::new(),
    bytes: 0,
});

/// Lists of earlier answers.
pub struct KeptLists {
    lists: Vec<(Py<PyList>, usize)>,
    bytes: usize,
}

impl KeptLists {
    /// Keeps a list that takes some `bytes` of memory with what is in it, if there is room. The GIL must
    /// be held.
    pub fn keep(list: &Bound<'_, PyList>, bytes: usize) {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + bytes <= MOST {
            kept.bytes += bytes;
            kept.lists.push((list.clone().unbind(), bytes));
        }
    }

    /// Frees some of the lists, if nobody else has them.
    pub fn free_some(py: Python<'_>) {
        let mut freed = 0;
        while freed < AT_ONCE
            && let Some((list, bytes)) = Self::last()
        {
            freed += bytes;
            // Not while it is locked: what others put into the list may run code of theirs.
            drop(list.into_bound(py));
        }
    }

    fn last() -> Option<(Py<PyList>, usize)> {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let (list, bytes) = kept.lists.pop()?;
        kept.bytes -= bytes;
        Some((list, bytes))
    }
}
