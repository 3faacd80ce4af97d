//! Lists of numbers as Feast writes them: one message, whose elements are packed in one run.

use crate::value::field::Field;
use crate::value::wire::sole_varint;

/// The bytes behind a length, if they are all there is.
#[inline]
fn sole_message(rest: &[u8]) -> Option<&[u8]> {
    let digits = rest.iter().take(5).position(|&byte| byte < 0x80)? + 1;
    let (length, bytes) = rest.split_at(digits);
    (sole_varint(length)? == bytes.len() as u64).then_some(bytes)
}

/// The body of a list that is all that a cell holds, for the lists whose elements protobuf packs.
#[inline]
pub(super) fn sole_packable_list(cell: &[u8]) -> Option<(Field, &[u8])> {
    let (field, rest) = match cell {
        [0x6a, rest @ ..] => (Field::Int32List, rest),
        [0x72, rest @ ..] => (Field::Int64List, rest),
        [0x7a, rest @ ..] => (Field::DoubleList, rest),
        [0x82, 0x01, rest @ ..] => (Field::FloatList, rest),
        [0x8a, 0x01, rest @ ..] => (Field::BoolList, rest),
        _ => return None,
    };
    Some((field, sole_message(rest)?))
}

/// The elements of such a list, if they are packed in one run.
#[inline]
pub(super) fn sole_packed(body: &[u8]) -> Option<&[u8]> {
    match body {
        [] => Some(&[]),
        [0x0a, rest @ ..] => sole_message(rest),
        _ => None,
    }
}

/// Varints end to end.
pub(super) struct Varints<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Varints<'a> {
    /// `None` if there is anything else.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let (mut left, mut long) = (0, 0);
        for &byte in bytes {
            if byte < 0x80 {
                left += 1;
                long = 0;
            } else {
                long += 1;
                if long > 9 {
                    return None;
                }
            }
        }
        (long == 0).then_some(Self { rest: bytes, left })
    }
}

impl Iterator for Varints<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let end = self.rest.iter().position(|&byte| byte < 0x80)? + 1;
        let (varint, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.left -= 1;
        sole_varint(varint)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Varints<'_> {}
