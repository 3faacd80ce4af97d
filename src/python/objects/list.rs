//! Lists that are filled one object after the other.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

/// A Python list of known length on its way.
pub struct ListFiller {
    list: Py<PyList>,
    length: usize,
    filled: usize,
}

impl ListFiller {
    /// A list of `length` places.
    pub fn new(py: Python<'_>, length: usize) -> PyResult<Self> {
        #[expect(unsafe_code, reason = "PyO3 makes a list of an iterator only, at once")]
        // SAFETY: the new list is ours alone. Its places are null until they are filled, which
        // nobody sees: the collector, and who asks it for its objects, get to know the list in
        // `finish`, when all are. A list that is dropped before may have null places.
        let list = unsafe {
            let list = ffi::PyList_New(length as ffi::Py_ssize_t);
            let list = Bound::from_owned_ptr_or_err(py, list)?;
            ffi::PyObject_GC_UnTrack(list.as_ptr().cast());
            list.cast_into_unchecked().unbind()
        };
        Ok(Self {
            list,
            length,
            filled: 0,
        })
    }

    /// How many objects it has.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Puts an object into the next place.
    #[inline]
    pub fn push(&mut self, object: Bound<'_, PyAny>) -> PyResult<()> {
        let py = object.py();
        let (list, place) = (self.list.as_ptr(), self.filled as ffi::Py_ssize_t);
        #[expect(
            unsafe_code,
            reason = "PyO3's form of this call takes its result apart"
        )]
        // SAFETY: both are live objects, and the object is the list's from here on, whether there
        // is such a place or not.
        let outcome = unsafe { ffi::PyList_SetItem(list, place, object.into_ptr()) };
        if outcome != 0 {
            return Err(PyErr::fetch(py));
        }
        self.filled += 1;
        Ok(())
    }

    /// The list, all of whose places are filled.
    pub fn finish(self, py: Python<'_>) -> Bound<'_, PyList> {
        assert_eq!(self.filled, self.length, "a place of a list is empty");
        #[expect(unsafe_code, reason = "no safe form of this call in PyO3")]
        // SAFETY: the list is whole, and it is not tracked since `new`.
        unsafe {
            ffi::PyObject_GC_Track(self.list.as_ptr().cast());
        }
        self.list.into_bound(py)
    }
}

/// A list in a column on its way, which the collector gets to know with the column.
///
/// So many new containers start a collection of the youngest while the read lasts. Were these among
/// them, each would be looked at there, and most answers are gone before the next one.
pub struct HiddenList(Py<PyList>);

impl HiddenList {
    /// Hides a list that nobody has seen yet.
    pub fn new(list: &Bound<'_, PyList>) -> Self {
        #[expect(unsafe_code, reason = "no safe form of this call in PyO3")]
        // SAFETY: the list is whole and live. It may be freed without being tracked again.
        unsafe {
            ffi::PyObject_GC_UnTrack(list.as_ptr().cast());
        }
        Self(list.clone().unbind())
    }

    /// Tells the collector of the list.
    pub fn show(self, py: Python<'_>) {
        let list = self.0.into_bound(py);
        #[expect(unsafe_code, reason = "no safe form of this call in PyO3")]
        // SAFETY: the list is whole, and it is not tracked since `new`.
        unsafe {
            ffi::PyObject_GC_Track(list.as_ptr().cast());
        }
    }
}
