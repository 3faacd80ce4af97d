"""The compute engine that Feast is pointed at by ``type: feast_rs.StreamingComputeEngine``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa
from feast import FeatureView, utils
from feast.repo_config import FeastConfigBaseModel
from pydantic import Field, ValidationError, field_validator

from feast_rs import local_engine
from feast_rs.errors import ConfigError
from feast_rs.local_engine import LocalComputeEngine
from feast_rs.online_store import RedisOnlineStore
from feast_rs.progress import Mode, Progress, logger
from feast_rs.reports import ViewReport, collect
from feast_rs.sources import Range, open_source
from feast_rs.writing import RETRY_SECONDS, RowWriter, WriteReport

__all__ = ["StreamingComputeEngine", "StreamingComputeEngineConfig"]


class StreamingComputeEngineConfig(FeastConfigBaseModel):
    """Configuration of :class:`feast_rs.StreamingComputeEngine`."""

    type: Literal[
        "feast_rs.StreamingComputeEngine", "feast_rs.compute_engine.StreamingComputeEngine"
    ] = "feast_rs.StreamingComputeEngine"
    """Selects this engine."""

    progress: Mode = "auto"
    """Whether to show a progress bar: ``on``, ``off``, or if standard error is a terminal."""

    @field_validator("progress", mode="before")
    @classmethod
    def _word_of_yaml(cls, progress: object) -> object:
        """``on`` and ``off`` are booleans in YAML unless they are quoted."""
        return {True: "on", False: "off"}[progress] if isinstance(progress, bool) else progress

    batch_rows: int = Field(default=32_768, ge=1)
    """Rows of a record batch. A few batches are in memory at a time."""

    latest_memory_mb: int = Field(default=64, ge=1)
    """Megabytes for finding the latest row of each entity. With more entities than fit, the keys
    of the source are read more than once."""

    log_seconds: float = Field(default=30, ge=0)
    """Seconds between the log lines of a view that is materialized; 0 for only the last one."""

    retry_seconds: float = Field(default=RETRY_SECONDS, ge=0)
    """How long a failure of Redis that may pass is met by further attempts."""

    backend: str | None = None
    """The local engine's: ``pandas`` or ``polars``, for the views that it makes the rows of."""


class StreamingComputeEngine(LocalComputeEngine):
    """Feast's compute engine, from the offline store to Redis in record batches.

    What a feature view's source has is read, reduced to each entity's latest row and written a
    few batches at a time. Views whose rows have to be computed first are computed by Feast's
    local engine, which this class is otherwise.
    """

    def __init__(
        self, *, repo_config: Any, offline_store: Any, online_store: Any, **settings: Any
    ) -> None:
        """Takes what Feast's provider gives, and the ``batch_engine`` section's settings.

        Raises:
            ConfigError: A setting is unknown or of a wrong type.
        """
        try:
            self.settings = StreamingComputeEngineConfig(**settings)
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
            ]
            raise ConfigError(f"batch_engine: {'; '.join(faults)}") from None
        super().__init__(
            backend=self.settings.backend,
            repo_config=repo_config,
            offline_store=offline_store,
            online_store=online_store,
        )

    def _materialize_one(
        self, registry: Any, task: local_engine.MaterializationTask, **kwargs: Any
    ) -> local_engine.LocalMaterializationJob:
        if not isinstance(self.online_store, RedisOnlineStore):
            logger.warning(
                "view=%s is left to Feast's local engine, since online_store.type is not "
                "feast_rs.RedisOnlineStore",
                task.feature_view.name,
            )
            return super()._materialize_one(registry, task, **kwargs)
        try:
            _Run(self, registry, task).run()
        except Exception as error:
            return local_engine.failed(task, error)
        return local_engine.succeeded(task)


class _Run:
    """One feature view's materialization."""

    def __init__(self, engine: StreamingComputeEngine, registry: Any, task: Any) -> None:
        self._engine = engine
        self._registry = registry
        self._task = task
        self._view: FeatureView = task.feature_view
        self._local_reason = local_engine.reason_for_local(self._view)
        self._start = time.monotonic()
        # Rows of the source, where they are more than those that were given to the writer.
        self._rows_read = 0
        self._written: WriteReport | None = None

    def run(self) -> None:
        settings = self._engine.settings
        progress = Progress(
            self._view.name, self._task.tqdm_builder, settings.progress, settings.log_seconds
        )
        try:
            if self._local_reason is None:
                self._stream(progress)
            else:
                self._run_local(progress)
        except BaseException as error:
            self._end(progress, error)
            raise
        else:
            self._end(progress, None)

    def _stream(self, progress: Progress) -> None:
        if not self._view.online:
            return
        engine, task = self._engine, self._task
        columns = local_engine.source_columns(engine, self._registry, task)
        source = open_source(
            self._view,
            columns,
            Range(
                utils.make_tzaware(task.start_time),
                utils.make_tzaware(task.end_time),
                task.only_latest,
            ),
            engine.offline_store,
            engine.repo_config,
            engine.settings.batch_rows,
            engine.settings.latest_memory_mb << 20,
        )
        try:
            source.prepare(progress)
            progress.begin("rows", source.rows_expected)
            self._write(map(self._renamed, source.batches()), progress)
        finally:
            self._rows_read = source.rows_read

    def _run_local(self, progress: Progress) -> None:
        logger.info(
            "view=%s goes through Feast's local engine, since %s",
            self._view.name,
            self._local_reason,
        )

        def write(table: pa.Table) -> None:
            progress.begin("rows", table.num_rows)
            self._write(iter(table.to_batches(self._engine.settings.batch_rows)), progress)

        local_engine.run_local(self._engine, self._registry, self._task, write)

    def _write(self, batches: Iterator[pa.RecordBatch], progress: Progress) -> None:
        engine = self._engine
        online_store: Any = engine.online_store
        writer = RowWriter(
            online_store,
            engine.repo_config,
            self._view,
            retry_seconds=engine.settings.retry_seconds,
        )
        try:
            with writer:
                for batch in batches:
                    if batch.num_rows:
                        self._rows_read += batch.num_rows
                        writer.write(batch)
                        progress.sent(batch.num_rows, writer.progress())
                writer.finish()
        finally:
            self._written = writer.progress()

    def _renamed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The source's columns by the names that the view has for them."""
        source: Any = self._view.batch_source
        mapping = source.field_mapping or {}
        names = [mapping.get(name, name) for name in batch.schema.names]
        return pa.RecordBatch.from_arrays(batch.columns, names=names)

    def _end(self, progress: Progress, error: BaseException | None) -> None:
        report = ViewReport.of(
            "streaming" if self._local_reason is None else "local",
            self._view,
            self._task.start_time,
            self._task.end_time,
            self._start,
            self._written,
            error,
            self._rows_read,
        )
        progress.finished(report)
        progress.close()
        collect(report)
