//! JSON texts of lists, which a source without lists has for them.

use arrow_array::builder::{
    BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder,
};
use arrow_array::{Array, ArrayRef, LargeBinaryArray};
use arrow_schema::DataType;
use serde_json::Value as Json;

use super::dtype::FeastType;
use super::source::{binaries, cannot, exact_cast, is_text};
use super::tagged::document;
use crate::error::Result;

/// The lists of `item` that a column of JSON texts, or of their bytes, holds; `None` of other
/// columns.
pub(super) fn lists(array: &dyn Array, item: &FeastType) -> Result<Option<ArrayRef>> {
    let texts = match array.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => binaries(array)?,
        data_type if is_text(data_type) => binaries(&exact_cast(array, &DataType::LargeBinary)?)?,
        _ => return Ok(None),
    };
    macro_rules! built {
        ($builder:expr, $value:expr) => {{
            let mut builder = ListBuilder::new($builder);
            each(&texts, |items| {
                let Some(items) = items else {
                    builder.append_null();
                    return Ok(());
                };
                for item in items {
                    let value = match item {
                        Json::Null => None,
                        item => {
                            let value = $value(item);
                            let wrong = || cannot(format!("{item} is not of the list's type"));
                            Some(value.ok_or_else(wrong)?)
                        }
                    };
                    builder.values().append_option(value);
                }
                builder.append(true);
                Ok(())
            })?;
            std::sync::Arc::new(builder.finish()) as ArrayRef
        }};
    }
    Ok(Some(match item {
        FeastType::Int32 | FeastType::Int64 | FeastType::UnixTimestamp => {
            built!(Int64Builder::new(), Json::as_i64)
        }
        FeastType::Float32 | FeastType::Float64 => built!(Float64Builder::new(), Json::as_f64),
        FeastType::Bool => built!(BooleanBuilder::new(), |item: &Json| match item {
            Json::Number(number) => number.as_f64().map(|number| number != 0.0),
            item => item.as_bool(),
        }),
        FeastType::String | FeastType::Uuid | FeastType::TimeUuid | FeastType::Decimal => {
            built!(StringBuilder::new(), Json::as_str)
        }
        _ => return Ok(None),
    }))
}

fn each(
    texts: &LargeBinaryArray,
    mut write: impl FnMut(Option<&[Json]>) -> Result<()>,
) -> Result<()> {
    for text in texts {
        match text.map(document).transpose()? {
            None => write(None)?,
            Some(Json::Array(items)) => write(Some(&items))?,
            Some(_) => return Err(cannot("the text of a list is not a JSON list")),
        }
    }
    Ok(())
}
