//! A row as one RESTORE, for an entity of which Redis has nothing yet.
//!
//! HSET looks for each of its fields among those that it has added just before, and lets the hash
//! grow by one at a time. RESTORE takes the hash as Redis keeps small ones, a listpack, and copies it:
//! less than half the work for ten features, and a thirtieth for three hundred. Without REPLACE it
//! refuses a key that exists (`BUSYKEY`), so what it writes is the newest row, in one step.
//!
//! Sources of the format: Redis 7's `rdb.c` (type 16, `RDB_TYPE_HASH_LISTPACK`), `cluster.c`
//! (`createDumpPayload`) and `listpack.c`.

use super::rows::Rows;
use crate::redis::command::Commands;

/// The longest field or value that Redis keeps in a listpack (`hash-max-listpack-value`).
const LONGEST_PART: usize = 64;
/// The most cells of a row. Redis makes a hash table of what is more than its own limit.
const MOST_CELLS: usize = 8192;

/// What a value begins with that holds a hash as a listpack.
const HASH_LISTPACK: u8 = 16;
/// The marks of a length in 14 bits and of one in 32, which both begin with the highest.
const LENGTH_14: u16 = 0x4000;
const LENGTH_32: u8 = 0x80;
/// The oldest version of the format that has it: Redis 7.0's, which later releases and Valkey read.
const RDB_VERSION: u16 = 10;
/// The value's type and its length, where that takes the most room.
const HEAD_BYTES: usize = 1 + 5;
/// The listpack's size and its number of elements.
const LISTPACK_HEAD_BYTES: usize = 4 + 2;
const LISTPACK_END: u8 = 0xFF;

static CRC: crc::Crc<u64, crc::Table<16>> =
    crc::Crc::<u64, crc::Table<16>>::new(&crc::CRC_64_REDIS);

/// Writes rows as RESTORE commands.
#[derive(Debug)]
pub(super) struct RestoreWriter {
    /// Milliseconds that a key lives; 0 for ever.
    life: String,
    payload: Vec<u8>,
}

impl RestoreWriter {
    /// For keys that live for `seconds`, or for ever.
    pub fn new(seconds: Option<u64>) -> Self {
        Self {
            life: seconds.unwrap_or(0).saturating_mul(1000).to_string(),
            payload: Vec::new(),
        }
    }

    /// Appends the command for a row whose serialized event time is `time`; gives false, and appends
    /// nothing, if Redis would not keep the row as a listpack of strings.
    pub fn write(&mut self, rows: &Rows, row: usize, time: &[u8], out: &mut Commands) -> bool {
        let field = &rows.target().timestamp_field;
        let width = rows.width(row);
        if width > MOST_CELLS || field.len() > LONGEST_PART {
            return false;
        }
        let payload = &mut self.payload;
        payload.clear();
        payload.resize(HEAD_BYTES + LISTPACK_HEAD_BYTES, 0);
        push_element(payload, field);
        push_element(payload, time);
        for (field, value) in rows.named_cells(row) {
            if value.len() > LONGEST_PART || is_numeral(value) || is_numeral(field) {
                return false;
            }
            push_element(payload, field);
            push_element(payload, value);
        }
        payload.push(LISTPACK_END);
        let size = (payload.len() - HEAD_BYTES) as u32;
        payload[6..10].copy_from_slice(&size.to_le_bytes());
        payload[10..12].copy_from_slice(&(2 * (width as u16 + 1)).to_le_bytes());
        let start = write_head(payload, size);
        payload.extend_from_slice(&RDB_VERSION.to_le_bytes());
        let checksum = CRC.checksum(&payload[start..]);
        payload.extend_from_slice(&checksum.to_le_bytes());
        out.begin(4);
        out.raw(b"$7\r\nRESTORE\r\n");
        out.key(rows.key(row));
        out.argument(self.life.as_bytes());
        out.argument(&payload[start..]);
        out.end();
        true
    }
}

/// Writes the type and the length before a listpack of `size` bytes; gives where that begins.
fn write_head(payload: &mut [u8], size: u32) -> usize {
    let start = if size < 1 << 6 {
        payload[5] = size as u8;
        4
    } else if size < 1 << 14 {
        payload[4..6].copy_from_slice(&(LENGTH_14 | size as u16).to_be_bytes());
        3
    } else {
        payload[1] = LENGTH_32;
        payload[2..6].copy_from_slice(&size.to_be_bytes());
        0
    };
    payload[start] = HASH_LISTPACK;
    start
}

/// Appends a string of a listpack: its length, its bytes, and the size of both for who comes from
/// behind.
#[inline]
fn push_element(out: &mut Vec<u8>, part: &[u8]) {
    let length = part.len();
    let head = if length < 64 {
        out.push(0x80 | length as u8);
        1
    } else {
        out.extend_from_slice(&[0xE0 | (length >> 8) as u8, length as u8]);
        2
    };
    out.extend_from_slice(part);
    out.push((head + length) as u8);
}

