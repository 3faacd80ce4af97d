//! The listpack in a payload of DUMP, and its elements.
//!
//! Sources of the formats: Redis 7's `rdb.c` (`RDB_TYPE_HASH_LISTPACK`), `cluster.c`
//! (`createDumpPayload`) and `listpack.c`.

use std::ops::Range;

use super::{UNPACKED, lzf};

/// What a value begins with that holds a hash as a listpack.
pub(super) const HASH_LISTPACK: u8 = 16;
/// The format's version and a checksum end a payload. Both are TCP's and the server's to keep right, as
/// in any reply.
pub(super) const TAIL_BYTES: usize = 2 + 8;
/// The listpack's size and its number of elements.
pub(super) const HEAD_BYTES: usize = 4 + 2;
pub(super) const LISTPACK_END: u8 = 0xFF;

/// Where a listpack is.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Listpack {
    Plain(Range<usize>),
    /// Packed bytes, and how many they will be.
    Packed(Range<usize>, usize),
}

/// The listpack of a payload; `None` if it holds something else.
pub(super) fn listpack(payload: &[u8]) -> Option<Listpack> {
    let end = payload.len().checked_sub(TAIL_BYTES)?;
    let (&kind, rest) = payload[..end].split_first()?;
    if kind != HASH_LISTPACK {
        return None;
    }
    let range = |rest: &[u8]| end - rest.len()..end;
    if rest.first() == Some(&0xC3) {
        let (packed, rest) = length(&rest[1..])?;
        let (plain, rest) = length(rest)?;
        let fits = packed == rest.len() && plain / lzf::MOST <= packed && plain < UNPACKED as usize;
        return fits.then(|| Listpack::Packed(range(rest), plain));
    }
    let (plain, rest) = length(rest)?;
    (plain == rest.len()).then(|| Listpack::Plain(range(rest)))
}

/// Whether this payload of DUMP is one that is read here.
#[must_use]
pub fn is_read(payload: &[u8]) -> bool {
    listpack(payload).is_some()
}

/// A length and what is behind it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match *bytes {
        [short, ref rest @ ..] if short < 0x40 => Some((usize::from(short), rest)),
        [high, low, ref rest @ ..] if high < 0x80 => {
            Some((usize::from(high & 0x3F) << 8 | usize::from(low), rest))
        }
        [0x80, a, b, c, d, ref rest @ ..] => {
            Some((u32::from_be_bytes([a, b, c, d]) as usize, rest))
        }
        _ => None,
    }
}

/// What an element of a listpack is.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Element {
    Text(Range<usize>),
    Number(i64),
}

/// The element at `at`, and where the next one is.
#[expect(
    clippy::inline_always,
    reason = "the loop over a hash's cells is made of it"
)]
#[inline(always)]
pub(super) fn element(bytes: &[u8], at: usize) -> Option<(Element, usize)> {
    let head = *bytes.get(at)?;
    if head & 0xC0 == 0x80 {
        let end = at + 1 + usize::from(head & 0x3F);
        return Some((Element::Text(at + 1..end), end + 1));
    }
    rare_element(bytes, at, head)
}

#[cold]
fn rare_element(bytes: &[u8], at: usize, head: u8) -> Option<(Element, usize)> {
    let rest = &bytes[at + 1..];
    let text = |head: usize, len: usize| {
        let end = at.checked_add(head)?.checked_add(len)?;
        // How long it is, for who comes from behind, in digits of seven bits; Redis takes one more
        // than it needs to for the largest number of two digits and of three.
        let size = head + len;
        let bits = usize::BITS - (size + usize::from(size > 127)).leading_zeros();
        let back = bits.div_ceil(7) as usize;
        Some((Element::Text(at + head..end), end.checked_add(back)?))
    };
    let number = |width: usize, number: i64| Some((Element::Number(number), at + 1 + width + 1));
    match (head, rest) {
        (0..=0x7F, _) => number(0, i64::from(head)),
        (0xC0..=0xDF, &[low, ..]) => {
            let bits = u16::from(head & 0x1F) << 8 | u16::from(low);
            // Thirteen bits with a sign.
            number(1, i64::from((bits << 3) as i16 >> 3))
        }
        (0xE0..=0xEF, &[low, ..]) => text(2, usize::from(head & 0xF) << 8 | usize::from(low)),
        (0xF0, &[a, b, c, d, ..]) => text(5, u32::from_le_bytes([a, b, c, d]) as usize),
        (0xF1, &[a, b, ..]) => number(2, i16::from_le_bytes([a, b]).into()),
        (0xF2, &[a, b, c, ..]) => number(3, (i32::from_le_bytes([0, a, b, c]) >> 8).into()),
        (0xF3, &[a, b, c, d, ..]) => number(4, i32::from_le_bytes([a, b, c, d]).into()),
        (0xF4, _) => number(8, i64::from_le_bytes(*rest.first_chunk()?)),
        _ => None,
    }
}
