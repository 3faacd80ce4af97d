//! A Python callable that issues credentials.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;

use crate::error::{Error, ErrorKind, Result};
use crate::redis::config::deployment::ProviderSettings;
use crate::redis::config::{Credentials, Secret};
use crate::redis::credentials::{CredentialProvider, Issued, Promise};

/// The callable that `credential_provider` names, which is imported when it is first asked.
///
/// It runs in a thread of Python's own making: one of Rust's that is inside of Python when the
/// interpreter ends would take the process down with it.
pub struct PythonProvider {
    settings: ProviderSettings,
    /// `_thread.start_new_thread`.
    start_thread: Py<PyAny>,
    /// `feast_rs.credentials.answer`.
    answer: Py<PyAny>,
    /// `feast_rs.credentials.logger.warning`.
    warn: Py<PyAny>,
}

impl PythonProvider {
    /// The provider that `settings` name; does not import it.
    pub fn new(py: Python<'_>, settings: &ProviderSettings) -> PyResult<Arc<Self>> {
        let function = |module, name| py.import(module)?.getattr(name);
        Ok(Arc::new(Self {
            settings: settings.clone(),
            start_thread: function("_thread", "start_new_thread")?.unbind(),
            answer: function("feast_rs.credentials", "answer")?.unbind(),
            warn: function("feast_rs.credentials", "logger")?
                .getattr("warning")?
                .unbind(),
        }))
    }
}

impl CredentialProvider for PythonProvider {
    fn name(&self) -> String {
        format!("credential_provider {}", self.settings.function)
    }

    fn ask(self: Arc<Self>, promise: Promise) -> Result<()> {
        let username = self.settings.username.clone();
        let started = Python::try_attach(|py| {
            let promise = Py::new(py, CredentialPromise { promise, username })?;
            let arguments = (&self.settings.function, promise);
            self.start_thread
                .call1(py, (self.answer.bind(py), arguments))
        });
        let message = match started {
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) => format!("no thread can be started for it: {error}"),
            None => "Python is ending".to_owned(),
        };
        Err(Error::new(ErrorKind::Connection, message))
    }

    /// Python's thread logs what it answers, and has not.
    fn unheard(&self, error: &Error) {
        let format = "credential_provider %s: %s";
        let arguments = (format, &self.settings.function, error.to_string());
        let _ = Python::try_attach(|py| {
            self.start_thread
                .call1(py, (self.warn.bind(py), arguments))
                .map(drop)
        });
    }
}

/// Takes what a provider answers.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct CredentialPromise {
    promise: Promise,
    /// The user, unless the provider names one.
    username: Option<Secret>,
}

#[pymethods]
impl CredentialPromise {
    /// The provider has issued a password, for a user perhaps, that lives so many seconds.
    fn keep(&self, username: Option<String>, password: String, seconds: Option<f64>) {
        let username = username.map(Secret::from);
        self.promise.keep(Ok(Issued {
            credentials: Credentials {
                username: username.or_else(|| self.username.clone()),
                password: password.into(),
            },
            expires_in: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }));
    }

    /// The provider has failed, which is the configuration's fault or not.
    fn fail(&self, message: String, misconfigured: bool) {
        let kind = if misconfigured {
            ErrorKind::Config
        } else {
            ErrorKind::Connection
        };
        self.promise.keep(Err(Error::new(kind, message)));
    }
}
