//! The client of one store: its connections, made by the first call and made anew after a fork.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::answer::Answer;
use super::beginning::{Beginning, Begun};
use super::completions::{Completions, Outcome, Promise, Queue, Task};
use super::credentials::PythonProvider;
use super::keys::KeyColumn;
use super::nodes;
use super::plan::Plan;
use super::runtime::runtime;
use super::settings;
use super::write::{EncodedRows, WriteBatch, WritePolicy};
use crate::entity_key::{self, EntityKeyWriter, KeyVersion};
use crate::error::{Error, ErrorKind, Result};
use crate::grid::OnError;
use crate::read::Read;
use crate::redis::Deadline;
use crate::redis::command::Commands;
use crate::redis::config::Address;
use crate::redis::config::deployment::DeploymentConfig;
use crate::redis::deployment::{Deployment, Purpose};
use crate::redis::tree::{Replies, Reply};
use crate::write::batch as write;
use crate::write::rows::Rows;

/// A client of one Redis.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct Client {
    config: Arc<DeploymentConfig>,
    provider: Option<Arc<PythonProvider>>,
    deployment: Mutex<Option<OwnDeployment>>,
}

/// A deployment's connections and the process that made them.
///
/// In a forked child the parent's connections are the parent's: closing an async one would take it
/// out of the poller, which both processes share. So a child forgets them, whether it uses the
/// client or only lets go of it.
struct OwnDeployment {
    owner: u32,
    /// Always there until this is dropped.
    deployment: Option<Arc<Deployment>>,
}

impl OwnDeployment {
    fn new(deployment: Arc<Deployment>) -> Self {
        Self {
            owner: std::process::id(),
            deployment: Some(deployment),
        }
    }

    fn is_ours(&self) -> bool {
        self.owner == std::process::id()
    }
}

impl Drop for OwnDeployment {
    fn drop(&mut self) {
        if !self.is_ours() {
            std::mem::forget(self.deployment.take());
        }
    }
}

#[pymethods]
impl Client {
    /// A client of what `settings` (a JSON object of the store's configuration) says; it does
    /// not connect yet.
    #[new]
    fn new(py: Python<'_>, settings: &str) -> PyResult<Self> {
        let config = DeploymentConfig::from_json(settings)?;
        let provider = config.provider.as_ref();
        Ok(Self {
            provider: provider
                .map(|settings| PythonProvider::new(py, settings))
                .transpose()?,
            config: Arc::new(config),
            deployment: Mutex::new(None),
        })
    }

    /// What there is to say about the configuration: settings that are ignored, and why.
    #[getter]
    fn notices(&self) -> Vec<String> {
        self.config.notices.clone()
    }

