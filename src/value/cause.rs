//! What can be wrong with one cell of a column.

use std::fmt;

use super::field::Field;
use super::wire::WireError;

/// Why a cell cannot be read as its column's type. Small and `Copy`; its text is made when it is
/// shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The cell is not a serialized `Value`.
    Wire(WireError),
    /// The value is in a field of the oneof that Feast 0.67.0 does not have.
    Unknown(u32),
    /// The stored type is not the declared one, nor one that widens to it.
    Type(Field),
    /// The stored number is not exactly one of the declared type.
    Inexact(Field),
    /// A timestamp whose microseconds do not fit in 64 bits.
    Timestamp,
    /// More than 2^31 bytes or elements in one Arrow array.
    TooLarge,
}

impl From<WireError> for Cause {
    fn from(cause: WireError) -> Self {
        Self::Wire(cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(cause) => write!(f, "not a serialized Value: {cause}"),
            Self::Unknown(number) => write!(
                f,
                "the value is in field {number} of Feast's Value, which is not known here; it may \
                 be written by a newer Feast"
            ),
            Self::Type(stored) => write!(f, "the stored value is a {stored}"),
            Self::Inexact(stored) => {
                write!(f, "the stored {stored} has no exact counterpart")
            }
            Self::Timestamp => f.write_str("the timestamp is out of the range of microseconds"),
            Self::TooLarge => f.write_str("the column exceeds 2 GiB; read fewer rows at once"),
        }
    }
}

impl std::error::Error for Cause {}
