//! The text form of a [`FeastType`], as Feast prints it, with a struct's field names as JSON
//! strings so that any name is unambiguous: `Array(Struct({"a": Int64, "b c": Set(String)}))`.
//!
//! Read are also bare field names without `,:(){}"` or white space at their ends, which is what
//! Feast's own `str()` gives for most structs, and the names of `ValueType`, such as
//! `DOUBLE_LIST`.

use std::fmt;
use std::str::FromStr;

use super::dtype::FeastType;
use crate::error::{Error, ErrorKind, Result};

/// How deep declared types may nest; values nest no deeper either.
const MAX_NESTING: usize = 50;

impl fmt::Display for FeastType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Array(item) => write!(f, "Array({item})"),
            Self::Set(item) => write!(f, "Set({item})"),
            Self::Struct(fields) => {
                f.write_str("Struct({")?;
                for (index, (name, dtype)) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    let name = serde_json::to_string(name).map_err(|_| fmt::Error)?;
                    write!(f, "{comma}{name}: {dtype}")?;
                }
                f.write_str("})")
            }
            plain => f.write_str(plain.name().unwrap_or("Invalid")),
        }
    }
}

impl FromStr for FeastType {
    type Err = Error;

    /// Reads the text form; an [`ErrorKind::Argument`] says what is wrong with it.
    fn from_str(text: &str) -> Result<Self> {
        let mut reader = Reader { rest: text };
        let dtype = reader.dtype(0);
        reader.space();
        match dtype {
            Ok(dtype) if reader.rest.is_empty() && dtype.value_type().is_some() => Ok(dtype),
            Ok(dtype) if reader.rest.is_empty() => Err(Error::new(
                ErrorKind::Argument,
                format!("Feast has no value type for {dtype}"),
            )),
            Ok(_) => Err(not_a_type(text, "something follows the type")),
            Err(what) => Err(not_a_type(text, what)),
        }
    }
}

fn not_a_type(text: &str, what: &str) -> Error {
    Error::new(
        ErrorKind::Argument,
        format!(
            "{text:?} is not a Feast type ({what}); write Float64, Array(Int64), DOUBLE_LIST, ..."
        ),
    )
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn dtype(&mut self, nesting: usize) -> Result<FeastType, &'static str> {
        if nesting > MAX_NESTING {
            return Err("it nests too deep");
        }
        let word = self.word();
        match word {
            "Array" => Ok(FeastType::Array(Box::new(self.item(nesting)?))),
            "Set" => Ok(FeastType::Set(Box::new(self.item(nesting)?))),
            "Struct" => self.fields(nesting).map(FeastType::Struct),
            _ => FeastType::from_name(word).ok_or("an unknown name"),
        }
    }

    fn item(&mut self, nesting: usize) -> Result<FeastType, &'static str> {
        self.expect('(')?;
        let item = self.dtype(nesting + 1)?;
        self.expect(')')?;
        Ok(item)
    }

    fn fields(&mut self, nesting: usize) -> Result<Vec<(String, FeastType)>, &'static str> {
        self.expect('(')?;
        self.expect('{')?;
        let mut fields: Vec<(String, FeastType)> = Vec::new();
        if !self.accept('}') {
            loop {
                let name = self.field_name()?;
                self.expect(':')?;
                if fields.iter().any(|(other, _)| *other == name) {
                    return Err("a field is named twice");
                }
                fields.push((name, self.dtype(nesting + 1)?));
                if !self.accept(',') {
                    break;
                }
            }
            self.expect('}')?;
        }
        self.expect(')')?;
        Ok(fields)
    }

    fn field_name(&mut self) -> Result<String, &'static str> {
        self.space();
        if !self.rest.starts_with('"') {
            let end = self.rest.find(|c| ",:(){}\"".contains(c));
            let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            self.rest = rest;
            return match name.trim_end() {
                "" => Err("a field without a name"),
                name => Ok(name.to_owned()),
            };
        }
        let mut names = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        match names.next() {
            Some(Ok(name)) => {
                self.rest = &self.rest[names.byte_offset()..];
                Ok(name)
            }
            _ => Err("a field's name is not a JSON string"),
        }
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn accept(&mut self, symbol: char) -> bool {
        self.space();
        match self.rest.strip_prefix(symbol) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, symbol: char) -> Result<(), &'static str> {
        if self.accept(symbol) {
            Ok(())
        } else {
            Err("a bracket, a brace, a colon or a comma is missing")
        }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> String {
        text.parse::<FeastType>().unwrap().to_string()
    }

    #[test]
    fn texts() {
        for text in [
            "Int64",
            "Array(Float32)",
            "Set(Array(Int64))",
            "Array(Map)",
            "Struct({})",
            r#"Array(Struct({"a": Int64, "b: (,\"é": Array(Set(String))}))"#,
        ] {
            assert_eq!(round_trip(text), text);
        }
        assert_eq!(round_trip(" Array( Int32 ) "), "Array(Int32)");
        assert_eq!(
            round_trip("Struct({a: Int64, b c: String})"),
            r#"Struct({"a": Int64, "b c": String})"#
        );
        assert_eq!(round_trip("DOUBLE_LIST"), "Array(Float64)");
        assert_eq!(round_trip("PDF_BYTES"), "PdfBytes");
        assert_eq!(round_trip("VALUE_SET"), "Set(Invalid)");
    }

    #[test]
    fn not_types() {
        let deep = format!("{}Int64{}", "Array(".repeat(60), ")".repeat(60));
        for text in [
            "",
            "Int65",
            "Array",
            "Array(",
            "Array(Int64",
            "Array(Int64))",
            "Int64 x",
            "Set(Map)",
            "Array(ZonedTimestamp)",
            "Struct({a Int64})",
            "Struct({a: Int64, a: Int64})",
            "Struct({\"a: Int64})",
            "Struct({: Int64})",
            "(",
            "é",
            &deep,
        ] {
            let error = text.parse::<FeastType>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument, "{text}");
        }
    }

    #[test]
    fn value_types() {
        for number in 0..60 {
            if let Some(dtype) = FeastType::from_value_type(number) {
                assert_eq!(dtype.value_type(), Some(number), "{dtype}");
                assert_eq!(dtype.to_string().parse::<FeastType>().unwrap(), dtype);
            }
        }
        // All but 9, 10 and 19 (null).
        assert_eq!((0..60).filter_map(FeastType::from_value_type).count(), 46);
    }
}