    /// The settings as they were understood, as a dict; secrets are masked.
    #[getter]
    fn settings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        settings::describe(py, &self.config)
    }

    /// Reads the plan's features for `rows` rows of join-key values, on the calling thread. With
    /// `defaults`, the plan's default values stand in for what an outage keeps from being read.
    fn read(
        &self,
        py: Python<'_>,
        plan: &Plan,
        keys: Vec<PyRef<'_, KeyColumn>>,
        rows: usize,
        strict: bool,
        defaults: bool,
    ) -> PyResult<Answer> {
        let (plan, schemas, keys) = (plan.built(), plan.schemas(), owned(&keys));
        let values = if strict {
            0
        } else {
            rows * plan.columns().len()
        };
        let mut begun = Begun::expected(py, &schemas.expectation, rows, values);
        let features = self.run(py, |client, deployment, interrupt| {
            let deadline = Deadline::after(client.config.node.request_timeout);
            let read = Read::new(plan, keys, rows, strict, deployment)?;
            let read = read.on_error(on_error(defaults));
            read.run(deployment, deadline, interrupt, &mut begun)
        })?;
        let beginning = if features.is_as_stored() {
            begun.finish(schemas.clone())
        } else {
            Beginning::default()
        };
        Ok(Answer::new(features, schemas).begun_with(beginning))
    }

    /// Reads as `read` does, as a task whose outcome goes to `completions` under `token`.
    #[expect(
        clippy::too_many_arguments,
        reason = "those of a read, and where its outcome goes"
    )]
    fn read_async(
        &self,
        plan: &Plan,
        keys: Vec<PyRef<'_, KeyColumn>>,
        rows: usize,
        strict: bool,
        defaults: bool,
        completions: &Completions,
        token: u64,
    ) -> PyResult<Task> {
        let (plan, schemas, keys) = (plan.built(), plan.schemas(), owned(&keys));
        let deployment = self.deployment();
        let deadline = Deadline::after(self.config.node.request_timeout);
        spawn(completions.queue(), token, async move {
            let read = Read::new(plan, keys, rows, strict, &deployment)?;
            let read = read.on_error(on_error(defaults));
            let features = read.run_async(&deployment, deadline).await?;
            Ok(outcome(move |py| {
                Answer::new(features, schemas).into_py_any(py)
            }))
        })
    }

    /// Reads the features of the plan's only entity key for entities given as serialized
    /// `EntityKey` messages.
    fn read_entities(
        &self,
        py: Python<'_>,
        plan: &Plan,
        entities: Vec<Bound<'_, PyBytes>>,
        version: u32,
        project: &str,
    ) -> PyResult<Answer> {
        let (plan, schemas) = (plan.built(), plan.schemas());
        let (keys, ends) = redis_keys(&entities, version, project)?;
        self.run(py, |client, deployment, interrupt| {
            let deadline = Deadline::after(client.config.node.request_timeout);
            let read = Read::of_keys(plan, keys, ends, deployment);
            read.run(deployment, deadline, interrupt, &mut ())
        })
        .map(|features| Answer::new(features, schemas))
    }

    /// Reads as `read_entities` does, as a task.
    fn read_entities_async(
        &self,
        plan: &Plan,
        entities: Vec<Bound<'_, PyBytes>>,
        version: u32,
        project: &str,
        completions: &Completions,
        token: u64,
    ) -> PyResult<Task> {
        let (plan, schemas) = (plan.built(), plan.schemas());
        let (keys, ends) = redis_keys(&entities, version, project)?;
        let deployment = self.deployment();
        let deadline = Deadline::after(self.config.node.request_timeout);
        spawn(completions.queue(), token, async move {
            let read = Read::of_keys(plan, keys, ends, &deployment);
            let features = read.run_async(&deployment, deadline).await?;
            Ok(outcome(move |py| {
                Answer::new(features, schemas).into_py_any(py)
            }))
        })
    }

    /// Writes a batch. Returns how many rows were skipped as not newer, and how many commands
    /// were acknowledged.
    fn write(
        &self,
        py: Python<'_>,
        batch: Batch<'_>,
        policy: &WritePolicy,
    ) -> PyResult<(u64, u64)> {
        let (rows, policy) = (batch.take()?, policy.0);
        self.run(py, |client, deployment, interrupt| {
            write::write(rows, policy, deployment, client.write_deadline(), interrupt)
        })
        .map(|counts| (counts.skipped, counts.replies))
    }

    /// Writes as `write` does, as a task.
    fn write_async(
        &self,
        batch: Batch<'_>,
        policy: &WritePolicy,
        completions: &Completions,
        token: u64,
    ) -> PyResult<Task> {
        let (rows, policy, deployment) = (batch.take()?, policy.0, self.deployment());
        let deadline = self.write_deadline();
        spawn(completions.queue(), token, async move {
            let counts = write::write_async(rows, policy, &deployment, deadline).await?;
            Ok(outcome(move |py| {
                (counts.skipped, counts.replies).into_py_any(py)
            }))
        })
    }

    /// Runs commands (lists of bytes) in one pipeline and returns their replies: int, str for a
    /// status, bytes, None, or a list. Each goes to the server that has the key which is its second
    /// part or, if an `address` is given, all go to the server there, which may be a Sentinel. A
    /// `timeout`, in seconds, is a limit on all of it.
    ///
    /// Raises `ServerError` with the server's words for the first command that it refused.
    #[pyo3(signature = (commands, address=None, timeout=None))]
    fn execute<'py>(
        &self,
        py: Python<'py>,
        commands: Vec<Vec<Vec<u8>>>,
        address: Option<&str>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyList>> {
        let at = address.map(Address::parse).transpose()?;
        let limit = timeout.map(Duration::try_from_secs_f64).transpose();
        let limit = limit.map_err(|e| Error::new(ErrorKind::Argument, format!("timeout: {e}")))?;
        let replies = self.run(py, |client, deployment, interrupt| {
            let mut pipeline = Commands::default();
            for command in &commands {
                let parts: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                pipeline.push_for_key(&parts);
            }
            let mut replies = Replies::new(pipeline.len(), client.config.node.max_reply_bytes);
            let deadline = Deadline::after(limit).set_by("timeout");
            let sink = &mut replies;
            match &at {
                None => deployment.run(&pipeline, sink, Purpose::Write, deadline, interrupt),
                Some(at) => deployment.run_at(at, &pipeline, sink, deadline, interrupt),
            }?;
            Ok(replies.into_vec())
        })?;
        let server = at.as_ref().unwrap_or(&self.config.node.address);
        let objects = commands
            .iter()
            .zip(replies)
            .map(|(command, reply)| {
                let refused = |words: &str| {
                    let name = command.first().map_or(&b""[..], Vec::as_slice);
                    Error::new(
                        ErrorKind::Server,
                        format!(
                            "redis at {server}: refused {}: {words}",
                            name.escape_ascii()
                        ),
                    )
                };
                reply_object(py, reply, &refused)
            })
            .collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, objects)
    }

    /// The addresses of the primaries, looked up if they aren't known.
    fn primaries(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.run(py, |client, deployment, interrupt| {
            let deadline = Deadline::after(client.config.node.request_timeout);
            let topology = deployment.topology(false, deadline, interrupt)?;
            Ok(topology
                .primaries()
                .iter()
                .map(ToString::to_string)
                .collect())
        })
    }

    /// What is known of every server, looked up if it isn't known or `refresh` is asked for: a dict
    /// each, with its address, role, slots, breaker, calls, failures, slow, latency (milliseconds)
    /// and number of connections.
    #[pyo3(signature = (refresh=false))]
    fn nodes<'py>(&self, py: Python<'py>, refresh: bool) -> PyResult<Bound<'py, PyList>> {
        let members = self.run(py, |client, deployment, interrupt| {
            let deadline = Deadline::after(client.config.node.request_timeout);
            let topology = deployment.topology(refresh, deadline, interrupt)?;
            Ok(deployment.members(&topology))
        })?;
        let described = members
            .iter()
            .map(|member| nodes::describe(py, member))
            .collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, described)
    }
}

