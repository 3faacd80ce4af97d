//! How the running Python lays out numbers and lists.
//!
//! The stable ABI tells of the header of an object alone. So what is known of their C structs is tried
//! on some of known values first, and nothing is done with objects that are laid out otherwise.

use std::mem::offset_of;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyList};
use pyo3::{PyTypeInfo, ffi};

/// Integers have digits of so many bits.
const DIGIT_BITS: u32 = 30;

/// Python's `PyFloatObject`.
#[repr(C)]
struct FloatObject {
    head: ffi::PyObject,
    number: f64,
}

/// Python's `PyLongObject` with so many digits.
#[repr(C)]
struct IntObject<const DIGITS: usize> {
    head: ffi::PyObject,
    /// The sign and the number of digits: `ob_size` up to Python 3.11, `lv_tag` since.
    tag: usize,
    /// The lowest first.
    digits: [u32; DIGITS],
}

/// A known layout of floats.
#[derive(Clone, Copy)]
pub(super) struct FloatLayout(());

impl FloatLayout {
    fn find(py: Python<'_>) -> Option<Self> {
        if sizes::<PyFloat>(py)? != (size_of::<FloatObject>(), 0) {
            return None;
        }
        let known = |number: f64| {
            let object = PyFloat::new(py, number);
            #[expect(unsafe_code, reason = "what the stable ABI has no call for")]
            // SAFETY: a live object, which is as large.
            let there = unsafe { (*object.as_ptr().cast::<FloatObject>()).number };
            there.to_bits() == number.to_bits()
        };
        [1.5, -0.0, f64::MIN_POSITIVE, f64::MAX]
            .into_iter()
            .all(known)
            .then_some(Self(()))
    }

    /// Makes a float another one.
    ///
    /// # Safety
    ///
    /// It is an exact float, and nobody else has a reference to it.
    #[expect(unsafe_code, reason = "what the stable ABI has no call for")]
    #[expect(clippy::unused_self, reason = "it tells that the layout is known")]
    #[inline]
    pub(super) unsafe fn overwrite(self, float: &Bound<'_, PyAny>, number: f64) {
        // SAFETY: floats have this layout, or there would be no `self`; the rest is the caller's.
        unsafe { (*float.as_ptr().cast::<FloatObject>()).number = number };
    }
}

/// A known layout of integers of so many digits.
#[derive(Clone, Copy)]
pub(super) struct IntLayout<const DIGITS: usize> {
    /// The tags of positive and of negative ones.
    tags: [usize; 2],
}

impl<const DIGITS: usize> IntLayout<DIGITS> {
    fn find(py: Python<'_>) -> Option<Self> {
        let sizes_here = (offset_of!(IntObject<DIGITS>, digits), size_of::<u32>());
        if sizes::<PyInt>(py)? != sizes_here {
            return None;
        }
        // Of the smallest ones Python has objects that look otherwise.
        let least = if DIGITS == 1 {
            1 << 20
        } else {
            1 << (DIGIT_BITS * (DIGITS as u32 - 1))
        };
        let most = (1 << (DIGIT_BITS * DIGITS as u32)) - 1;
        let tag_of = |number: i64| {
            let object = PyInt::new(py, number);
            #[expect(unsafe_code, reason = "what the stable ABI has no call for")]
            // SAFETY: a live object, which has both: as many digits of 30 bits, or more of fewer, and a
            // digit takes the bytes of an u32. What the struct has behind them it may lack.
            let (tag, digits) = unsafe {
                let there = object.as_ptr().cast::<IntObject<DIGITS>>();
                ((*there).tag, (*there).digits)
            };
            (digits == Self::digits(number)?).then_some(tag)
        };
        let tags = [1, -1].map(|sign| {
            let tag = tag_of(sign * least)?;
            let numbers = [most, least + 1, most / 3 * 2];
            numbers
                .iter()
                .all(|number| tag_of(sign * number) == Some(tag))
                .then_some(tag)
        });
        match tags {
            [Some(positive), Some(negative)] if positive != negative => Some(Self {
                tags: [positive, negative],
            }),
            _ => None,
        }
    }

