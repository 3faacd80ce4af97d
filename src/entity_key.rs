//! Feast's entity keys: a row of join-key values as the bytes under which Redis holds its features.
//!
//! The format is that of `feast/infra/key_encoding_utils.py`. All integers are little-endian; the
//! join keys come sorted by name.
//!
//! | part | version 3 | version 2 |
//! |---|---|---|
//! | head | u32 number of join keys | - |
//! | each join key's name | u32 type 2, u32 length, UTF-8 | u32 type 2, UTF-8 |
//! | each value | u32 type, u32 length, bytes | the same |
//!
//! In Redis the project's name follows the entity key.

mod arrow;
mod column;
mod message;
mod parse;

pub use column::{KeyColumn, KeyType};
pub use message::parse_message;
pub use parse::{ParsedKeys, parse_keys, skip_values};

use crate::error::{Error, ErrorKind, Result};

/// Feast's `entity_key_serialization_version`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyVersion {
    /// Names without their lengths; written by deployments that were never re-serialized.
    V2,
    /// The current form, which can be parsed back.
    V3,
}

impl TryFrom<u32> for KeyVersion {
    type Error = Error;

    fn try_from(version: u32) -> Result<Self> {
        match version {
            2 => Ok(Self::V2),
            3 => Ok(Self::V3),
            other => Err(Error::new(
                ErrorKind::Config,
                format!(
                    "entity_key_serialization_version {other} is not supported: set it to 3, \
                     or to 2 for a store written by an old Feast"
                ),
            )),
        }
    }
}

/// Writes the entity keys of one set of join keys: what does not depend on the row is prepared once.
#[derive(Clone, Debug)]
pub struct EntityKeyWriter {
    /// Head and names.
    prefix: Vec<u8>,
    /// For each join key, in the order of the sorted names, its place in the caller's order.
    order: Vec<usize>,
    /// What follows each entity key; the project's name in Redis.
    suffix: Vec<u8>,
}

impl EntityKeyWriter {
    /// A writer for `join_keys`, given in the order in which columns will be passed.
    ///
    /// # Errors
    /// [`ErrorKind::EntityKey`] when a join key is named twice.
    pub fn new(join_keys: &[&str], version: KeyVersion, suffix: &[u8]) -> Result<Self> {
        let mut order: Vec<usize> = (0..join_keys.len()).collect();
        order.sort_by_key(|&i| join_keys[i]);
        if let Some(twice) = order
            .windows(2)
            .find(|pair| join_keys[pair[0]] == join_keys[pair[1]])
        {
            return Err(Error::new(
                ErrorKind::EntityKey,
                format!("join key '{}' is given twice", join_keys[twice[0]]),
            ));
        }
        let mut prefix = Vec::new();
        if version == KeyVersion::V3 {
            push_u32(&mut prefix, join_keys.len());
        }
        for &i in &order {
            let name = join_keys[i].as_bytes();
            push_u32(&mut prefix, KeyType::String as usize);
            if version == KeyVersion::V3 {
                push_u32(&mut prefix, name.len());
            }
            prefix.extend_from_slice(name);
        }
        Ok(Self {
            prefix,
            order,
            suffix: suffix.to_vec(),
        })
    }

    /// The bytes with which every key of these join keys begins.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Whether `key` is a key of these join keys with exactly this suffix. A pattern cannot tell:
    /// `prefix*project` also matches the keys of `my_project`.
    #[must_use]
    pub fn owns(&self, key: &[u8]) -> bool {
        let Some(mut rest) = key.strip_prefix(self.prefix.as_slice()) else {
            return false;
        };
        for _ in &self.order {
            let Some((head, tail)) = rest.split_at_checked(8) else {
                return false;
            };
            let length = head[4..]
                .iter()
                .rev()
                .fold(0, |n, &b| n << 8 | usize::from(b));
            let Some((_, after)) = tail.split_at_checked(length) else {
                return false;
            };
            rest = after;
        }
        rest == self.suffix
    }

