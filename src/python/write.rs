//! Rows on their way to Redis, from Feast's protobuf form and from Arrow.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use pyo3_arrow::PyRecordBatch;

use super::client::{Client, with_signals};
use crate::entity_key::{KeyType, KeyVersion, parse_message};
use crate::error::{Error, ErrorKind};
use crate::event_time::EventTime;
use crate::value::FeastType;
use crate::write::rows::{RowBuilder, Rows, Target};
use crate::write::schema::{EventTimes, FeatureSource, KeySource, Partial};
use crate::write::{Counts, Newest, schema, stream};

/// How rows are written: `newest` is "compared", "atomic" or "assumed"; `key_ttl` is in seconds,
/// `field_ttl` too; `restores` lets a stream send rows of new entities as RESTORE.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct WritePolicy(pub crate::write::WritePolicy);

#[pymethods]
impl WritePolicy {
    #[new]
    #[pyo3(signature = (newest, key_ttl=None, renew_skipped=false, field_ttl=None, restores=false))]
    fn new(
        newest: &str,
        key_ttl: Option<u64>,
        renew_skipped: bool,
        field_ttl: Option<f64>,
        restores: bool,
    ) -> PyResult<Self> {
        let unknown = |what: &str| Error::new(ErrorKind::Argument, what.to_owned());
        Ok(Self(crate::write::WritePolicy {
            newest: match newest {
                "compared" => Newest::Compared,
                "atomic" => Newest::Atomic,
                "assumed" => Newest::Assumed,
                _ => return Err(unknown("newest is compared, atomic or assumed").into()),
            },
            key_ttl,
            renew_skipped,
            field_ttl: match field_ttl.map(Duration::try_from_secs_f64) {
                Some(Ok(life)) => Some(life),
                Some(Err(_)) => return Err(unknown("a time to live is negative").into()),
                None => None,
            },
            restores,
        }))
    }
}

/// Rows of one feature view on their way to Redis; written once.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct WriteBatch(Mutex<Option<RowBuilder>>);

#[pymethods]
impl WriteBatch {
    /// An empty batch for a view, named as it is stored.
    #[new]
    fn new(view: &str, project: &str, version: u32) -> PyResult<Self> {
        let target = Target::new(view, project, KeyVersion::try_from(version)?);
        Ok(Self(Mutex::new(Some(RowBuilder::new(target)))))
    }

