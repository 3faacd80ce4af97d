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
    /// The caller was interrupted, by a signal say.
    Interrupted,
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
    at_login: bool,
    refusal: bool,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            transient: false,
            at_login: false,
            refusal: false,
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

    /// The same error of a server that refuses to log us in.
    #[must_use]
    pub fn at_login(mut self) -> Self {
        self.at_login = true;
        self
    }

    /// The same error of a call that was not made, for a circuit breaker kept it back.
    #[must_use]
    pub fn refusal(mut self) -> Self {
        self.refusal = true;
        self
    }

    /// Whether a circuit breaker kept the call back.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.refusal
    }

    /// Whether the server is out of reach or out of order, for which default values may stand in:
    /// it is not there, is silent, lets nobody in, or says that its state will pass. What is wrong
    /// with the question, with the stored data or with the bytes that came is no outage, and
    /// neither is an interrupted caller.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self.kind {
            ErrorKind::Connection | ErrorKind::Timeout => true,
            ErrorKind::Server => self.transient || self.at_login,
            _ => false,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_the_servers() {
        let outage = |kind| Error::new(kind, "").is_outage();
        assert!(outage(ErrorKind::Connection) && outage(ErrorKind::Timeout));
        for kind in [
            ErrorKind::Config,
            ErrorKind::Interrupted,
            ErrorKind::Server,
            ErrorKind::Protocol,
            ErrorKind::Decode,
            ErrorKind::EntityKey,
            ErrorKind::Argument,
        ] {
            assert!(!outage(kind), "{kind:?}");
        }
        let refused = Error::new(ErrorKind::Server, "WRONGTYPE");
        assert!(
            refused
                .clone()
                .transient()
                .context("redis at x")
                .is_outage()
        );
        assert!(refused.at_login().context("redis at x").is_outage());
        assert!(!Error::new(ErrorKind::Protocol, "").transient().is_outage());
    }
}
