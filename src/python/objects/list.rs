//! Lists that are filled one object after the other.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::layout::Layouts;

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

    /// The places, to put objects into.
    #[inline]
    pub fn filling<'py>(&mut self, py: Python<'py>) -> Filling<'_, 'py> {
        let layout = Layouts::of(py).list;
        Filling {
            places: layout.map(|layout| layout.places(self.list.bind(py))),
            filler: self,
            py,
        }
    }

    /// The list, all of whose places are filled.
    pub fn finish(self, py: Python<'_>) -> Bound<'_, PyList> {
        let list = self.finish_hidden(py);
        track(&list);
        list
    }

    /// The list, all of whose places are filled, which the collector does not know yet.
    fn finish_hidden(self, py: Python<'_>) -> Bound<'_, PyList> {
        assert_eq!(self.filled, self.length, "a place of a list is empty");
        self.list.into_bound(py)
    }
}

/// Tells the collector of a whole list that it does not know.
fn track(list: &Bound<'_, PyList>) {
    #[expect(unsafe_code, reason = "no safe form of this call in PyO3")]
    // SAFETY: a live list without empty places, which is not tracked.
    unsafe {
        ffi::PyObject_GC_Track(list.as_ptr().cast());
    }
}

/// A list's places while objects are put into them.
pub struct Filling<'a, 'py> {
    py: Python<'py>,
    filler: &'a mut ListFiller,
    /// Where the places are, if that is known.
    places: Option<*mut *mut ffi::PyObject>,
}

impl<'py> Filling<'_, 'py> {
    /// How many objects the list has.
    pub fn len(&self) -> usize {
        self.filler.filled
    }

    /// Puts an object into the next place.
    #[inline]
    pub fn push(&mut self, object: Bound<'py, PyAny>) -> PyResult<()> {
        let filled = self.filler.filled;
        match self.places {
            #[expect(unsafe_code, reason = "what the stable ABI has no call for")]
            // SAFETY: the list has `length` places, of which this one is null: objects are put only
            // here, one place after the other, and nobody else has the list. It has the object from
            // here on.
            Some(places) if filled < self.filler.length => unsafe {
                places.add(filled).write(object.into_ptr());
            },
            _ => self.set(filled, object)?,
        }
        self.filler.filled += 1;
        Ok(())
    }

    fn set(&self, place: usize, object: Bound<'py, PyAny>) -> PyResult<()> {
        let (list, place) = (self.filler.list.as_ptr(), place as ffi::Py_ssize_t);
        #[expect(
            unsafe_code,
            reason = "PyO3's form of this call takes its result apart"
        )]
        // SAFETY: both are live objects, and the object is the list's from here on, whether there
        // is such a place or not.
        let outcome = unsafe { ffi::PyList_SetItem(list, place, object.into_ptr()) };
        if outcome != 0 {
            return Err(PyErr::fetch(self.py));
        }
        Ok(())
    }
}

/// A list of these objects, which the collector does not know if it is `hidden`.
///
/// So many new containers start a collection of the youngest while the read lasts. Were these among
/// them, each would be looked at there, and most answers are gone before the next one.
pub fn list_of<'py>(
    py: Python<'py>,
    objects: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
    hidden: bool,
) -> PyResult<Bound<'py, PyList>> {
    let mut list = ListFiller::new(py, objects.len())?;
    let mut places = list.filling(py);
    for object in objects {
        places.push(object)?;
    }
    let list = list.finish_hidden(py);
    if !hidden {
        track(&list);
    }
    Ok(list)
}

/// Tells the collector of the lists among the first `count` objects of a list, which were hidden.
pub fn show_lists(list: &Bound<'_, PyList>, count: usize) {
    for object in list.iter().take(count) {
        if let Ok(hidden) = object.cast() {
            track(hidden);
        }
    }
}