    /// Adds a row: a serialized `EntityKey`, its event time, and serialized `Value`s by feature.
    fn add(
        &self,
        entity_key: &[u8],
        seconds: i64,
        nanos: i32,
        features: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let (join_keys, values) = parse_message(entity_key)?;
        let mut cells: Vec<(Bound<'_, PyString>, Bound<'_, PyBytes>)> =
            Vec::with_capacity(features.len());
        for (name, value) in features {
            cells.push((name.cast_into()?, value.cast_into()?));
        }
        let named: Vec<(Cow<'_, str>, &[u8])> = cells
            .iter()
            .map(|(name, value)| Ok((name.to_cow()?, value.as_bytes())))
            .collect::<PyResult<_>>()?;
        let named = named.iter().map(|(name, value)| (&**name, *value));
        match &mut *locked(&self.0) {
            Some(rows) => Ok(rows.push(join_keys, &values, EventTime { seconds, nanos }, named)?),
            None => Err(spent().into()),
        }
    }
}

impl WriteBatch {
    /// Takes the rows out, to be written.
    pub fn take(&self) -> Result<Rows, Error> {
        let builder = locked(&self.0).take().ok_or_else(spent)?;
        Ok(builder.finish())
    }
}

fn spent() -> Error {
    Error::new(ErrorKind::Argument, "the batch was written already")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which columns of a record batch make the rows of a feature view.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct RowSchema(Arc<schema::RowSchema>);

#[pymethods]
impl RowSchema {
    /// For a view, named as it is stored. `keys` are columns, join keys and value types; `features`
    /// are names and Feast types as text; `event_timestamp` is a column's name, or the one time of
    /// all rows in seconds and nanoseconds. `partial` rows may lack columns, and `skip_nulls`
    /// leaves null features as they are stored.
    #[new]
    #[pyo3(signature = (view, project, version, keys, features, event_timestamp, partial=false, skip_nulls=false))]
    #[expect(clippy::too_many_arguments, reason = "each is a part of what a row is")]
    fn new(
        view: &str,
        project: &str,
        version: u32,
        keys: Vec<(String, String, Option<String>)>,
        features: Vec<(String, String)>,
        event_timestamp: EventTimestamp,
        partial: bool,
        skip_nulls: bool,
    ) -> PyResult<Self> {
        let keys = keys
            .into_iter()
            .map(|(column, join_key, value_type)| {
                let declared = match value_type {
                    None => None,
                    Some(name) => Some(KeyType::from_name(&name).ok_or_else(|| {
                        Error::new(
                            ErrorKind::EntityKey,
                            format!("join key '{join_key}' has the type {name}, which cannot be part of an entity key"),
                        )
                    })?),
                };
                Ok(KeySource {
                    column,
                    join_key,
                    declared,
                })
            })
            .collect::<Result<_, Error>>()?;
        let features = features
            .into_iter()
            .map(|(name, dtype)| {
                let dtype: FeastType = dtype.parse()?;
                Ok(FeatureSource { name, dtype })
            })
            .collect::<Result<_, Error>>()?;
        let times = match event_timestamp {
            EventTimestamp::Column(name) => EventTimes::Column(name),
            EventTimestamp::All((seconds, nanos)) => EventTimes::All(EventTime { seconds, nanos }),
        };
        let schema = schema::RowSchema::new(
            Target::new(view, project, KeyVersion::try_from(version)?),
            keys,
            times,
            features,
            Partial {
                columns: partial,
                nulls: skip_nulls,
            },
        )?;
        Ok(Self(Arc::new(schema)))
    }

    /// The rows of a record batch, as one batch to be written.
    fn rows(&self, py: Python<'_>, batch: PyRecordBatch) -> PyResult<Vec<EncodedRows>> {
        let batch = batch.into_inner();
        let mut blocks = Vec::new();
        py.detach(|| {
            self.0.encode(&batch, |rows| {
                blocks.push(EncodedRows(Mutex::new(Some(rows))));
                Ok(())
            })
        })?;
        Ok(blocks)
    }
}

/// Encoded rows; written once.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct EncodedRows(Mutex<Option<Rows>>);

impl EncodedRows {
    /// Takes the rows out, to be written.
    pub fn take(&self) -> Result<Rows, Error> {
        locked(&self.0).take().ok_or_else(spent)
    }
}

/// A column's name, or one time for all rows.
#[derive(FromPyObject)]
enum EventTimestamp {
    Column(String),
    All((i64, i32)),
}

/// Record batches on their way to Redis, written by a thread while the next one is encoded.
#[pyclass(frozen, module = "feast_rs._core")]
pub struct WriteStream {
    schema: Arc<schema::RowSchema>,
    stream: stream::WriteStream,
}

/// Rows read, written, skipped and failed, bytes sent, and the newest event time.
type CountsTuple = (u64, u64, u64, u64, u64, Option<(i64, i32)>);

#[pymethods]
impl WriteStream {
    /// Starts a stream; `retry_seconds` bounds how long a failure that may pass is met by further
    /// attempts.
    #[new]
    fn new(
        py: Python<'_>,
        client: &Client,
        schema: &RowSchema,
        policy: &WritePolicy,
        retry_seconds: f64,
    ) -> PyResult<Self> {
        let deployment = client.deployment();
        let window = Duration::try_from_secs_f64(retry_seconds)
            .map_err(|cause| Error::new(ErrorKind::Argument, format!("retry_seconds: {cause}")))?;
        let policy = policy.0;
        let stream = with_signals(py, |interrupt| {
            stream::WriteStream::new(deployment, policy, window, interrupt)
        })?;
        Ok(Self {
            schema: schema.0.clone(),
            stream,
        })
    }

    /// Encodes a record batch and hands it over, once there is room; raises what befell an earlier
    /// one.
    fn write(&self, py: Python<'_>, batch: PyRecordBatch) -> PyResult<()> {
        let batch = batch.into_inner();
        let (stream, schema) = (&self.stream, &self.schema);
        with_signals(py, |interrupt| {
            schema.encode(&batch, |rows| stream.push(rows, interrupt))
        })
    }

    /// What became of the rows so far.
    fn counts(&self) -> PyResult<CountsTuple> {
        Ok(tuple(self.stream.counts()?))
    }

    /// Waits until every row is acknowledged.
    fn finish(&self, py: Python<'_>) -> PyResult<CountsTuple> {
        let stream = &self.stream;
        Ok(tuple(with_signals(py, |interrupt| {
            stream.finish(interrupt)
        })?))
    }

    /// Gives up what was not sent.
    fn abort(&self, py: Python<'_>) {
        let stream = &self.stream;
        py.detach(|| stream.abort());
    }
}

fn tuple(counts: Counts) -> CountsTuple {
    (
        counts.read,
        counts.written,
        counts.skipped,
        counts.failed,
        counts.bytes,
        counts.newest.map(|time| (time.seconds, time.nanos)),
    )
}
