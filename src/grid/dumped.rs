//! Whole hashes as DUMP gives them.
//!
//! HGETALL adds each name and value to the reply by itself. DUMP copies a hash as Redis keeps it: a
//! listpack, in one piece. That is less work even where Redis packs the piece (LZF), as it does by
//! default, and a seventh of it where it does not. Whatever is no listpack is not looked at: those
//! hashes are read once more, by HGETALL.
//!
//! Sources of the formats: Redis 7's `rdb.c` (`RDB_TYPE_HASH_LISTPACK`), `cluster.c`
//! (`createDumpPayload`) and `listpack.c`.

use std::ops::Range;

use super::{ABSENT, Cell, GridScanner, UNPACKED, lzf};
use crate::plan::{FieldTable, ShapeSample};

/// What a value begins with that holds a hash as a listpack.
const HASH_LISTPACK: u8 = 16;
/// The format's version and a checksum end a payload. Both are TCP's and the server's to keep right, as
/// in any reply.
const TAIL_BYTES: usize = 2 + 8;
/// The listpack's size and its number of elements.
const HEAD_BYTES: usize = 4 + 2;
const LISTPACK_END: u8 = 0xFF;

/// Where a listpack is.
#[derive(Debug, Eq, PartialEq)]
enum Listpack {
    Plain(Range<usize>),
    /// Packed bytes, and how many they will be.
    Packed(Range<usize>, usize),
}

