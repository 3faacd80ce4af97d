//! Numbers of earlier answers that nobody has any more, given out again with other values.
//!
//! Of a list of floats, each takes 7 ns if it is overwritten, and 18 if it is freed and another one is
//! made. It stays where it lies, beside its neighbours in the list, too. So an answer's numbers have a second
//! reference here, and one that has become the only one is overwritten for a later answer. Nobody can
//! tell: to see that an object is the same one takes a reference to it. Nothing but the memory that is
//! in use, and `sys.getrefcount`, tells of those that are kept.

use std::mem::{replace, take};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

use super::layout::{IntLayout, Layouts};

/// So many are kept at the most, which are 16 MiB.
const MOST: usize = 1 << 19;

/// So many sets of them at the most, each of one answer at a time.
const MOST_SETS: usize = 8;

/// If all sets are in use so many times in a row, one is left to whoever has its numbers.
const PATIENCE: usize = 32;

/// Of integers this small Python has objects.
const SMALL: RangeInclusive<i64> = -5..=256;

/// How many of those that the last answer had no use for are given up by the next one.
const GIVEN_UP: usize = 8;

/// With the GIL held, it is locked for no longer than it takes to move a set: no fork comes between.
static SETS: Mutex<Sets> = Mutex::new(Sets {
    idle: Vec::new(),
    taken: 0,
    in_vain: 0,
});

/// How many numbers are kept.
static KEPT: AtomicUsize = AtomicUsize::new(0);

struct Sets {
    /// Those that no reader has; the last one used comes last.
    idle: Vec<Set>,
    /// How many the readers have.
    taken: usize,
    /// How many readers in a row found no set that they could have.
    in_vain: usize,
}

fn sets() -> MutexGuard<'static, Sets> {
    SETS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sets {
    /// A set of numbers that nobody has, or an empty one.
    fn take(&mut self, py: Python<'_>) -> Option<Set> {
        let free = self.idle.iter().rposition(|set| set.is_free(py));
        let set = match free {
            Some(place) => self.idle.remove(place),
            None if self.idle.len() + self.taken < MOST_SETS => Set::default(),
            None => {
                self.in_vain += 1;
                if self.in_vain <= PATIENCE || self.idle.is_empty() {
                    return None;
                }
                self.idle.remove(0);
                Set::default()
            }
        };
        self.taken += 1;
        self.in_vain = 0;
        Some(set)
    }
}

/// Numbers for one answer, until this is dropped.
pub struct KeptNumbers {
    layouts: Layouts,
    set: Set,
}

impl KeptNumbers {
    /// Numbers for an answer, unless too many answers have some.
    pub fn claim(py: Python<'_>) -> Option<Self> {
        let mut set = sets().take(py)?;
        set.begin();
        Some(Self {
            layouts: Layouts::of(py),
            set,
        })
    }

    /// How many there are for the rest of the answer.
    pub fn left(&self) -> usize {
        let Set {
            floats,
            ints,
            long_ints,
        } = &self.set;
        [floats, ints, long_ints]
            .iter()
            .map(|kind| kind.numbers.len() - kind.given)
            .sum()
    }

    /// A float.
    #[inline]
    pub fn float<'py>(&mut self, py: Python<'py>, number: f64) -> Bound<'py, PyAny> {
        let make = || PyFloat::new(py, number).into_any();
        let Some(layout) = self.layouts.float else {
            return make();
        };
        let overwrite = |float: &Bound<'py, PyAny>| {
            #[expect(unsafe_code, reason = "what the stable ABI has no call for")]
            // SAFETY: made by `make`, and nobody else's.
            unsafe {
                layout.overwrite(float, number);
            }
        };
        self.set.floats.next(py, overwrite, make)
    }

    /// An integer.
    #[inline]
    pub fn int<'py>(&mut self, py: Python<'py>, number: i64) -> Bound<'py, PyAny> {
        if SMALL.contains(&number) {
            return PyInt::new(py, number).into_any();
        }
        let (layouts, set) = (self.layouts, &mut self.set);
        let mut short = || set.ints.int(py, layouts.int?, number);
        let long = || set.long_ints.int(py, layouts.long_int?, number);
        short()
            .or_else(long)
            .unwrap_or_else(|| PyInt::new(py, number).into_any())
    }
}

