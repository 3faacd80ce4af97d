//! One error for the whole crate: what happened, to which address, view, feature or entity, and
//! what to do about it. It never holds a credential, and it knows nothing of Python;
//! `python::exceptions` maps each [`ErrorKind`] to an exception class.

use std::fmt;

/// Shorthand for a result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of thing went wrong, which decides the exception that Python sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store's configuration cannot be used as it is written.
    Config,
    /// The server could not be reached, or went away.
    Connection,
    /// A time limit passed: connecting, waiting for a reply, or the whole request.
    Timeout,
    /// The server answered with an error (`-WRONGTYPE`, `-NOAUTH`, `-LOADING`...).
    Server,
    /// The server's bytes are not RESP, or a reply exceeds the limits.
    Protocol,
    /// Stored bytes are not a Feast `Value`, or not one of the asked type.
    Decode,
    /// A value cannot be written as the declared Feast type.
    Encode,
    /// A join key's value cannot be part of an entity key.
    EntityKey,
    /// A call's arguments do not fit together.
    Argument,
}

/// An error with its kind and its text.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    transient: bool,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            transient: false,
        }
    }

    /// The same error of a state of the server that passes by itself.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// Whether the server said that it is in a state that passes by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// What sort of error this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same error with where it happened in front: `context: message`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
