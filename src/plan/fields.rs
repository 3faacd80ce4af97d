//! Hash fields: how Feast names them in Redis, and the table that recognizes them in a reply.

use std::collections::HashMap;

/// The field of a feature: the four little-endian bytes of murmur3-32 of `view:feature`, as
/// `_mmh3` of `feast/infra/online_stores/helpers.py` has it.
#[must_use]
pub fn feature_field(view: &str, feature: &str) -> [u8; 4] {
    murmur3_32(format!("{view}:{feature}").as_bytes()).to_le_bytes()
}

/// The field of a view's event timestamp: `_ts:view`.
#[must_use]
pub fn timestamp_field(view: &str) -> Vec<u8> {
    format!("_ts:{view}").into_bytes()
}

/// `MurmurHash3_x86_32` with seed 0, by Austin Appleby's definition.
fn murmur3_32(key: &[u8]) -> u32 {
    fn scramble(k: u32) -> u32 {
        k.wrapping_mul(0xcc9e_2d51)
            .rotate_left(15)
            .wrapping_mul(0x1b87_3593)
    }
    let blocks = key.chunks_exact(4);
    let tail = blocks.remainder();
    let mut hash = 0_u32;
    for block in blocks {
        let k = block.iter().rev().fold(0, |k, &b| k << 8 | u32::from(b));
        hash = (hash ^ scramble(k))
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        hash ^= scramble(tail.iter().rev().fold(0, |k, &b| k << 8 | u32::from(b)));
    }
    hash ^= key.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// The wanted fields of a hash, each with its index.
#[derive(Clone, Debug, Default)]
pub struct FieldTable {
    names: Vec<Vec<u8>>,
    index: HashMap<Vec<u8>, usize>,
    /// The names as RESP bulk strings, the tail of an HMGET.
    resp: Vec<u8>,
}

impl FieldTable {
    /// The index of `name`, which is added when it is new.
    pub fn add(&mut self, name: &[u8]) -> usize {
        if let Some(&known) = self.index.get(name) {
            return known;
        }
        let at = self.names.len();
        self.names.push(name.to_vec());
        self.index.insert(name.to_vec(), at);
        crate::redis::command::write_length(&mut self.resp, b'$', name.len());
        self.resp.extend_from_slice(name);
        self.resp.extend_from_slice(b"\r\n");
        at
    }

    /// The index of `name`, if it is wanted.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// How many fields are wanted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no field is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names as RESP bulk strings, in the order of their indices.
    #[must_use]
    pub fn resp(&self) -> &[u8] {
        &self.resp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur_agrees_with_published_vectors() {
        for (key, hash) in [
            (&b""[..], 0),
            (b"test", 0xba6b_d213),
            (b"Hello, world!", 0xc036_3e43),
            (b"The quick brown fox jumps over the lazy dog", 0x2e4f_f723),
            (b"a", 0x3c25_69b2),
        ] {
            assert_eq!(murmur3_32(key), hash, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn a_field_is_added_once() {
        let mut table = FieldTable::default();
        assert_eq!(table.add(b"abcd"), 0);
        assert_eq!(table.add(b"_ts:v"), 1);
        assert_eq!(table.add(b"abcd"), 0);
        assert_eq!(table.find(b"_ts:v"), Some(1));
        assert_eq!(table.find(b"none"), None);
        assert_eq!(table.resp(), b"$4\r\nabcd\r\n$5\r\n_ts:v\r\n");
    }
}
