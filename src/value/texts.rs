//! Columns of texts and bytes in any of Arrow's layouts, and what is turned into texts.

use std::fmt::{Display, Write as _};

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, ByteArrayType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
};
use arrow_array::{
    Array, BinaryViewArray, GenericByteArray, LargeStringArray, OffsetSizeTrait, PrimitiveArray,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::DataType;

use super::source::{cannot, exact_cast, is_text, not_from, plain};
use crate::error::Result;

/// A column of texts, as their UTF-8, or of bytes.
#[derive(Debug)]
pub(super) struct Texts {
    spans: Spans,
    nulls: Option<NullBuffer>,
}

#[derive(Debug)]
enum Spans {
    Small(OffsetBuffer<i32>, Buffer),
    Large(OffsetBuffer<i64>, Buffer),
    View(BinaryViewArray),
}

impl Texts {
    /// Texts, or bytes, of any layout; `None` of other arrays.
    fn of(array: &dyn Array) -> Option<Self> {
        let nulls = array
            .nulls()
            .filter(|nulls| nulls.null_count() > 0)
            .cloned();
        let spans = match array.data_type() {
            DataType::Utf8 => small(array.as_string::<i32>()),
            DataType::Binary => small(array.as_binary::<i32>()),
            DataType::LargeUtf8 => large(array.as_string::<i64>()),
            DataType::LargeBinary => large(array.as_binary::<i64>()),
            DataType::Utf8View => Spans::View(array.as_string_view().clone().to_binary_view()),
            DataType::BinaryView => Spans::View(array.as_binary_view().clone()),
            _ => return None,
        };
        Some(Self { spans, nulls })
    }

    pub(super) fn len(&self) -> usize {
        match &self.spans {
            Spans::Small(offsets, _) => offsets.len() - 1,
            Spans::Large(offsets, _) => offsets.len() - 1,
            Spans::View(array) => array.len(),
        }
    }

    /// How many bytes there are, about.
    pub(super) fn size(&self) -> usize {
        match &self.spans {
            Spans::Small(offsets, _) => (offsets[offsets.len() - 1] - offsets[0]) as usize,
            Spans::Large(offsets, _) => (offsets[offsets.len() - 1] - offsets[0]) as usize,
            Spans::View(array) => array.total_bytes_len(),
        }
    }

    #[inline]
    pub(super) fn is_valid(&self, row: usize) -> bool {
        self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
    }

    /// The bytes of a row, which are arbitrary where it is null.
    #[inline]
    pub(super) fn value(&self, row: usize) -> &[u8] {
        match &self.spans {
            Spans::Small(offsets, bytes) => {
                &bytes[offsets[row] as usize..offsets[row + 1] as usize]
            }
            Spans::Large(offsets, bytes) => {
                &bytes[offsets[row] as usize..offsets[row + 1] as usize]
            }
            Spans::View(array) => array.value(row),
        }
    }

    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<&[u8]> {
        self.is_valid(row).then(|| self.value(row))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        (0..self.len()).map(|row| self.get(row))
    }

    pub(super) fn nulls(&self) -> Option<&NullBuffer> {
        self.nulls.as_ref()
    }

    /// Fails if a value is not UTF-8, which Arrow asks of its producers and some do not keep.
    fn check(&self) -> Result<()> {
        if self.whole_is_utf8() {
            return Ok(());
        }
        for text in self.iter().flatten() {
            if std::str::from_utf8(text).is_err() {
                return Err(cannot(format!("\"{}\" is not UTF-8", text.escape_ascii())));
            }
        }
        Ok(())
    }

    /// Whether the bytes are UTF-8 as they lie, and each value begins with a character.
    fn whole_is_utf8(&self) -> bool {
        match &self.spans {
            Spans::Small(offsets, bytes) => are_utf8(offsets, bytes),
            Spans::Large(offsets, bytes) => are_utf8(offsets, bytes),
            Spans::View(_) => false,
        }
    }
}

fn are_utf8<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, bytes: &[u8]) -> bool {
    let (first, last) = (offsets[0].as_usize(), offsets[offsets.len() - 1].as_usize());
    std::str::from_utf8(&bytes[first..last]).is_ok_and(|text| {
        let boundary = |offset: &O| text.is_char_boundary(offset.as_usize() - first);
        text.is_ascii() || offsets.iter().all(boundary)
    })
}

impl From<LargeStringArray> for Texts {
    fn from(array: LargeStringArray) -> Self {
        let nulls = array.nulls().cloned();
        Self {
            spans: large(&array),
            nulls,
        }
    }
}

fn small<T: ByteArrayType<Offset = i32>>(array: &GenericByteArray<T>) -> Spans {
    Spans::Small(array.offsets().clone(), array.values().clone())
}

fn large<T: ByteArrayType<Offset = i64>>(array: &GenericByteArray<T>) -> Spans {
    Spans::Large(array.offsets().clone(), array.values().clone())
}

