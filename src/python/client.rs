//! The client of one store: its connections, made by the first call and made anew after a fork.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::answer::Answer;
use super::completions::{Completions, Outcome, Promise, Queue, Task};
use super::credentials::PythonProvider;
use super::keys::KeyColumn;
use super::plan::Plan;
use super::runtime::runtime;
use super::write::{EncodedRows, WriteBatch, WritePolicy};
use crate::entity_key::{self, EntityKeyWriter, KeyVersion};
use crate::error::{Error, ErrorKind, Result};
use crate::read::Read;
use crate::redis::command::Commands;
use crate::redis::config::deployment::{DeploymentConfig, DeploymentKind};
use crate::redis::tree::{Replies, Reply};
use crate::redis::{Deadline, Pool};
use crate::write::batch as write;
use crate::write::rows::Rows;

/// A client of one Redis.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct Client {
    config: Arc<DeploymentConfig>,
    provider: Option<Arc<PythonProvider>>,
    pool: Mutex<Option<OwnPool>>,
}

/// A pool and the process that made it.
///
/// In a forked child the parent's connections are the parent's: closing an async one would take it
/// out of the poller, which both processes share. So a child forgets them, whether it uses the
/// client or only lets go of it.
struct OwnPool {
    owner: u32,
    /// Always there until this is dropped.
    pool: Option<Arc<Pool>>,
}

impl OwnPool {
    fn new(pool: Arc<Pool>) -> Self {
        Self {
            owner: std::process::id(),
            pool: Some(pool),
        }
    }

    fn is_ours(&self) -> bool {
        self.owner == std::process::id()
    }
}

impl Drop for OwnPool {
    fn drop(&mut self) {
        if !self.is_ours() {
            std::mem::forget(self.pool.take());
        }
    }
}

#[pymethods]
impl Client {
    /// A client of what `settings` (a JSON object of the store's configuration) says; it does
    /// not connect yet.
    #[new]
    fn new(py: Python<'_>, settings: &str) -> PyResult<Self> {
        let config = supported(settings)?;
        let provider = config.provider.as_ref();
        Ok(Self {
            provider: provider
                .map(|settings| PythonProvider::new(py, settings))
                .transpose()?,
            config: Arc::new(config),
            pool: Mutex::new(None),
        })
    }

    /// What there is to say about the configuration: settings that are ignored, and why.
    #[getter]
    fn notices(&self) -> Vec<String> {
        self.config.notices.clone()
    }

    /// Reads the plan's features for `rows` rows of join-key values, on the calling thread.
    fn read(
        &self,
        py: Python<'_>,
        plan: &Plan,
        keys: Vec<PyRef<'_, KeyColumn>>,
        rows: usize,
        strict: bool,
    ) -> PyResult<Answer> {
        let (plan, schemas, keys) = (plan.built(), plan.schemas(), owned(&keys));
        self.run(py, |client, pool, interrupt| {
            let deadline = Deadline::after(client.config.node.request_timeout);
            let read = Read::new(plan, keys, rows, strict, client.config.node.max_reply_bytes)?;
            read.run(pool, deadline, interrupt)
        })
        .map(|features| Answer::new(features, schemas))
    }