/// The listpack of a payload; `None` if it holds something else.
fn listpack(payload: &[u8]) -> Option<Listpack> {
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
enum Element {
    Text(Range<usize>),
    Number(i64),
}

/// The element at `at`, and where the next one is.
#[expect(
    clippy::inline_always,
    reason = "the loop over a hash's cells is made of it"
)]
#[inline(always)]
fn element(bytes: &[u8], at: usize) -> Option<(Element, usize)> {
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

/// The element of a name of four bytes, as every feature's is, in the lower six of eight bytes.
const SHORT: u64 = 0xFFFF_FFFF_FFFF;
const SHORT_BYTES: usize = 6;

/// A name seen at some place in the last hash; see [`super::Guess`].
#[derive(Clone, Copy, Debug)]
struct Guess {
    /// Its element when that has six bytes; else 0, which begins no such element.
    short: u64,
    field: Option<u32>,
}

/// What is remembered from one dumped hash to the next.
#[derive(Debug, Default)]
pub(super) struct Guesses(Vec<Guess>);

impl Guesses {
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl GridScanner {
    /// Takes the cells of the current row from a dumped hash, the bytes `payload` of the reply; false
    /// if that is something that is not read here, and the row has no cells then.
    pub(super) fn scan_dump(&mut self, payload: Range<usize>) -> bool {
        let run = self.runs[self.run];
        let block = self.grid.blocks[run.group];
        let start = block.base + (run.first + self.entity) * block.width;
        let row = start..start + block.width;
        let found = self.fill_row(row.clone(), payload, run.group);
        if let Some(sample) = found {
            self.samples[run.group].add(&sample);
            return true;
        }
        self.grid.cells[row].fill(ABSENT);
        false
    }

    fn fill_row(
        &mut self,
        row: Range<usize>,
        payload: Range<usize>,
        group: usize,
    ) -> Option<ShapeSample> {
        let fields = &self.plan.groups()[group].fields;
        let grid = &mut self.grid;
        let place = listpack(&grid.buffer.filled()[payload.clone()])?;
        let mut walk = Walk {
            fields,
            guesses: &mut self.dumped.0,
            cells: &mut grid.cells[row],
            numbers: Vec::new(),
            sample: ShapeSample::default(),
        };
        match place {
            Listpack::Plain(range) => {
                let range = payload.start + range.start..payload.start + range.end;
                walk.hash(&grid.buffer.filled()[range.clone()], range.start as u32, 0)?;
            }
            Listpack::Packed(range, len) => {
                let at = grid.unpacked.filled().len();
                let packed = &grid.buffer.filled()[payload][range];
                lzf::unpack(packed, grid.unpacked.room(len).ok()?)?;
                grid.unpacked.advance(len);
                walk.hash(&grid.unpacked.filled()[at..], at as u32, UNPACKED)?;
            }
        }
        let Walk {
            numbers,
            sample,
            cells,
            ..
        } = walk;
        for (field, number) in numbers {
            let text = number.to_string();
            cells[field] = Cell {
                start: grid.unpacked.append(text.as_bytes()).ok()? as u32,
                len: text.len() as u32 | UNPACKED,
            };
        }
        Some(sample)
    }
}

/// Fills a row's cells from a listpack.
struct Walk<'a> {
    fields: &'a FieldTable,
    guesses: &'a mut Vec<Guess>,
    cells: &'a mut [Cell],
    /// Values that Redis keeps as numbers, by field.
    numbers: Vec<(usize, i64)>,
    sample: ShapeSample,
}

impl Walk<'_> {
    /// Takes a hash; its bytes start at `base` of a buffer, which `mark` tells. `None` if it is
    /// malformed.
    fn hash(&mut self, bytes: &[u8], base: u32, mark: u32) -> Option<()> {
        let size = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
        if size != bytes.len() || bytes.last() != Some(&LISTPACK_END) {
            return None;
        }
        let mut at = HEAD_BYTES;
        let mut place = 0;
        while at + 1 < size {
            let (field, name_len, next) = self.name(bytes, at, place)?;
            let (value, next) = element(bytes, next)?;
            // The listpack's end is behind every element.
            if next >= size {
                return None;
            }
            let len = match value {
                Element::Text(range) => {
                    let len = range.len();
                    if let Some(field) = field {
                        self.cells[field as usize] = Cell {
                            start: base + range.start as u32,
                            len: len as u32 | mark,
                        };
                        self.sample.wanted_bytes += len;
                    }
                    len
                }
                Element::Number(number) => {
                    if let Some(field) = field {
                        self.numbers.push((field as usize, number));
                    }
                    8
                }
            };
            self.sample.bytes += name_len + len;
            self.sample.long_values += usize::from(ShapeSample::is_long(len));
            at = next;
            place += 1;
        }
        (self.sample.hashes, self.sample.dumped) = (1, 1);
        self.sample.pairs = place;
        self.sample.long_values = self.sample.long_values.min(1);
        Some(())
    }

    /// The field of the name at `at`, the name's length in a reply of HGETALL, and where its value is.
    #[inline]
    fn name(
        &mut self,
        bytes: &[u8],
        at: usize,
        place: usize,
    ) -> Option<(Option<u32>, usize, usize)> {
        let eight = bytes.get(at..at + 8).and_then(|bytes| bytes.first_chunk());
        let word = eight.map_or(0, |&eight| u64::from_le_bytes(eight) & SHORT);
        if let Some(guess) = self.guesses.get(place)
            && guess.short == word
            && word != 0
        {
            return Some((guess.field, SHORT_BYTES + 4, at + SHORT_BYTES));
        }
        self.new_name(bytes, at, place, word)
    }

    #[inline(never)]
    fn new_name(
        &mut self,
        bytes: &[u8],
        at: usize,
        place: usize,
        word: u64,
    ) -> Option<(Option<u32>, usize, usize)> {
        let (name, next) = element(bytes, at)?;
        let (field, len) = match name {
            Element::Text(range) => (self.fields.find(bytes.get(range.clone())?), range.len()),
            Element::Number(number) => {
                let text = number.to_string();
                (self.fields.find(text.as_bytes()), text.len())
            }
        };
        let field = field.map(|field| field as u32);
        let is_short = next - at == SHORT_BYTES && bytes[at] == 0x84;
        let seen = Guess {
            short: if is_short { word } else { 0 },
            field,
        };
        if place < self.guesses.len() {
            self.guesses[place] = seen;
        } else if place == self.guesses.len() {
            self.guesses.push(seen);
        }
        Some((field, len + 6, next))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::entity_key::KeyVersion;
    use crate::grid::tests::feed;
    use crate::plan::{Plan, ReadRequest, Retrieval, Run, feature_field};
    use crate::redis::reply::ReplySink;
    use crate::value::FeastType;

    const FEATURES: [&str; 3] = ["a", "b", "c"];

    fn plan() -> Arc<Plan> {
        let mut plan = Plan::new(vec!["id".to_owned()]);
        let group = plan.add_group(&["id"], &[0], KeyVersion::V3, "p").unwrap();
        for feature in FEATURES {
            plan.add_column(group, feature, "v", feature, FeastType::Int64, None);
        }
        Arc::new(plan)
    }

    /// A scanner of DUMPs of so many entities.
    fn scanner(plan: &Arc<Plan>, entities: usize) -> GridScanner {
        let (keys, ends) = (vec![b'k'; entities], (1..=entities).collect());
        // Each is to be an entity of its own.
        let keys = keys.iter().zip(0..).map(|(_, n)| n).collect();
        let mut request = ReadRequest::of_keys(plan, keys, ends, false);
        request.runs = vec![Run {
            group: 0,
            retrieval: Retrieval::Dump,
            first: 0,
            count: entities,
        }];
        GridScanner::new(plan.clone(), &request, 1 << 20)
    }

    /// An element as `lpAppend` writes it.
    fn push(out: &mut Vec<u8>, part: &[u8]) {
        let start = out.len();
        let number = std::str::from_utf8(part).ok().and_then(|text| {
            let number: i64 = text.parse().ok()?;
            (number.to_string() == text).then_some(number)
        });
        match number {
            Some(n @ 0..=127) => out.push(n as u8),
            Some(n @ -4096..=4095) => {
                out.extend([0xC0 | ((n >> 8) & 0x1F) as u8, n as u8]);
            }
            Some(n) => {
                let bytes = n.to_le_bytes();
                let (head, width) = match n {
                    -0x8000..=0x7FFF => (0xF1, 2),
                    -0x80_0000..=0x7F_FFFF => (0xF2, 3),
                    -0x8000_0000..=0x7FFF_FFFF => (0xF3, 4),
                    _ => (0xF4, 8),
                };
                out.push(head);
                out.extend_from_slice(&bytes[..width]);
            }
            None => {
                match part.len() {
                    len @ 0..=63 => out.push(0x80 | len as u8),
                    len @ 64..=4095 => out.extend([0xE0 | (len >> 8) as u8, len as u8]),
                    len => {
                        out.push(0xF0);
                        out.extend((len as u32).to_le_bytes());
                    }
                }
                out.extend_from_slice(part);
            }
        }
        let size = out.len() - start;
        let back = match size {
            0..=127 => 1,
            128..16383 => 2,
            16383..2_097_151 => 3,
            _ => 4,
        };
        out.extend(std::iter::repeat_n(0, back));
    }

    fn listpack_of(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut out = vec![0; HEAD_BYTES];
        for (name, value) in pairs {
            push(&mut out, name);
            push(&mut out, value);
        }
        out.push(LISTPACK_END);
        let size = out.len() as u32;
        out[..4].copy_from_slice(&size.to_le_bytes());
        out
    }

    fn put_length(out: &mut Vec<u8>, len: usize) {
        match len {
            0..0x40 => out.push(len as u8),
            0x40..0x4000 => out.extend([0x40 | (len >> 8) as u8, len as u8]),
            _ => {
                out.push(0x80);
                out.extend((len as u32).to_be_bytes());
            }
        }
    }

    /// The reply to a DUMP of these pairs, packed (as literals alone) or plain.
    fn reply(pairs: &[(Vec<u8>, Vec<u8>)], packed: bool) -> Vec<u8> {
        let listpack = listpack_of(pairs);
        let mut payload = vec![HASH_LISTPACK];
        if packed {
            let literals: Vec<u8> = (listpack.chunks(32))
                .flat_map(|run| [&[run.len() as u8 - 1], run].concat())
                .collect();
            payload.push(0xC3);
            put_length(&mut payload, literals.len());
            put_length(&mut payload, listpack.len());
            payload.extend(literals);
        } else {
            put_length(&mut payload, listpack.len());
            payload.extend(listpack);
        }
        payload.extend([0; TAIL_BYTES]);
        bulk(&payload)
    }

    fn bulk(payload: &[u8]) -> Vec<u8> {
        let head = format!("${}\r\n", payload.len());
        [head.as_bytes(), payload, b"\r\n"].concat()
    }

    fn wanted(pairs: &[(Vec<u8>, Vec<u8>)], field: &[u8]) -> Option<Vec<u8>> {
        let pair = pairs.iter().rev().find(|(name, _)| name == field)?;
        Some(pair.1.clone())
    }

    /// Values of all the forms that a listpack has for them.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            any::<i64>().prop_map(|number| number.to_string().into_bytes()),
            (-5000..5000_i64).prop_map(|number| number.to_string().into_bytes()),
            (0..64_u32).prop_map(|bits| (i64::MIN >> bits).to_string().into_bytes()),
            prop_oneof![Just(4095_usize), Just(4096), 16_370..16_390_usize]
                .prop_map(|len| vec![b'x'; len]),
        ]
    }

    fn hash() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
        let name = prop_oneof![
            Just(feature_field("v", "a").to_vec()),
            Just(feature_field("v", "b").to_vec()),
            Just(feature_field("v", "c").to_vec()),
            Just(b"_ts:v".to_vec()),
            Just(b"1234".to_vec()),
            prop::collection::vec(any::<u8>(), 0..9),
        ];
        let pairs = prop::collection::vec((name, value()), 0..12);
        // Names are there once.
        pairs.prop_map(|mut pairs| {
            let mut seen = std::collections::HashSet::new();
            pairs.retain(|(name, _)| seen.insert(name.clone()));
            pairs
        })
    }

    proptest! {
        #[test]
        fn every_cell_is_found(
            hashes in prop::collection::vec((hash(), any::<bool>()), 1..8), step in 1..5000_usize
        ) {
            let plan = plan();
            let mut scanner = scanner(&plan, hashes.len());
            let bytes: Vec<u8> = hashes.iter().flat_map(|(pairs, packed)| reply(pairs, *packed)).collect();
            feed(&mut scanner, &bytes, step).unwrap();
            prop_assert_eq!(scanner.replies(), hashes.len());
            prop_assert!(scanner.undumped().is_empty());
            let names = [
                feature_field("v", "a").to_vec(),
                b"_ts:v".to_vec(),
                feature_field("v", "b").to_vec(),
                feature_field("v", "c").to_vec(),
            ];
            for (entity, (pairs, _)) in hashes.iter().enumerate() {
                for (field, name) in names.iter().enumerate() {
                    let found = scanner.grid.cell(0, entity, field).map(<[u8]>::to_vec);
                    prop_assert_eq!(found, wanted(pairs, name));
                }
            }
        }

        #[test]
        fn damage_makes_no_panic(
            pairs in hash(), packed in any::<bool>(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut payload = reply(&pairs, packed);
            let start = payload.iter().position(|&byte| byte == b'\n').unwrap() + 1;
            let end = payload.len() - 2;
            for (place, byte) in damage {
                payload[start + place.index(end - start)] = byte;
            }
            let mut scanner = scanner(&plan(), 1);
            feed(&mut scanner, &payload, 1 << 20).unwrap();
            let given_up = !scanner.undumped().is_empty();
            for field in 0..=FEATURES.len() {
                let cell = scanner.grid.cell(0, 0, field);
                prop_assert!(!given_up || cell.is_none());
            }
        }
    }

    #[test]
    fn what_is_no_listpack_is_asked_for_again() {
        let plan = plan();
        let mut scanner = scanner(&plan, 6);
        let pairs = [(feature_field("v", "a").to_vec(), b"A".to_vec())];
        let string = [&[0, 1, b'x'][..], &[0; TAIL_BYTES]].concat();
        let mut bytes = reply(&pairs, false);
        bytes.extend(b"$-1\r\n");
        bytes.extend(bulk(&string));
        bytes.extend(bulk(b""));
        bytes.extend(reply(&pairs, true));
        bytes.extend(b"-NOPERM this user has no permissions\r\n");
        feed(&mut scanner, &bytes, 7).unwrap();
        assert!(scanner.refused_dump());
        assert_eq!(scanner.entities_there(0), 0);
        let runs = scanner.undumped();
        let places: Vec<_> = runs.iter().map(|run| (run.first, run.count)).collect();
        assert_eq!(places, [(2, 2), (5, 1)]);
        assert!(runs.iter().all(|run| run.retrieval == Retrieval::HGetAll));
        let name = feature_field("v", "a");
        for (value, sent) in [("2", "1"), ("3", "1"), ("5", "1")] {
            let head = "*2\r\n$4\r\n";
            let tail = format!("\r\n${sent}\r\n{value}\r\n");
            feed(
                &mut scanner,
                &[head.as_bytes(), &name, tail.as_bytes()].concat(),
                3,
            )
            .unwrap();
        }
        assert_eq!(scanner.replies(), 3);
        let cells: Vec<_> = (0..6)
            .map(|entity| scanner.grid.cell(0, entity, 0))
            .collect();
        let expected = [
            Some(&b"A"[..]),
            None,
            Some(b"2"),
            Some(b"3"),
            Some(b"A"),
            Some(b"5"),
        ];
        assert_eq!(cells, expected);
    }

    #[test]
    fn a_transient_refusal_is_no_refusal_of_dump() {
        let mut scanner = scanner(&plan(), 1);
        feed(
            &mut scanner,
            b"-LOADING Redis is loading the dataset in memory\r\n",
            9,
        )
        .unwrap();
        assert!(!scanner.refused_dump());
        assert_eq!(scanner.undumped().len(), 1);
    }
}
