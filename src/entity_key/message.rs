//! Feast's `EntityKey` message, the form in which Feast hands entities to a store.

use prost::Message;

use super::KeyColumn;
use crate::error::{Error, ErrorKind, Result};
use crate::value::message::{EntityKey, value::Val};

/// The join keys of a serialized `EntityKey` and their values, as columns of one row.
///
/// # Errors
/// [`ErrorKind::EntityKey`] for bytes that are no such message, a value that is not set, and a
/// value of a type that no entity key can hold.
pub fn parse_message(bytes: &[u8]) -> Result<(Vec<String>, Vec<KeyColumn>)> {
    let wrong = |what: String| Error::new(ErrorKind::EntityKey, what);
    let key = EntityKey::decode(bytes)
        .map_err(|cause| wrong(format!("not a serialized EntityKey: {cause}")))?;
    if key.join_keys.len() != key.entity_values.len() {
        return Err(wrong(format!(
            "an entity key has {} join keys and {} values",
            key.join_keys.len(),
            key.entity_values.len()
        )));
    }
    let values = key
        .entity_values
        .into_iter()
        .zip(&key.join_keys)
        .map(|(value, name)| {
            Ok(match value.val {
                Some(Val::Int32Val(value)) => KeyColumn::Int32(vec![value]),
                Some(Val::Int64Val(value)) => KeyColumn::Int64(vec![value]),
                Some(Val::UnixTimestampVal(value)) => KeyColumn::UnixTimestamp(vec![value]),
                Some(Val::StringVal(value)) => KeyColumn::strings([value]),
                Some(Val::BytesVal(value)) => KeyColumn::bytes([value]),
                Some(_) => {
                    return Err(wrong(format!(
                        "join key '{name}' has a type that cannot be part of an entity key: use \
                         INT32, INT64, STRING, BYTES or UNIX_TIMESTAMP"
                    )));
                }
                None => return Err(wrong(format!("join key '{name}' is null"))),
            })
        })
        .collect::<Result<_>>()?;
    Ok((key.join_keys, values))
}