    /// The glob pattern for SCAN that matches every such key, and at times others' as well.
    #[must_use]
    pub fn pattern(&self) -> Vec<u8> {
        let mut pattern = Vec::new();
        escape_glob(&self.prefix, &mut pattern);
        pattern.push(b'*');
        escape_glob(&self.suffix, &mut pattern);
        pattern
    }

    /// Appends the key of `row` to `out`. `columns` are in the order given to [`new`](Self::new).
    pub fn write(&self, columns: &[&KeyColumn], row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        for &i in &self.order {
            columns[i].write_value(row, out);
        }
        out.extend_from_slice(&self.suffix);
    }

    /// Serializes every row: the keys' bytes end to end, and where each ends.
    #[must_use]
    pub fn write_all(&self, columns: &[&KeyColumn]) -> (Vec<u8>, Vec<usize>) {
        let rows = columns.first().map_or(0, |column| column.len());
        let mut bytes = Vec::with_capacity(rows * (self.prefix.len() + 16 * columns.len()));
        let mut ends = Vec::with_capacity(rows);
        for row in 0..rows {
            self.write(columns, row, &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }
}

/// Appends `text` as a glob pattern that matches it alone.
pub fn escape_glob(text: &[u8], pattern: &mut Vec<u8>) {
    for &byte in text {
        if b"*?[]\\^-".contains(&byte) {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
}

/// Lengths beyond `u32` cannot occur: a value is at most 512 MB in Redis, and columns are checked.
fn push_u32(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&(n as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_3_counts_names_and_lengths() {
        let writer = EntityKeyWriter::new(&["b", "a"], KeyVersion::V3, b"proj").unwrap();
        let b = KeyColumn::Int64(vec![-2]);
        let a = KeyColumn::strings(["é"]);
        let (bytes, ends) = writer.write_all(&[&b, &a]);
        let mut expected = vec![2, 0, 0, 0];
        expected.extend(b"\x02\0\0\0\x01\0\0\0a\x02\0\0\0\x01\0\0\0b");
        expected.extend(b"\x02\0\0\0\x02\0\0\0\xc3\xa9");
        expected.extend(b"\x04\0\0\0\x08\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff");
        expected.extend(b"proj");
        assert_eq!(bytes, expected);
        assert_eq!(ends, [expected.len()]);
    }

    #[test]
    fn version_2_has_bare_names() {
        let writer = EntityKeyWriter::new(&["id"], KeyVersion::V2, b"").unwrap();
        let (bytes, _) = writer.write_all(&[&KeyColumn::Int32(vec![7])]);
        assert_eq!(bytes, b"\x02\0\0\0id\x03\0\0\0\x04\0\0\0\x07\0\0\0");
    }

    #[test]
    fn a_writer_knows_its_own_keys() {
        let writer = EntityKeyWriter::new(&["id"], KeyVersion::V3, b"project").unwrap();
        let other = EntityKeyWriter::new(&["id"], KeyVersion::V3, b"my_project").unwrap();
        let column = KeyColumn::strings(["a"]);
        assert!(writer.owns(&writer.write_all(&[&column]).0));
        assert!(!writer.owns(&other.write_all(&[&column]).0));
        assert!(!writer.owns(b"short"));
    }

    #[test]
    fn a_pattern_takes_its_bytes_literally() {
        // 42 bytes of name: the length byte is an asterisk.
        let name = "x".repeat(42);
        let writer = EntityKeyWriter::new(&[&name], KeyVersion::V3, b"p[1]").unwrap();
        let pattern = writer.pattern();
        assert!(pattern.windows(2).any(|pair| pair == b"\\*"));
        assert!(pattern.ends_with(b"*p\\[1\\]"));
    }

    #[test]
    fn a_join_key_cannot_be_given_twice() {
        let error = EntityKeyWriter::new(&["id", "id"], KeyVersion::V3, b"").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EntityKey);
    }
}