/// Whether a listpack might keep these bytes as a number.
#[inline]
fn is_numeral(part: &[u8]) -> bool {
    match part {
        [b'-' | b'0'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity_key::{KeyColumn, KeyVersion};
    use crate::event_time::EventTime;
    use crate::plan::feature_field;
    use crate::write::rows::{RowBuilder, Target};

    fn rows_of(view: &str, features: &[(&str, &[u8])]) -> Rows {
        let mut builder = RowBuilder::new(Target::new(view, "p", KeyVersion::V3));
        let (names, key) = (vec!["id".to_owned()], [KeyColumn::Int64(vec![1])]);
        let features = features.iter().copied();
        builder
            .push(names, &key, EventTime::default(), features)
            .unwrap();
        builder.finish()
    }

    fn command(rows: &Rows, life: Option<u64>) -> Option<Vec<u8>> {
        let mut out = Commands::default();
        RestoreWriter::new(life)
            .write(rows, 0, b"\x08\x01", &mut out)
            .then(|| {
                out.segments()
                    .flat_map(|(bytes, _)| bytes.to_vec())
                    .collect()
            })
    }

    /// The payload of a command, which is its fourth part.
    fn payload(command: &[u8]) -> &[u8] {
        let line_end = |rest: &[u8]| rest.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let mut rest = &command[line_end(command) + 2..];
        loop {
            let end = line_end(rest);
            let length: usize = std::str::from_utf8(&rest[1..end]).unwrap().parse().unwrap();
            let part = &rest[end + 2..end + 2 + length];
            rest = &rest[end + 2 + length + 2..];
            if rest.is_empty() {
                return part;
            }
        }
    }

    /// What DUMP of Redis 7.0 gives, without compression, for the same hash.
    #[test]
    fn a_row_is_what_redis_dumps() {
        let [a, b] = ["a", "b"].map(|feature| feature_field("v", feature));
        let long = [b'x'; 64];
        let command = command(&rows_of("v", &[("a", &long), ("b", b"")]), Some(7)).unwrap();
        assert!(command.starts_with(b"*4\r\n$7\r\nRESTORE\r\n$"));
        assert!(
            command
                .windows(12)
                .any(|part| part == b"\r\n$4\r\n7000\r\n")
        );
        let mut expected =
            b"\x10\x40\x63\x63\0\0\0\x06\0\x85_ts:v\x06\x82\x08\x01\x03\x84".to_vec();
        expected.extend_from_slice(&a);
        expected.extend_from_slice(b"\x05\xe0\x40");
        expected.extend_from_slice(&long);
        expected.extend_from_slice(b"\x42\x84");
        expected.extend_from_slice(&b);
        expected.extend_from_slice(b"\x05\x80\x01\xff\x0a\0");
        let (body, checksum) = payload(&command).split_at(expected.len());
        assert_eq!(body, expected);
        assert_eq!(checksum, CRC.checksum(body).to_le_bytes());
        // The checksum of a hash that Redis 7.0 dumped, with fields named `abcd` and `efgh`.
        let swap = |body: &[u8], from: [u8; 4], to: &[u8; 4]| {
            let at = body.windows(4).position(|part| part == from).unwrap();
            [&body[..at], to, &body[at + 4..]].concat()
        };
        let dumped = swap(&swap(body, a, b"abcd"), b, b"efgh");
        assert_eq!(
            CRC.checksum(&dumped).to_le_bytes(),
            *b"\x20\x5e\x07\xee\x18\x6e\xe4\x15"
        );
    }

    #[test]
    fn lengths_take_as_few_bytes_as_redis_uses() {
        let none: [(&str, &[u8]); 0] = [];
        let short = command(&rows_of("v", &none), None).unwrap();
        assert_eq!(payload(&short)[..2], [HASH_LISTPACK, 18]);
        let names: Vec<String> = (0..400).map(|number| number.to_string()).collect();
        let value = [b'x'; 60];
        let features: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), &value[..]))
            .collect();
        let long = command(&rows_of("v", &features), None).unwrap();
        let size = (18 + 400 * (6 + 62)) as u32;
        assert_eq!(payload(&long)[..2], [HASH_LISTPACK, LENGTH_32]);
        assert_eq!(payload(&long)[2..6], size.to_be_bytes());
        assert_eq!(payload(&long)[6..10], size.to_le_bytes());
        assert_eq!(payload(&long)[10..12], 802_u16.to_le_bytes());
    }

    #[test]
    fn rows_that_redis_keeps_otherwise_are_left() {
        for value in [&[b'x'; 65][..], b"5", b"-12", b"51234"] {
            assert!(command(&rows_of("v", &[("a", value)]), None).is_none());
        }
        for value in [&b"5\0"[..], b"", b"12a", b" 1"] {
            assert!(command(&rows_of("v", &[("a", value)]), None).is_some());
        }
        assert!(command(&rows_of(&"v".repeat(61), &[]), None).is_none());
    }
}
