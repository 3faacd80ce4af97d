//! Objects of earlier answers that are of use to later ones.
//!
//! An answer's numbers have a second reference here, and those of which it has become the only one are
//! given out again ([`Spares`]). Texts that come again are one object ([`Texts`]).

use std::mem::take;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

use super::layout::Layouts;
use super::spares::Spares;
use super::texts::Texts;

/// So many drawers at the most, each for one answer at a time.
const MOST_DRAWERS: usize = 8;

/// If the numbers of all drawers are in use so many times in a row, one is cleared.
const PATIENCE: usize = 32;

/// Of integers this small Python has objects.
const SMALL: RangeInclusive<i64> = -5..=256;

/// It is locked with the GIL held, and not for anything that lets go of it: no fork comes between.
static IDLE: Mutex<Idle> = Mutex::new(Idle {
    drawers: Vec::new(),
    in_vain: 0,
});

/// The drawers that no answer on its way has.
struct Idle {
    /// The last one used comes last.
    drawers: Vec<Drawer>,
    /// How many answers in a row could not have any.
    in_vain: usize,
}

fn idle() -> MutexGuard<'static, Idle> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Idle {
    /// The drawer used last of those whose numbers nobody has, or an empty one. One that has not half as
    /// many numbers as another may be there since that one was in use.
    fn take(&mut self, py: Python<'_>) -> Option<Drawer> {
        let drawers = self.drawers.iter().enumerate();
        let free: Vec<_> = drawers
            .filter(|(_, drawer)| drawer.is_free(py))
            .map(|(place, drawer)| (place, drawer.len()))
            .collect();
        let most = free.iter().map(|&(_, len)| len).max().unwrap_or(0);
        let last = free.iter().rev().find(|&&(_, len)| 2 * len >= most);
        self.in_vain += 1;
        let drawer = match last {
            Some(&(place, _)) => self.drawers.remove(place),
            None if self.drawers.len() < MOST_DRAWERS => Drawer::default(),
            None if self.in_vain > PATIENCE => self.drawers.remove(0),
            None => return None,
        };
        self.in_vain = 0;
        if let Some(oldest) = self.drawers.first_mut() {
            oldest.age();
            if oldest.len() == 0 {
                self.drawers.remove(0);
            }
        }
        Some(drawer)
    }

    /// Takes a drawer back; the one that there is no place for.
    fn put(&mut self, drawer: Drawer) -> Option<Drawer> {
        self.drawers.push(drawer);
        (self.drawers.len() > MOST_DRAWERS).then(|| self.drawers.remove(0))
    }
}

/// Objects for one answer, until this is dropped. The GIL must be held then.
pub struct KeptObjects {
    layouts: Layouts,
    drawer: Drawer,
}

impl KeptObjects {
    /// Objects for an answer, unless too many answers have some.
    pub fn claim(py: Python<'_>) -> Option<Self> {
        if !is_first_interpreter() {
            return None;
        }
        let mut drawer = idle().take(py)?;
        drawer.begin(py);
        Some(Self {
            layouts: Layouts::of(py),
            drawer,
        })
    }

    /// Whether numbers are left for the rest of the answer.
    pub fn has_numbers_left(&self) -> bool {
        self.drawer.numbers().iter().any(|kind| kind.left() > 0)
    }

    /// A float.
    #[expect(
        clippy::inline_always,
        reason = "once for each value, and not inlined otherwise"
    )]
    #[inline(always)]
    pub fn float<'py>(&mut self, py: Python<'py>, number: f64) -> Bound<'py, PyAny> {
        match self.layouts.float {
            Some(layout) => self.drawer.floats.float(py, layout, number),
            None => PyFloat::new(py, number).into_any(),
        }
    }

    /// An integer.
    #[inline]
    pub fn int<'py>(&mut self, py: Python<'py>, number: i64) -> Bound<'py, PyAny> {
        let new = || PyInt::new(py, number).into_any();
        if SMALL.contains(&number) {
            return new();
        }
        let (layouts, drawer) = (self.layouts, &mut self.drawer);
        let short = layouts.short_int;
        if let Some(int) = short.and_then(|layout| drawer.short_ints.int(py, layout, number)) {
            return int;
        }
        let long = layouts.long_int;
        let int = long.and_then(|layout| drawer.long_ints.int(py, layout, number));
        int.unwrap_or_else(new)
    }

    /// The texts.
    #[inline]
    pub(super) fn texts(&mut self) -> &mut Texts {
        &mut self.drawer.texts
    }
}

impl Drop for KeptObjects {
    fn drop(&mut self) {
        let left_over = idle().put(take(&mut self.drawer));
        // Not with the lock held.
        drop(left_over);
    }
}

/// What is kept for one answer at a time.
#[derive(Default)]
struct Drawer {
    floats: Spares,
    short_ints: Spares,
    long_ints: Spares,
    texts: Texts,
}

impl Drawer {
    fn numbers(&self) -> [&Spares; 3] {
        [&self.floats, &self.short_ints, &self.long_ints]
    }

    fn numbers_mut(&mut self) -> [&mut Spares; 3] {
        [&mut self.floats, &mut self.short_ints, &mut self.long_ints]
    }

    fn len(&self) -> usize {
        self.numbers().map(Spares::len).iter().sum()
    }

    fn is_free(&self, py: Python<'_>) -> bool {
        self.numbers().iter().all(|kind| kind.are_free(py))
    }

    fn begin(&mut self, py: Python<'_>) {
        for kind in self.numbers_mut() {
            if kind.are_free(py) {
                kind.begin();
            } else {
                kind.clear();
            }
        }
    }

    fn age(&mut self) {
        for kind in self.numbers_mut() {
            kind.age();
        }
    }
}

/// Whether this is the interpreter that was the first to ask. Another one may have memory of its own,
/// which goes with it.
fn is_first_interpreter() -> bool {
    static FIRST: OnceLock<i64> = OnceLock::new();
    #[expect(unsafe_code, reason = "no safe form of this call in PyO3")]
    // SAFETY: whoever has the GIL has an interpreter.
    let this = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    *FIRST.get_or_init(|| this) == this
}
