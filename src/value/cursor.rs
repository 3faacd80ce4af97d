//! A cursor over protobuf wire bytes: tags, varints, fixed and length-delimited payloads.
//!
//! What is accepted and what is rejected follows upb, the decoder inside Feast's Python, to the
//! byte: a tag or a length takes at most five bytes, a varint at most ten, a field number is
//! never zero, a group must be closed by its own number, and messages and groups nest at most
//! [`MAX_DEPTH`] deep.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// How deep messages and groups may nest below the outermost message.
pub const MAX_DEPTH: u32 = 100;

/// Why bytes are not a protobuf message. Small and `Copy`; its text is made when it is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WireError {
    /// The bytes end inside a field.
    Truncated,
    /// A varint has no end within ten bytes.
    Varint,
    /// A tag is too long, or its field number or wire type does not exist.
    Tag,
    /// A length takes more than five bytes, or is beyond 2^31 - 1.
    Length,
    /// A group is closed by another number, closed without being open, or never closed.
    Group,
    /// A string is not UTF-8.
    Utf8,
    /// A packed list of fixed-size numbers is not a whole number of them.
    Packed,
    /// Messages nest deeper than [`MAX_DEPTH`].
    Depth,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the bytes end inside a field",
            Self::Varint => "a varint runs over ten bytes",
            Self::Tag => "a tag is malformed",
            Self::Length => "a length is malformed",
            Self::Group => "a group is not closed as it was opened",
            Self::Utf8 => "a string is not UTF-8",
            Self::Packed => "a packed list has a broken last element",
            Self::Depth => "messages nest too deep",
        })
    }
}

impl std::error::Error for WireError {}

impl From<WireError> for Error {
    fn from(cause: WireError) -> Self {
        Error::new(
            ErrorKind::Decode,
            format!("not a serialized Value: {cause}"),
        )
    }
}

/// What follows a tag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Payload<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64([u8; 8]),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32([u8; 4]),
    /// Wire types 3 and 4, checked and skipped.
    Group,
}

/// Reads one field after another from the bytes of a message.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `message`.
    #[must_use]
    #[inline]
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Whether all bytes are read.
    #[must_use]
    #[inline]
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field's number and payload; `None` at the end. `depth` is how many more levels
    /// of groups may open here.
    #[inline]
    pub fn field(&mut self, depth: u32) -> Result<Option<(u32, Payload<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        if wire_type == 4 {
            return Err(WireError::Group);
        }
        Ok(Some((number, self.payload(number, wire_type, depth)?)))
    }

    /// The next varint.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for (index, &byte) in self.rest.iter().take(10).enumerate() {
            // Bits beyond the 64th fall off, as in upb.
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 {
            WireError::Truncated
        } else {
            WireError::Varint
        })
    }

    /// A varint of at most five bytes and at most `max`.
    fn short_varint(&mut self, max: u64, otherwise: WireError) -> Result<u64, WireError> {
        let before = self.rest.len();
        let value = self.varint()?;
        if before - self.rest.len() > 5 || value > max {
            return Err(otherwise);
        }
        Ok(value)
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), WireError> {
        let tag = self.short_varint(u64::from(u32::MAX), WireError::Tag)? as u32;
        if tag >> 3 == 0 {
            return Err(WireError::Tag);
        }
        Ok((tag >> 3, (tag & 7) as u8))
    }

    #[inline]
    fn payload(
        &mut self,
        number: u32,
        wire_type: u8,
        depth: u32,
    ) -> Result<Payload<'a>, WireError> {
        Ok(match wire_type {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(self.fixed()?),
            2 => {
                let length = self.short_varint(i32::MAX as u64, WireError::Length)?;
                let (bytes, rest) = self
                    .rest
                    .split_at_checked(length as usize)
                    .ok_or(WireError::Truncated)?;
                self.rest = rest;
                Payload::Bytes(bytes)
            }
            3 => {
                self.skip_group(number, depth)?;
                Payload::Group
            }
            5 => Payload::Fixed32(self.fixed()?),
            _ => return Err(WireError::Tag),
        })
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (bytes, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// Skips to the end of the group `number`, whose start has been read.
    #[cold]
    fn skip_group(&mut self, number: u32, depth: u32) -> Result<(), WireError> {
        let depth = depth.checked_sub(1).ok_or(WireError::Depth)?;
        loop {
            if self.rest.is_empty() {
                return Err(WireError::Group);
            }
            let (inner, wire_type) = self.tag()?;
            if wire_type == 4 {
                return if inner == number {
                    Ok(())
                } else {
                    Err(WireError::Group)
                };
            }
            self.payload(inner, wire_type, depth)?;
        }
    }
}
