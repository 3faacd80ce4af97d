//! Where the user and password of a connection come from: nowhere, the configuration, or a
//! provider whose credentials expire.
//!
//! A provider is asked by a thread of its own, for the first time when the first connection is
//! opened, which waits for the answer; from then on ahead of expiry, while the credentials at hand
//! serve. A connection remembers which credentials it logged in with, by their generation, and logs
//! in with the newest before its next use. So nothing but the first connections, and those whose
//! login was refused, ever waits for a provider.

mod issuer;
mod question;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::issuer::Issuer;
pub(in crate::redis) use self::issuer::Request;
use self::question::ANSWER_LIMIT;
pub use self::question::Promise;
use super::config::Credentials;
use crate::error::{Error, Result};

/// What a [`CredentialProvider`] issues.
#[derive(Clone, Debug)]
pub struct Issued {
    /// What to log in with.
    pub credentials: Credentials,
    /// How long from now that will do; `None` if it is not known.
    pub expires_in: Option<Duration>,
}

/// Issues credentials that expire.
pub trait CredentialProvider: Send + Sync {
    /// What errors call it.
    fn name(&self) -> String;

    /// Begins to ask for credentials, and does not wait for them: another thread keeps the promise,
    /// which is waited for up to a minute. An error is why it cannot begin. No error tells a secret.
    fn ask(self: Arc<Self>, promise: Promise) -> Result<()>;

    /// Takes note that a question failed without an answer.
    fn unheard(&self, _error: &Error) {}
}

/// Where credentials come from. Clones share what a provider has issued.
#[derive(Clone, Default)]
pub enum CredentialSource {
    /// The server wants none.
    #[default]
    None,
    /// They are written down.
    Fixed(Credentials),
    /// A provider issues them.
    Provided(Provided),
}

/// A provider and what it has issued. Its thread ends with the last clone.
#[derive(Clone)]
pub struct Provided(Arc<Issuer>);

/// What one connection logs in with.
#[derive(Clone, Debug, Default)]
pub(in crate::redis) struct Login {
    pub credentials: Option<Credentials>,
    /// Counts what a provider has issued; 0 is from elsewhere.
    pub generation: u64,
}

impl CredentialSource {
    /// A provider's credentials, used for `refresh` at the most. Does not ask it yet, nor starts a
    /// thread.
    pub fn provided(provider: Arc<dyn CredentialProvider>, refresh: Duration) -> Self {
        Self::Provided(Provided(Arc::new(Issuer::new(
            provider,
            refresh,
            ANSWER_LIMIT,
        ))))
    }

    /// The credentials that are written down.
    #[must_use]
    pub fn written(&self) -> Option<&Credentials> {
        match self {
            Self::Fixed(credentials) => Some(credentials),
            Self::None | Self::Provided(_) => None,
        }
    }

    /// Whether connections may have to wait for a provider.
    pub(in crate::redis) fn is_provided(&self) -> bool {
        matches!(self, Self::Provided(_))
    }

    /// The newest credentials, if there are any yet.
    pub(in crate::redis) fn newest(&self) -> Option<Login> {
        match self {
            Self::None => Some(Login::default()),
            Self::Fixed(credentials) => Some(Login {
                credentials: Some(credentials.clone()),
                generation: 0,
            }),
            Self::Provided(Provided(issuer)) => issuer.newest(),
        }
    }

    /// The newest credentials, if a connection of that `generation` has older ones.
    pub(in crate::redis) fn newer_than(&self, generation: u64) -> Option<Login> {
        match self {
            Self::None | Self::Fixed(_) => None,
            Self::Provided(Provided(issuer)) if issuer.generation() == generation => None,
            Self::Provided(Provided(issuer)) => issuer.newest(),
        }
    }

    /// Asks the provider, if there is one, for credentials that are newer than `generation`. `wake`
    /// is called when it has answered, unless the request is dropped before.
    pub(in crate::redis) fn request(
        &self,
        generation: u64,
        wake: impl FnOnce() + Send + 'static,
    ) -> Result<Option<Request>> {
        match self {
            Self::None | Self::Fixed(_) => Ok(None),
            Self::Provided(Provided(issuer)) => {
                Issuer::request(issuer, generation, Box::new(wake)).map(Some)
            }
        }
    }
}

impl From<Option<Credentials>> for CredentialSource {
    fn from(credentials: Option<Credentials>) -> Self {
        credentials.map_or(Self::None, Self::Fixed)
    }
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Fixed(_) => "Fixed(***)",
            Self::Provided(_) => "Provided(***)",
        })
    }
}

impl fmt::Debug for Provided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provided(***)")
    }
}
