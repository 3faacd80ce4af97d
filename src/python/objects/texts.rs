//! Texts that come again.
//!
//! Features that are texts are mostly names of a few things. Their objects are immutable, so one is
//! shared by all places that have the same text, which takes a third of the time of a new one.

use pyo3::prelude::*;
use pyo3::types::PyString;
use xxhash_rust::xxh3::xxh3_64;

/// How many texts are kept, a power of two, and of how many bytes at the most.
const KEPT: usize = 4096;
const LONGEST: usize = 128;

/// So many are met before any is kept.
const FEW: usize = 128;

/// How often texts of a column may be new, before it is taken for one of ever different texts.
const PATIENCE: u32 = 64;

/// How often the look-up for a column still may fail: more often after each success.
#[derive(Clone, Copy)]
pub(super) struct Patience(u32);

impl Default for Patience {
    fn default() -> Self {
        Self(PATIENCE)
    }
}

/// The texts met last.
#[derive(Default)]
pub(super) struct Texts {
    /// With their hashes. None at first, since a small answer is done before they would be of use.
    kept: Vec<Option<(u64, Py<PyString>)>>,
    met: usize,
}

impl Texts {
    /// The object of a text; `None` if it is not UTF-8.
    #[inline]
    pub(super) fn object<'py>(
        &mut self,
        py: Python<'py>,
        text: &[u8],
        patience: &mut Patience,
    ) -> Option<Bound<'py, PyAny>> {
        if patience.0 == 0 || text.len() > LONGEST {
            return new(py, text).map(Bound::into_any);
        }
        if self.kept.is_empty() {
            self.met += 1;
            if self.met < FEW {
                return new(py, text).map(Bound::into_any);
            }
            self.kept.resize_with(KEPT, || None);
        }
        let hash = xxh3_64(text);
        let kept = &mut self.kept[hash as usize % KEPT];
        if let Some((known, object)) = kept
            && *known == hash
            && let object = object.bind(py)
            && object.to_str().is_ok_and(|known| known.as_bytes() == text)
        {
            patience.0 += 1;
            return Some(object.clone().into_any());
        }
        patience.0 -= 1;
        let made = new(py, text)?;
        if let Some((_, other)) = kept.replace((hash, made.clone().unbind())) {
            drop(other.into_bound(py));
        }
        Some(made.into_any())
    }
}

fn new<'py>(py: Python<'py>, text: &[u8]) -> Option<Bound<'py, PyString>> {
    // Python checks that it is UTF-8, too.
    PyString::from_bytes(py, text).ok()
}
