//! Numbers of earlier answers that nobody has any more, given out again with other values.
//!
//! Of a list of floats, each takes 7 ns if it is overwritten, and 18 if it is freed and another one is
//! made. It also stays where it lies, beside its neighbours in the list. Nobody can tell: to see that an
//! object is the same one takes a reference to it.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

use super::layout::{FloatLayout, IntLayout};

/// So many numbers are kept at the most, which are 16 MiB, and 4 MiB of pointers to them.
const MOST: usize = 1 << 19;

/// How many of those without a use are given up at a time, and the part of them that is.
const GIVEN_UP: usize = 8;
const GIVEN_UP_PART: usize = 8192;

/// How many numbers are kept.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Numbers whose objects are of one size, in the order in which they are given out.
#[derive(Default)]
pub(super) struct Spares {
    /// Those of the answer, those that somebody turned out to have, and those that are left.
    numbers: Vec<Py<PyAny>>,
    /// How many the answer has.
    given: usize,
    /// Where those begin that are left.
    next: usize,
}

impl Spares {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// How many are left for the rest of the answer.
    pub(super) fn left(&self) -> usize {
        self.numbers.len() - self.next
    }

    /// Whether nobody has one that the last answer had. It is one in the middle, since the first ones are
    /// what is likely to be picked out; of the others each is looked at before it is given out.
    pub(super) fn are_free(&self, py: Python<'_>) -> bool {
        let given = &self.numbers[..self.given];
        given.is_empty() || is_sole(given[given.len() / 2].bind(py))
    }

    /// Begins an answer.
    pub(super) fn begin(&mut self) {
        self.remove(self.given, self.next);
        self.give_up(self.given);
        (self.given, self.next) = (0, 0);
    }

    /// Gives up some of those that were not of use of late.
    pub(super) fn age(&mut self) {
        self.remove(self.given, self.next);
        self.give_up(0);
        self.given = self.given.min(self.numbers.len());
        self.next = self.given;
    }

    /// Leaves them to whoever has them.
    pub(super) fn clear(&mut self) {
        self.remove(0, self.numbers.len());
        (self.given, self.next) = (0, 0);
    }

    /// Gives up some of the last ones, but none of the first `used`.
    fn give_up(&mut self, used: usize) {
        let unused = self.numbers.len() - used;
        let some = unused.min(GIVEN_UP + unused / GIVEN_UP_PART);
        self.remove(self.numbers.len() - some, self.numbers.len());
        if self.numbers.len() < self.numbers.capacity() / 4 {
            self.numbers.shrink_to(2 * self.numbers.len());
        }
    }

    fn remove(&mut self, from: usize, to: usize) {
        self.numbers.drain(from..to);
        KEPT.fetch_sub(to - from, Ordering::Relaxed);
    }

    /// A float.
    #[expect(
        clippy::inline_always,
        reason = "once for each value, and not inlined otherwise"
    )]
    #[inline(always)]
    pub(super) fn float<'py>(
        &mut self,
        py: Python<'py>,
        layout: FloatLayout,
        number: f64,
    ) -> Bound<'py, PyAny> {
        match self.take(py) {
            Some(float) => {
                #[expect(unsafe_code, reason = "what the stable ABI has no call for")]
                // SAFETY: made below, and nobody else's.
                unsafe {
                    layout.overwrite(&float, number);
                }
                float
            }
            None => self.add(PyFloat::new(py, number).into_any()),
        }
    }

    /// An integer of as many digits as these have.
    #[inline]
    pub(super) fn int<'py, const DIGITS: usize>(
        &mut self,
        py: Python<'py>,
        layout: IntLayout<DIGITS>,
        number: i64,
    ) -> Option<Bound<'py, PyAny>> {
        let digits = IntLayout::<DIGITS>::digits(number)?;
        Some(match self.take(py) {
            Some(int) => {
                #[expect(unsafe_code, reason = "what the stable ABI has no call for")]
                // SAFETY: made below, so of as many digits, and nobody else's.
                unsafe {
                    layout.overwrite(&int, number < 0, digits);
                }
                int
            }
            None => self.add(PyInt::new(py, number).into_any()),
        })
    }

    /// The next number that nobody has. Those before it that somebody has are let go of with the answer:
    /// what is left stays in its order.
    #[expect(
        clippy::inline_always,
        reason = "once for each value, and not inlined otherwise"
    )]
    #[inline(always)]
    fn take<'py>(&mut self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        loop {
            let number = self.numbers.get(self.next)?.bind(py);
            self.next += 1;
            if let Some(second) = second_reference(number) {
                if self.given + 1 < self.next {
                    self.numbers.swap(self.given, self.next - 1);
                }
                self.given += 1;
                return Some(second);
            }
        }
    }

    /// Keeps a new number, if there is room. There are none left.
    fn add<'py>(&mut self, number: Bound<'py, PyAny>) -> Bound<'py, PyAny> {
        if KEPT.load(Ordering::Relaxed) < MOST {
            KEPT.fetch_add(1, Ordering::Relaxed);
            let last = self.numbers.len();
            self.numbers.push(number.clone().unbind());
            self.numbers.swap(self.given, last);
            self.given += 1;
            self.next += 1;
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
