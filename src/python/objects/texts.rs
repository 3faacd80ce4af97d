//! Texts that come again.
//!
//! Features that are texts are mostly names of a few things. Their objects are immutable, so one is
//! shared by all places that have the same text, which takes a third of the time of a new one.

use pyo3::prelude::*;
use pyo3::types::PyString;
use xxhash_rust::xxh3::xxh3_64;

/// How many texts are kept, a power of two.
const KEPT: usize = 1024;

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
pub(super) struct Texts<'a, 'py> {
    /// None at first, since a small answer is done before they would be of use.
    kept: Vec<(&'a [u8], Option<Bound<'py, PyAny>>)>,
    met: usize,
}

impl<'a, 'py> Texts<'a, 'py> {
    /// The object of a text; `None` if it is not UTF-8.
    #[inline]
    pub(super) fn object(
        &mut self,
        py: Python<'py>,
        text: &'a [u8],
        patience: &mut Patience,
    ) -> Option<Bound<'py, PyAny>> {
        if patience.0 == 0 {
            return new(py, text);
        }
        if self.kept.is_empty() {
            self.met += 1;
            if self.met < KEPT / 8 {
                return new(py, text);
            }
            self.kept.resize_with(KEPT, Default::default);
        }
        let (known, object) = &mut self.kept[xxh3_64(text) as usize % KEPT];
        if let Some(object) = object
            && *known == text
        {
            patience.0 += 1;
            return Some(object.clone());
        }
        patience.0 -= 1;
        let made = new(py, text)?;
        (*known, *object) = (text, Some(made.clone()));
        Some(made)
    }
}

fn new<'py>(py: Python<'py>, text: &[u8]) -> Option<Bound<'py, PyAny>> {
    // Python checks that it is UTF-8, too.
    Some(PyString::from_bytes(py, text).ok()?.into_any())
}