impl Drop for KeptNumbers {
    fn drop(&mut self) {
        let set = take(&mut self.set);
        let mut sets = sets();
        sets.taken -= 1;
        sets.idle.push(set);
    }
}

#[derive(Default)]
struct Set {
    floats: Spares,
    ints: Spares,
    long_ints: Spares,
}

impl Set {
    fn is_free(&self, py: Python<'_>) -> bool {
        let kinds = [&self.floats, &self.ints, &self.long_ints];
        kinds.iter().all(|kind| kind.is_free(py))
    }

    fn begin(&mut self) {
        for kind in [&mut self.floats, &mut self.ints, &mut self.long_ints] {
            kind.begin();
        }
    }
}

/// Numbers whose objects are of one size, in the order in which they are given out.
#[derive(Default)]
struct Spares {
    numbers: Vec<Py<PyAny>>,
    /// How many of them the answer has.
    given: usize,
}

impl Spares {
    /// Whether nobody has the first one, nor, it is supposed, the others.
    fn is_free(&self, py: Python<'_>) -> bool {
        self.numbers
            .first()
            .is_none_or(|first| is_sole(first.bind(py)))
    }

    /// Begins an answer.
    fn begin(&mut self) {
        let unused = self.numbers.len() - self.given;
        self.numbers
            .truncate(self.numbers.len() - unused.min(GIVEN_UP));
        KEPT.fetch_sub(unused.min(GIVEN_UP), Ordering::Relaxed);
        self.given = 0;
    }

    /// The next number, overwritten, or a new one where somebody has it still.
    #[inline]
    fn next<'py>(
        &mut self,
        py: Python<'py>,
        overwrite: impl FnOnce(&Bound<'py, PyAny>),
        make: impl FnOnce() -> Bound<'py, PyAny>,
    ) -> Bound<'py, PyAny> {
        let Some(number) = self.numbers.get_mut(self.given) else {
            return self.add(make());
        };
        self.given += 1;
        if let Some(second) = second_reference(number.bind(py)) {
            overwrite(&second);
            return second;
        }
        let new = make();
        drop(replace(number, new.clone().unbind()).into_bound(py));
        new
    }

    /// An integer of as many digits as these have.
    #[inline]
    fn int<'py, const DIGITS: usize>(
        &mut self,
        py: Python<'py>,
        layout: IntLayout<DIGITS>,
        number: i64,
    ) -> Option<Bound<'py, PyAny>> {
        let digits = IntLayout::<DIGITS>::digits(number)?;
        let overwrite = |int: &Bound<'py, PyAny>| {
            #[expect(unsafe_code, reason = "what the stable ABI has no call for")]
            // SAFETY: made here, so of as many digits, and nobody else's.
            unsafe {
                layout.overwrite(int, number < 0, digits);
            }
        };
        Some(self.next(py, overwrite, || PyInt::new(py, number).into_any()))
    }

    /// Keeps a new number, if there is room.
    fn add<'py>(&mut self, number: Bound<'py, PyAny>) -> Bound<'py, PyAny> {
        if KEPT.load(Ordering::Relaxed) < MOST {
            KEPT.fetch_add(1, Ordering::Relaxed);
            self.numbers.push(number.clone().unbind());
            self.given += 1;
        }
        number
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.numbers.len(), Ordering::Relaxed);
    }
}

/// Whether nobody else has a reference to the object.
#[inline]
fn is_sole(object: &Bound<'_, PyAny>) -> bool {
    #[expect(unsafe_code, reason = "no safe form of this call in PyO3")]
    // SAFETY: a live object.
    let references = unsafe { ffi::Py_REFCNT(object.as_ptr()) };
    references == 1
}

/// A second reference to the object, if there is no other.
#[inline]
fn second_reference<'py>(object: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    if !is_sole(object) {
        return None;
    }
    #[expect(unsafe_code, reason = "a call for each takes longer than the rest")]
    // SAFETY: the count of a live object's references, of which there are two now.
    unsafe {
        (*object.as_ptr()).ob_refcnt = 2;
        Some(Bound::from_owned_ptr(object.py(), object.as_ptr()))
    }
}
