//! Entity keys back to columns.

use super::{KeyColumn, KeyType, KeyVersion};
use crate::error::{Error, ErrorKind, Result};

/// Columns of join-key values, in the order of the names in the keys.
pub type ParsedKeys = Vec<(String, KeyColumn)>;

/// Parses keys that all have the same join keys.
///
/// `join_keys` are needed for version 2, whose names have no length; for version 3 they may be
/// empty, and are checked otherwise.
///
/// # Errors
/// [`ErrorKind::EntityKey`], with the index of the key, for bytes that are no entity key, and for
/// a key whose join keys or types differ from the first's.
pub fn parse_keys<'a>(
    keys: impl Iterator<Item = &'a [u8]>,
    version: KeyVersion,
    join_keys: &[&str],
) -> Result<ParsedKeys> {
    let mut expected: Vec<&str> = join_keys.to_vec();
    expected.sort_unstable();
    let mut names: Option<Vec<String>> = None;
    let mut columns: Vec<KeyColumn> = Vec::new();
    for (index, key) in keys.enumerate() {
        let parsed = parse_key(key, version, &expected).map_err(|what| malformed(index, what))?;
        if names.is_none() {
            columns = parsed
                .values
                .iter()
                .map(|(t, _)| KeyColumn::empty(*t))
                .collect();
            names = Some(parsed.names.iter().map(|name| (*name).to_owned()).collect());
        }
        let first = names.as_deref().unwrap_or_default();
        if parsed.names.iter().ne(first.iter()) {
            return Err(malformed(
                index,
                format!(
                    "join keys {:?}, where the first key has {first:?}",
                    parsed.names
                ),
            ));
        }
        for ((key_type, value), (column, name)) in
            parsed.values.iter().zip(columns.iter_mut().zip(first))
        {
            push_value(column, *key_type, value)
                .map_err(|what| malformed(index, format!("join key '{name}': {what}")))?;
        }
    }
    Ok(names.unwrap_or_default().into_iter().zip(columns).collect())
}

/// What follows `count` whole values of types that a join key can have; `None` where there are no
/// such values.
#[must_use]
pub fn skip_values(mut key: &[u8], count: usize) -> Option<&[u8]> {
    for _ in 0..count {
        let (key_type, value) = take_value(&mut key).ok()?;
        let fits = match key_type {
            KeyType::Int32 => value.len() == 4,
            KeyType::Int64 | KeyType::UnixTimestamp => value.len() == 8,
            KeyType::String => std::str::from_utf8(value).is_ok(),
            KeyType::Bytes => true,
        };
        if !fits {
            return None;
        }
    }
    Some(key)
}

struct ParsedKey<'a> {
    names: Vec<&'a str>,
    values: Vec<(KeyType, &'a [u8])>,
}

fn malformed(index: usize, what: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::EntityKey,
        format!("key {index} is not a serialized entity key: {what}"),
    )
}

fn parse_key<'a>(
    mut key: &'a [u8],
    version: KeyVersion,
    join_keys: &[&str],
) -> Result<ParsedKey<'a>, String> {
    let mut names = Vec::new();
    match version {
        KeyVersion::V3 => {
            let count = take_u32(&mut key)? as usize;
            if count > key.len() / 8 {
                return Err(format!("{count} join keys in {} bytes", key.len()));
            }
            for _ in 0..count {
                take_name_tag(&mut key)?;
                let length = take_u32(&mut key)? as usize;
                names.push(text(take(&mut key, length)?)?);
            }
            if !join_keys.is_empty() && names != join_keys {
                return Err(format!("its join keys are {names:?}, not {join_keys:?}"));
            }
        }
        KeyVersion::V2 => {
            if join_keys.is_empty() {
                return Err("version 2 needs the join keys' names to be parsed".to_owned());
            }
            for name in join_keys {
                take_name_tag(&mut key)?;
                let found = text(take(&mut key, name.len())?)?;
                if found != *name {
                    return Err(format!("a join key is {found:?}, not {name:?}"));
                }
                names.push(found);
            }
        }
    }
    let mut values = Vec::with_capacity(names.len());
    while !key.is_empty() {
        values.push(take_value(&mut key)?);
    }
    if values.len() != names.len() {
        return Err(format!(
            "{} values for {} join keys",
            values.len(),
            names.len()
        ));
    }
    Ok(ParsedKey { names, values })
}