    /// Reads as `read` does, as a task whose outcome goes to `completions` under `token`.
    fn read_async(
        &self,
        plan: &Plan,
        keys: Vec<PyRef<'_, KeyColumn>>,
        rows: usize,
        strict: bool,
        completions: &Completions,
        token: u64,
    ) -> PyResult<Task> {
        let (plan, schemas, keys) = (plan.built(), plan.schemas(), owned(&keys));
        let (pool, limit) = (self.pool(), self.config.node.max_reply_bytes);
        let deadline = Deadline::after(self.config.node.request_timeout);
        spawn(completions.queue(), token, async move {
            let read = Read::new(plan, keys, rows, strict, limit)?;
            let features = read.run_async(&pool, deadline).await?;
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
        self.run(py, |client, pool, interrupt| {
            let deadline = Deadline::after(client.config.node.request_timeout);
            Read::of_keys(plan, keys, ends, client.config.node.max_reply_bytes)
                .run(pool, deadline, interrupt)
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
        let (pool, limit) = (self.pool(), self.config.node.max_reply_bytes);
        let deadline = Deadline::after(self.config.node.request_timeout);
        spawn(completions.queue(), token, async move {
            let read = Read::of_keys(plan, keys, ends, limit);
            let features = read.run_async(&pool, deadline).await?;
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
        self.run(py, |_, pool, interrupt| {
            write::check_server(policy, pool, interrupt)?;
            write::write(rows, policy, pool, interrupt)
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
        let (rows, policy, pool) = (batch.take()?, policy.0, self.pool());
        spawn(completions.queue(), token, async move {
            write::check_server_async(policy, &pool).await?;
            let counts = write::write_async(rows, policy, &pool).await?;
            Ok(outcome(move |py| {
                (counts.skipped, counts.replies).into_py_any(py)
            }))
        })
    }

    /// Runs commands (lists of bytes) in one pipeline and returns their replies: int, str for a
    /// status, bytes, None, or a list.
    ///
    /// Raises `ServerError` with the server's words for the first command that it refused.
    fn execute<'py>(
        &self,
        py: Python<'py>,
        commands: Vec<Vec<Vec<u8>>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let replies = self.run(py, |client, pool, interrupt| {
            let mut pipeline = Commands::default();
            for command in &commands {
                let parts: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                pipeline.push(&parts);
            }
            let mut replies = Replies::new(pipeline.len(), client.config.node.max_reply_bytes);
            pool.run(&pipeline, &mut replies, Deadline::NEVER, interrupt)?;
            Ok(replies.into_vec())
        })?;
        let objects = commands
            .iter()
            .zip(replies)
            .map(|(command, reply)| {
                let refused = |words: &str| {
                    let name = command.first().map_or(&b""[..], Vec::as_slice);
                    Error::new(
                        ErrorKind::Server,
                        format!(
                            "redis at {}: refused {}: {words}",
                            self.config.node.address,
                            name.escape_ascii()
                        ),
                    )
                };
                reply_object(py, reply, &refused)
            })
            .collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, objects)
    }
}

impl Client {
    /// The pool of this process. Called with the GIL held, as is `fork`, so that the lock is free
    /// in a child.
    pub fn pool(&self) -> Arc<Pool> {
        let mut current = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = &*current
            && own.is_ours()
            && let Some(pool) = &own.pool
        {
            return pool.clone();
        }
        let provider = self.provider.clone();
        let config = self
            .config
            .in_process(provider.map(|provider| provider as _));
        let pool = Arc::new(Pool::new(config.node));
        *current = Some(OwnPool::new(pool.clone()));
        pool
    }

    /// Runs blocking work with this process' pool, without the GIL.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Self, &Pool, &dyn Fn() -> Result<()>) -> Result<T> + Send,
    ) -> PyResult<T> {
        let pool = self.pool();
        with_signals(py, |interrupt| work(self, &pool, interrupt))
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
                Error::new(ErrorKind::Connection, "interrupted by a signal")
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
    supported(settings)?;
    Ok(())
}

/// The deployment that `settings` describe, if there is a client for it.
fn supported(settings: &str) -> Result<DeploymentConfig> {
    let config = DeploymentConfig::from_json(settings)?;
    let kind = match config.kind {
        DeploymentKind::Standalone => return Ok(config),
        DeploymentKind::Cluster => "redis_cluster",
        DeploymentKind::Sentinel => "redis_sentinel",
    };
    Err(Error::new(
        ErrorKind::Config,
        format!(
            "redis_type: {kind} is not supported by this version of feast-rs yet, only a \
             standalone server is; keep `type: redis`, Feast's own store, for this deployment for \
             now"
        ),
    ))
}