    /// The digits of a number that has as many.
    #[inline]
    pub(super) fn digits(number: i64) -> Option<[u32; DIGITS]> {
        let mut left = number.unsigned_abs();
        let mut digits = [0; DIGITS];
        for digit in &mut digits {
            *digit = (left & ((1 << DIGIT_BITS) - 1)) as u32;
            left >>= DIGIT_BITS;
        }
        (left == 0 && digits[DIGITS - 1] != 0).then_some(digits)
    }

    /// Makes an integer another one, which has these digits.
    ///
    /// # Safety
    ///
    /// It is an exact integer of as many digits, and nobody else has a reference to it.
    #[expect(unsafe_code, reason = "what the stable ABI has no call for")]
    #[inline]
    pub(super) unsafe fn overwrite(
        self,
        int: &Bound<'_, PyAny>,
        is_negative: bool,
        digits: [u32; DIGITS],
    ) {
        let object = int.as_ptr().cast::<IntObject<DIGITS>>();
        // SAFETY: integers have this layout, or there would be no `self`; the rest is the caller's.
        unsafe {
            (*object).tag = self.tags[usize::from(is_negative)];
            (*object).digits = digits;
        }
    }
}

/// Python's `PyListObject`.
#[repr(C)]
struct ListObject {
    head: ffi::PyObject,
    length: ffi::Py_ssize_t,
    places: *mut *mut ffi::PyObject,
    allocated: ffi::Py_ssize_t,
}

/// A known layout of lists.
#[derive(Clone, Copy)]
pub(super) struct ListLayout(());

impl ListLayout {
    fn find(py: Python<'_>) -> Option<Self> {
        if sizes::<PyList>(py)? != (size_of::<ListObject>(), 0) {
            return None;
        }
        let known = |length: usize| {
            let objects: Vec<_> = (0..length)
                .map(|index| PyBytes::new(py, &[index as u8]))
                .collect();
            let list = PyList::new(py, &objects).ok()?;
            #[expect(unsafe_code, reason = "what the stable ABI has no call for")]
            // SAFETY: a live object, which is as large.
            let there = unsafe { &*list.as_ptr().cast::<ListObject>() };
            if there.length != length as ffi::Py_ssize_t || there.allocated < there.length {
                return None;
            }
            #[expect(unsafe_code, reason = "what the stable ABI has no call for")]
            // SAFETY: where lists have their objects, and it has the length of one.
            let places = unsafe { std::slice::from_raw_parts(there.places, length) };
            let same = places
                .iter()
                .zip(&objects)
                .all(|(place, object)| *place == object.as_ptr());
            same.then_some(())
        };
        known(1)?;
        known(7)?;
        Some(Self(()))
    }

    /// The places of a list.
    #[expect(clippy::unused_self, reason = "it tells that the layout is known")]
    #[inline]
    pub(super) fn places(self, list: &Bound<'_, PyList>) -> *mut *mut ffi::PyObject {
        #[expect(unsafe_code, reason = "what the stable ABI has no call for")]
        // SAFETY: lists have this layout, or there would be no `self`.
        unsafe {
            (*list.as_ptr().cast::<ListObject>()).places
        }
    }
}

/// What is known of the running Python's objects.
#[derive(Clone, Copy)]
pub(super) struct Layouts {
    pub(super) list: Option<ListLayout>,
    pub(super) float: Option<FloatLayout>,
    pub(super) short_int: Option<IntLayout<1>>,
    pub(super) long_int: Option<IntLayout<2>>,
}

impl Layouts {
    /// Those of the running Python, which are looked for once.
    pub(super) fn of(py: Python<'_>) -> Self {
        static FOUND: PyOnceLock<Layouts> = PyOnceLock::new();
        *FOUND.get_or_init(py, || Self {
            list: ListLayout::find(py),
            float: FloatLayout::find(py),
            short_int: IntLayout::find(py),
            long_int: IntLayout::find(py),
        })
    }
}

/// The sizes of a class: of an object, and of each of its items.
fn sizes<T: PyTypeInfo>(py: Python<'_>) -> Option<(usize, usize)> {
    let class = T::type_object(py);
    let size = |name| class.getattr(name).ok()?.extract().ok();
    Some((size("__basicsize__")?, size("__itemsize__")?))
}
