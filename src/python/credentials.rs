//! A Python callable that issues credentials.

use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use pyo3::prelude::*;

use crate::error::{Error, ErrorKind, Result};
use crate::redis::config::deployment::ProviderSettings;
use crate::redis::config::{Credentials, Secret};
use crate::redis::credentials::{CredentialProvider, Issued};

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
}

impl PythonProvider {
    /// The provider that `settings` name; does not import it.
    pub fn new(py: Python<'_>, settings: &ProviderSettings) -> PyResult<Arc<Self>> {
        let function = |module, name| py.import(module)?.getattr(name);
        Ok(Arc::new(Self {
            settings: settings.clone(),
            start_thread: function("_thread", "start_new_thread")?.unbind(),
            answer: function("feast_rs.credentials", "answer")?.unbind(),
        }))
    }

    fn failure(&self, kind: ErrorKind, message: &str) -> Error {
        let function = &self.settings.function;
        Error::new(kind, format!("credential_provider {function}: {message}"))
    }
}

impl CredentialProvider for PythonProvider {
    fn fetch(&self) -> Result<Issued> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let started = Python::try_attach(|py| {
            let promise = Py::new(py, CredentialPromise(sender))?;
            let arguments = (&self.settings.function, promise);
            self.start_thread
                .call1(py, (self.answer.bind(py), arguments))
        });
        match started {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let message = format!("no thread can be started for it: {error}");
                return Err(self.failure(ErrorKind::Connection, &message));
            }
            None => return Err(self.failure(ErrorKind::Connection, "Python is ending")),
        }
        match receiver.recv() {
            Ok(Said::Issued(username, password, life)) => Ok(Issued {
                credentials: Credentials {
                    username: username.or_else(|| self.settings.username.clone()),
                    password,
                },
                expires_in: life,
            }),
            Ok(Said::Failed(kind, message)) => Err(self.failure(kind, &message)),
            Err(_) => Err(self.failure(ErrorKind::Connection, "its thread ended")),
        }
    }
}

enum Said {
    Issued(Option<Secret>, Secret, Option<Duration>),
    Failed(ErrorKind, String),
}

/// Takes what a provider answers.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct CredentialPromise(SyncSender<Said>);

#[pymethods]
impl CredentialPromise {
    /// The provider has issued a password, for a user perhaps, that lives so many seconds.
    fn keep(&self, username: Option<String>, password: String, seconds: Option<f64>) {
        let life = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        self.say(Said::Issued(
            username.map(Secret::from),
            password.into(),
            life,
        ));
    }

    /// The provider has failed, which is the configuration's fault or not.
    fn fail(&self, message: String, misconfigured: bool) {
        let kind = if misconfigured {
            ErrorKind::Config
        } else {
            ErrorKind::Connection
        };
        self.say(Said::Failed(kind, message));
    }
}

impl CredentialPromise {
    fn say(&self, said: Said) {
        // Never waits: there is room for one. Nobody listens any more if this fails.
        let _ = self.0.try_send(said);
    }
}
