//! A row's event timestamp: as Redis holds it, as Feast answers it, and from Arrow.

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array};
use arrow_schema::{DataType, TimeUnit};

use crate::error::{Error, ErrorKind, Result};
use crate::value::cursor::{Cursor, Payload, WireError};
use crate::value::source::exact_cast;
use crate::value::write_varint;

/// A row's event timestamp.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct EventTime {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds of the second.
    pub nanos: i32,
}

impl EventTime {
    /// Reads a serialized `google.protobuf.Timestamp`.
    pub fn parse(message: &[u8]) -> Result<Self, WireError> {
        let mut time = Self::default();
        let mut cursor = Cursor::new(message);
        while let Some(field) = cursor.field(0)? {
            match field {
                (1, Payload::Varint(bits)) => time.seconds = bits as i64,
                (2, Payload::Varint(bits)) => time.nanos = bits as i32,
                _ => {}
            }
        }
        Ok(time)
    }

    /// The time as Feast's Redis store answers it: it goes through a float of seconds and a
    /// `datetime` of microseconds, which rounds. See `_get_features_for_entity` in
    /// `feast/infra/online_stores/redis.py`.
    #[must_use]
    pub fn as_answered(self) -> Self {
        let total = self.seconds as f64 + f64::from(self.nanos) / 1e9;
        let mut whole = total.trunc();
        let mut micros = ((total - whole) * 1e6).round_ties_even();
        if micros >= 1e6 {
            micros -= 1e6;
            whole += 1.0;
        } else if micros < 0.0 {
            micros += 1e6;
            whole -= 1.0;
        }
        Self {
            seconds: whole as i64,
            nanos: micros as i32 * 1000,
        }
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub fn total_nanos(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos)
    }

    /// The time that is this many microseconds after the epoch.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self {
            seconds: micros.div_euclid(1_000_000),
            nanos: micros.rem_euclid(1_000_000) as i32 * 1000,
        }
    }

    /// Appends the time as a serialized `google.protobuf.Timestamp`.
    pub fn write(self, out: &mut Vec<u8>) {
        for (field, value) in [(1, self.seconds), (2, i64::from(self.nanos))] {
            if value != 0 {
                out.push(field << 3);
                write_varint(out, value as u64);
            }
        }
    }
}

/// Microseconds since the epoch of a column of event timestamps, with the column's nulls.
///
/// Timestamps of any unit and zone, dates, ISO 8601 texts, and integers, which are nanoseconds as
/// for `pandas.to_datetime`, through which Feast takes them. Without a zone they are UTC. Feast
/// keeps microseconds: what is finer is cut.
///
/// # Errors
/// [`ErrorKind::Encode`] for another type, and for a time whose microseconds do not fit 64 bits.
pub fn event_micros(array: &dyn Array) -> Result<Int64Array> {
    let wrong = |what: String| Error::new(ErrorKind::Encode, what);
    let integers = |array: &dyn Array| -> Result<Int64Array> {
        Ok(exact_cast(array, &DataType::Int64)?
            .as_primitive::<Int64Type>()
            .clone())
    };
    let scaled = |times: &Int64Array, by: i64| {
        times
            .try_unary(|time| {
                time.checked_mul(by)
                    .ok_or_else(|| arrow_schema::ArrowError::ComputeError(time.to_string()))
            })
            .map_err(|_| wrong("an event timestamp is out of range".to_owned()))
    };
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => scaled(&integers(array)?, 1_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => scaled(&integers(array)?, 1000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => integers(array),
        DataType::Timestamp(TimeUnit::Nanosecond, _) | DataType::Int64 => {
            Ok(integers(array)?.unary(|time| time.div_euclid(1000)))
        }
        DataType::Date32 | DataType::Date64 => integers(&exact_cast(
            array,
            &DataType::Timestamp(TimeUnit::Microsecond, None),
        )?),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let zone = Some("+00:00".into());
            integers(&exact_cast(
                array,
                &DataType::Timestamp(TimeUnit::Microsecond, zone),
            )?)
        }
        DataType::Dictionary(_, values) => event_micros(&exact_cast(array, values)?),
        other => Err(wrong(format!(
            "{other} cannot be an event timestamp: a timestamp or a date is needed"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_message_is_read() {
        let time = EventTime::parse(b"\x08\x96\x01\x10\xc0\x84\x3d").unwrap();
        assert_eq!((time.seconds, time.nanos), (150, 1_000_000));
        assert_eq!(EventTime::parse(b"").unwrap(), EventTime::default());
        assert!(EventTime::parse(b"\x08").is_err());
    }

    #[test]
    fn answered_times_are_rounded_to_microseconds_through_a_float() {
        let answered = |seconds, nanos| {
            let time = EventTime { seconds, nanos }.as_answered();
            (time.seconds, time.nanos)
        };
        assert_eq!(answered(1_700_000_000, 0), (1_700_000_000, 0));
        assert_eq!(
            answered(1_700_000_000, 123_456_789),
            (1_700_000_000, 123_457_000)
        );
        assert_eq!(answered(1_700_000_000, 999_999_999), (1_700_000_001, 0));
        assert_eq!(answered(-2, 500_000_000), (-2, 500_000_000));
    }

    #[test]
    fn times_of_any_unit_come_to_microseconds() {
        use arrow_array::{
            Date32Array, StringArray, TimestampMillisecondArray, TimestampNanosecondArray,
            TimestampSecondArray,
        };
        let micros = |array: &dyn Array| event_micros(array).unwrap().value(0);
        assert_eq!(micros(&TimestampSecondArray::from(vec![-3])), -3_000_000);
        let milliseconds = TimestampMillisecondArray::from(vec![1500]).with_timezone("+05:00");
        assert_eq!(micros(&milliseconds), 1_500_000);
        assert_eq!(micros(&TimestampNanosecondArray::from(vec![-1])), -1);
        assert_eq!(micros(&Date32Array::from(vec![1])), 86_400_000_000);
        for text in ["1970-01-01T00:00:01.5", "1970-01-01 05:00:01.5+05:00"] {
            assert_eq!(micros(&StringArray::from(vec![text])), 1_500_000, "{text}");
        }
        assert!(event_micros(&TimestampSecondArray::from(vec![i64::MAX])).is_err());
        assert_eq!(
            EventTime::from_micros(-1),
            EventTime {
                seconds: -1,
                nanos: 999_999_000
            }
        );
    }
}