fn take_value<'a>(key: &mut &'a [u8]) -> Result<(KeyType, &'a [u8]), String> {
    let key_type = KeyType::from_number(take_u32(key)?).map_err(|e| e.to_string())?;
    let length = take_u32(key)? as usize;
    Ok((key_type, take(key, length)?))
}

fn take<'a>(key: &mut &'a [u8], n: usize) -> Result<&'a [u8], String> {
    let (head, rest) = key
        .split_at_checked(n)
        .ok_or_else(|| format!("{n} bytes were expected, {} are left", key.len()))?;
    *key = rest;
    Ok(head)
}

fn take_u32(key: &mut &[u8]) -> Result<u32, String> {
    let bytes = take(key, 4)?;
    Ok(bytes
        .iter()
        .rev()
        .fold(0, |n, &byte| n << 8 | u32::from(byte)))
}

fn take_name_tag(key: &mut &[u8]) -> Result<(), String> {
    match take_u32(key)? {
        tag if tag == KeyType::String as u32 => Ok(()),
        tag => Err(format!(
            "a name's type is {tag}, not {}",
            KeyType::String as u32
        )),
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "text that is not UTF-8".to_owned())
}

fn push_value(column: &mut KeyColumn, key_type: KeyType, value: &[u8]) -> Result<(), String> {
    if key_type != column.key_type() {
        return Err(format!(
            "a value of type {}, where the first key has {}",
            key_type.name(),
            column.key_type().name()
        ));
    }
    let width = || format!("an {} of {} bytes", key_type.name(), value.len());
    match column {
        KeyColumn::Int32(values) => {
            values.push(i32::from_le_bytes(value.try_into().map_err(|_| width())?));
        }
        KeyColumn::Int64(values) | KeyColumn::UnixTimestamp(values) => {
            values.push(i64::from_le_bytes(value.try_into().map_err(|_| width())?));
        }
        KeyColumn::String(all, ends) => {
            all.push_str(text(value)?);
            ends.push(all.len());
        }
        KeyColumn::Bytes(all, ends) => {
            all.extend_from_slice(value);
            ends.push(all.len());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity_key::EntityKeyWriter;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_parse_back(
            rows in prop::collection::vec((any::<i64>(), any::<i32>(), ".*", any::<Vec<u8>>()), 1..8),
            names in prop::collection::btree_set("\\PC*", 4),
            version in prop_oneof![Just(KeyVersion::V2), Just(KeyVersion::V3)],
        ) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let columns = [
                KeyColumn::Int64(rows.iter().map(|r| r.0).collect()),
                KeyColumn::Int32(rows.iter().map(|r| r.1).collect()),
                KeyColumn::strings(rows.iter().map(|r| &r.2)),
                KeyColumn::bytes(rows.iter().map(|r| &r.3)),
            ];
            let writer = EntityKeyWriter::new(&names, version, b"").unwrap();
            let (bytes, ends) = writer.write_all(&columns.iter().collect::<Vec<_>>());
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let keys = starts.zip(&ends).map(|(start, &end)| &bytes[start..end]);
            let parsed = parse_keys(keys, version, &names).unwrap();
            for ((name, column), (expected_name, expected)) in
                parsed.iter().zip(names.iter().zip(&columns))
            {
                prop_assert_eq!(name, expected_name);
                prop_assert_eq!(column, expected);
            }
        }

        #[test]
        fn random_bytes_never_panic(key in any::<Vec<u8>>()) {
            let _ = parse_keys(std::iter::once(&key[..]), KeyVersion::V3, &[]);
            let _ = parse_keys(std::iter::once(&key[..]), KeyVersion::V2, &["a"]);
        }
    }

    #[test]
    fn keys_of_other_join_keys_are_refused() {
        let one = EntityKeyWriter::new(&["a"], KeyVersion::V3, b"").unwrap();
        let two = EntityKeyWriter::new(&["b"], KeyVersion::V3, b"").unwrap();
        let column = KeyColumn::Int64(vec![1]);
        let keys = [one.write_all(&[&column]).0, two.write_all(&[&column]).0];
        let error = parse_keys(keys.iter().map(Vec::as_slice), KeyVersion::V3, &[]).unwrap_err();
        assert!(error.to_string().contains("key 1"), "{error}");
    }
}
