//! Event and created timestamps, in an order that is exact.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::{DataType, TimeUnit};

use super::key::first_null;
use crate::error::{Error, ErrorKind, Result};
use crate::value::source::plain;

/// The timestamps of a batch. They are compared as the integers that they are in Arrow, which is
/// exact: within a column all are of one unit, and UTC or of no zone, which Feast takes for UTC.
pub(super) struct Times {
    event: ScalarBuffer<i64>,
    created: Option<(ScalarBuffer<i64>, Option<NullBuffer>)>,
    /// Names and types.
    columns: Vec<(String, DataType)>,
}

impl Times {
    /// The timestamps of columns by their names. `before` is how many rows of the source came
    /// before.
    pub(super) fn new(
        (event_name, event): (&str, &ArrayRef),
        created: Option<(&str, &ArrayRef)>,
        before: usize,
    ) -> Result<Self> {
        if let Some(row) = first_null(event) {
            return Err(Error::new(
                ErrorKind::Encode,
                format!(
                    "event timestamp '{event_name}': the value is null in row {} of the source, \
                     counted from 0",
                    before + row
                ),
            ));
        }
        let (event, data_type) = integers(event_name, event)?;
        let mut columns = vec![(event_name.to_owned(), data_type)];
        let created = match created {
            Some((name, created)) => {
                let (values, data_type) = integers(name, created)?;
                columns.push((name.to_owned(), data_type));
                Some((values, created.logical_nulls()))
            }
            None => None,
        };
        Ok(Self {
            event,
            created,
            columns,
        })
    }

    /// Fails if the types are not those of the batches before, whose timestamps these would not
    /// compare with.
    pub(super) fn check_types(&self, known: &mut Option<Vec<DataType>>) -> Result<()> {
        let types = || self.columns.iter().map(|(_, data_type)| data_type.clone());
        let known = known.get_or_insert_with(|| types().collect());
        for ((name, data_type), known) in self.columns.iter().zip(known) {
            if data_type != known {
                return Err(Error::new(
                    ErrorKind::Argument,
                    format!(
                        "column '{name}' is of Arrow's {data_type}, and was of {known} in the \
                         batches before"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The event timestamp of a row; as unsigned integers they have the same order.
    pub(super) fn event(&self, row: usize) -> u64 {
        ordered(self.event[row])
    }

    /// The created timestamp of a row, likewise.
    pub(super) fn created(&self, row: usize) -> Option<u64> {
        let (values, nulls) = self.created.as_ref()?;
        let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        valid.then(|| ordered(values[row]))
    }
}

fn ordered(time: i64) -> u64 {
    time.cast_unsigned() ^ (1 << 63)
}

/// The integers of timestamps or dates, and the type they are of.
fn integers(name: &str, array: &ArrayRef) -> Result<(ScalarBuffer<i64>, DataType)> {
    let array = plain(array).map_err(|error| error.context(format!("column '{name}'")))?;
    macro_rules! values {
        ($arrow:ty) => {
            array.as_primitive::<$arrow>().values().clone()
        };
    }
    let integers = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => values!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => values!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => values!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => values!(TimestampNanosecondType),
        DataType::Date64 => values!(Date64Type),
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().values();
            days.iter().map(|&day| day.into()).collect()
        }
        // A column of nulls alone.
        DataType::Null => vec![0; array.len()].into(),
        other => {
            return Err(Error::new(
                ErrorKind::Encode,
                format!("column '{name}': Arrow's {other} is no timestamp"),
            ));
        }
    };
    Ok((integers, array.data_type().clone()))
}