/// Texts as they are.
pub(super) fn texts(array: &dyn Array) -> Result<Texts> {
    let array = plain(array)?;
    let array = match array.data_type() {
        DataType::Null => exact_cast(&array, &DataType::Utf8)?,
        data_type if is_text(data_type) => array,
        _ => return Err(not_from("a text", &array)),
    };
    let texts = Texts::of(&array).ok_or_else(|| not_from("a text", &array))?;
    texts.check()?;
    Ok(texts)
}

/// Bytes.
pub(super) fn bytes(array: &dyn Array) -> Result<Texts> {
    let array = plain(array)?;
    let array = match array.data_type() {
        DataType::FixedSizeBinary(_) | DataType::Null => {
            exact_cast(&array, &DataType::LargeBinary)?
        }
        _ => array,
    };
    match Texts::of(&array) {
        Some(bytes) if !is_text(array.data_type()) => Ok(bytes),
        _ => Err(not_from("bytes", &array)),
    }
}

/// UUIDs, from texts or sixteen bytes.
pub(super) fn uuids(array: &dyn Array) -> Result<Texts> {
    let array = plain(array)?;
    let DataType::FixedSizeBinary(16) = array.data_type() else {
        return texts(&array);
    };
    let uuid = |bytes: &[u8]| {
        let mut text = String::with_capacity(36);
        for (index, byte) in bytes.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            let _ = write!(text, "{byte:02x}");
        }
        text
    };
    let uuids: LargeStringArray = array
        .as_fixed_size_binary()
        .iter()
        .map(|bytes| bytes.map(uuid))
        .collect();
    Ok(uuids.into())
}

/// Decimals, from texts or Arrow's decimals, which are written as Python's `str(Decimal)` does.
pub(super) fn decimals(array: &dyn Array) -> Result<Texts> {
    let array = plain(array)?;
    let Some((digits, scale)) = decimal_digits(&array) else {
        return texts(&array);
    };
    let decimals: LargeStringArray = digits
        .into_iter()
        .map(|digits| digits.map(|digits| python_decimal(&digits, scale)))
        .collect();
    Ok(decimals.into())
}

/// The digits of Arrow's decimals and their scale: digits x 10^-scale; `None` of other arrays.
pub(super) fn decimal_digits(array: &dyn Array) -> Option<(Vec<Option<String>>, i8)> {
    Some(match *array.data_type() {
        DataType::Decimal32(_, scale) => (digits::<Decimal32Type>(array), scale),
        DataType::Decimal64(_, scale) => (digits::<Decimal64Type>(array), scale),
        DataType::Decimal128(_, scale) => (digits::<Decimal128Type>(array), scale),
        DataType::Decimal256(_, scale) => (digits::<Decimal256Type>(array), scale),
        _ => return None,
    })
}

fn digits<T: ArrowPrimitiveType<Native: Display>>(array: &dyn Array) -> Vec<Option<String>> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    let digits = array.iter().map(|digits| Some(digits?.to_string()));
    digits.collect()
}

/// The text of digits x 10^-scale by the General Decimal Arithmetic's to-scientific-string.
fn python_decimal(digits: &str, scale: i8) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let exponent = -i32::from(scale);
    let adjusted = exponent + digits.len() as i32 - 1;
    if exponent <= 0 && adjusted >= -6 {
        let places = usize::try_from(-exponent).unwrap_or(0);
        if places == 0 {
            return format!("{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = places + 1);
        let (whole, fraction) = padded.split_at(padded.len() - places);
        return format!("{sign}{whole}.{fraction}");
    }
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{first}{point}{rest}E{adjusted:+}")
}

#[cfg(test)]
mod tests {
    use arrow_array::{BinaryArray, StringArray, StringViewArray};

    use super::*;

    #[test]
    fn decimals_look_like_pythons() {
        for (digits, scale, text) in [
            ("150", 2, "1.50"),
            ("-5", 3, "-0.005"),
            ("0", 2, "0.00"),
            ("5", 0, "5"),
            ("1", 7, "1E-7"),
            ("0", 7, "0E-7"),
            ("123", 9, "1.23E-7"),
            ("12", 7, "0.0000012"),
            ("12", -3, "1.2E+4"),
        ] {
            assert_eq!(python_decimal(digits, scale), text);
        }
    }

    #[test]
    fn texts_of_any_layout_and_slice() {
        let values = ["a", "é", "", "a text longer than twelve bytes"];
        let view = StringViewArray::from_iter_values(values);
        for array in [&StringArray::from_iter_values(values) as &dyn Array, &view] {
            let slice = array.slice(1, 3);
            let texts = texts(&slice).unwrap();
            assert_eq!(texts.len(), 3);
            let back: Vec<_> = texts.iter().flatten().collect();
            assert_eq!(
                back,
                values[1..].iter().map(|v| v.as_bytes()).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn bytes_that_are_no_text() {
        for parts in [[&b"a"[..], b"\xff"], [b"\xc3", b"\xa9"]] {
            let Some(texts) = Texts::of(&BinaryArray::from_iter_values(parts)) else {
                unreachable!()
            };
            assert!(texts.check().is_err());
        }
    }
}