impl Client {
    /// The deployment of this process. Called with the GIL held, as is `fork`, so that the lock is
    /// free in a child.
    pub fn deployment(&self) -> Arc<Deployment> {
        let mut current = self
            .deployment
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = &*current
            && own.is_ours()
            && let Some(deployment) = &own.deployment
        {
            return deployment.clone();
        }
        let provider = self.provider.clone();
        let config = self
            .config
            .in_process(provider.map(|provider| provider as _));
        let deployment = Arc::new(Deployment::new(Arc::new(config)));
        *current = Some(OwnDeployment::new(deployment.clone()));
        deployment
    }

    /// The end of a write of a single batch that begins now.
    fn write_deadline(&self) -> Deadline {
        Deadline::after(self.config.node.write_timeout).set_by("write_timeout_ms")
    }

    /// Runs blocking work with this process' connections, without the GIL.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Self, &Arc<Deployment>, &dyn Fn() -> Result<()>) -> Result<T> + Send,
    ) -> PyResult<T> {
        let deployment = self.deployment();
        with_signals(py, |interrupt| work(self, &deployment, interrupt))
    }
}

/// Runs blocking work without the GIL. A signal's exception, `KeyboardInterrupt` say, is raised in
/// place of what it interrupted.
pub fn with_signals<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&dyn Fn() -> Result<()>) -> Result<T> + Send,
) -> PyResult<T> {
    let (result, signal) = py.detach(|| {
        let signal = RefCell::new(None);
        let interrupt = || {
            #[expect(
                clippy::redundant_closure_for_method_calls,
                reason = "the method's path lacks the lifetime that attach asks for"
            )]
            // An interpreter that is ending has no signals for us, nor a thread state.
            let checked = Python::try_attach(|py| py.check_signals()).unwrap_or(Ok(()));
            checked.map_err(|raised| {
                *signal.borrow_mut() = Some(raised);
                Error::new(ErrorKind::Interrupted, "interrupted by a signal")
            })
        };
        let result = work(&interrupt);
        (result, signal.into_inner())
    });
    match signal {
        Some(raised) => Err(raised),
        None => Ok(result?),
    }
}

/// Rows in either form.
#[derive(FromPyObject)]
enum Batch<'py> {
    Messages(PyRef<'py, WriteBatch>),
    Encoded(Vec<PyRef<'py, EncodedRows>>),
}

impl Batch<'_> {
    fn take(&self) -> Result<Vec<Rows>> {
        match self {
            Self::Messages(batch) => Ok(vec![batch.take()?]),
            Self::Encoded(blocks) => blocks.iter().map(|rows| rows.take()).collect(),
        }
    }
}

fn on_error(defaults: bool) -> OnError {
    if defaults {
        OnError::Defaults
    } else {
        OnError::Raise
    }
}

fn owned(keys: &[PyRef<'_, KeyColumn>]) -> Vec<entity_key::KeyColumn> {
    keys.iter().map(|key| (*key.0).clone()).collect()
}

fn outcome(convert: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send + 'static) -> Outcome {
    Box::new(convert)
}

/// Starts a task and hands its outcome, or its error, to the event loop's queue.
fn spawn(
    queue: Arc<Queue>,
    token: u64,
    work: impl Future<Output = Result<Outcome>> + Send + 'static,
) -> PyResult<Task> {
    let promise = Promise::new(queue, token);
    let task = runtime()?.spawn(async move {
        let outcome = work
            .await
            .unwrap_or_else(|error| outcome(move |_| Err(error.into())));
        promise.keep(outcome);
    });
    Ok(Task(task.abort_handle()))
}

/// The Redis keys of serialized `EntityKey` messages, end to end, and where each ends.
fn redis_keys(
    entities: &[Bound<'_, PyBytes>],
    version: u32,
    project: &str,
) -> Result<(Vec<u8>, Vec<usize>)> {
    let version = KeyVersion::try_from(version)?;
    let (mut keys, mut ends) = (Vec::new(), Vec::with_capacity(entities.len()));
    for entity in entities {
        let (names, values) = entity_key::parse_message(entity.as_bytes())?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let values: Vec<&entity_key::KeyColumn> = values.iter().collect();
        EntityKeyWriter::new(&names, version, project.as_bytes())?.write(&values, 0, &mut keys);
        ends.push(keys.len());
    }
    Ok((keys, ends))
}

fn reply_object<'py>(
    py: Python<'py>,
    reply: Reply,
    refused: &impl Fn(&str) -> Error,
) -> PyResult<Bound<'py, PyAny>> {
    match reply {
        Reply::Nil => Ok(py.None().into_bound(py)),
        Reply::Integer(number) => number.into_bound_py_any(py),
        Reply::Status(text) => text.into_bound_py_any(py),
        Reply::Bytes(bytes) => Ok(PyBytes::new(py, &bytes).into_any()),
        Reply::Error(words) => Err(refused(&words).into()),
        Reply::Array(items) => {
            let items = items
                .into_iter()
                .map(|item| reply_object(py, item, refused))
                .collect::<PyResult<Vec<_>>>()?;
            Ok(PyList::new(py, items)?.into_any())
        }
    }
}

/// Raises `ConfigError` for settings that a client cannot use; does not connect.
#[pyfunction]
pub fn check_settings(settings: &str) -> PyResult<()> {
    DeploymentConfig::from_json(settings)?;
    Ok(())
}
