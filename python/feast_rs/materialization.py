"""Materialization that tells what it wrote."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, cast

from feast import FeatureStore

from feast_rs.compute_engine import StreamingComputeEngine
from feast_rs.errors import ArgumentError, ConfigError, MaterializationError
from feast_rs.online_store import RedisOnlineStore
from feast_rs.reports import COLLECTED, MaterializationReport, ViewReport, collect
from feast_rs.row_columns import record_batches
from feast_rs.writing import RowWriter, WriteReport


def materialize(
    store: FeatureStore,
    start: datetime,
    end: datetime,
    views: Sequence[str] | None = None,
    **options: Any,
) -> MaterializationReport:
    """``store.materialize``, through :class:`feast_rs.StreamingComputeEngine`, with a report.

    Everything is done by Feast's own method, which also keeps the registry's marks. A store that
    is configured for another compute engine uses this one for this call.

    Args:
        store: A store whose ``online_store.type`` is ``feast_rs.RedisOnlineStore``.
        start: The first event timestamp; UTC if it has no zone.
        end: The last event timestamp, which is included.
        views: The feature views' names; by default all.
        options: Further arguments of ``FeatureStore.materialize``.

    Returns:
        A :class:`feast_rs.ViewReport` by view. Its ``to_dict`` is made for JSON, such as
        Airflow's XCom.

    Raises:
        MaterializationError: A view failed. The message names it, ``reports`` has the views that
            ran, and the cause is what Feast's method would have raised.
        ArgumentError: ``views`` is a text.
        ConfigError: The store cannot be materialized by this engine.
    """
    return _reported(
        store,
        lambda own: own.materialize(start, end, _listed(views), **options),
    )


def materialize_incremental(
    store: FeatureStore, end: datetime, views: Sequence[str] | None = None, **options: Any
) -> MaterializationReport:
    """``store.materialize_incremental`` with a report; see :func:`feast_rs.materialize`.

    Each view begins where its last materialization ended. That mark moves after the last row was
    acknowledged.
    """
    return _reported(
        store,
        lambda own: own.materialize_incremental(end, _listed(views), **options),
    )


def _listed(views: Sequence[str] | None) -> list[str] | None:
    if isinstance(views, str):
        raise ArgumentError(f"views must be a list of names, not the text {views!r}")
    return None if views is None else list(views)


def _reported(store: FeatureStore, run: Callable[[FeatureStore], None]) -> MaterializationReport:
    own = _own(store)
    reports: list[ViewReport] = []
    token = COLLECTED.set(reports)
    try:
        run(own)
    except Exception as cause:
        if not reports:
            raise
        raise MaterializationError(
            _explain(reports, cause), MaterializationReport(reports)
        ) from cause
    finally:
        COLLECTED.reset(token)
    return MaterializationReport(reports)


def _explain(reports: list[ViewReport], cause: Exception) -> str:
    last = reports[-1]
    if last.error is None:
        return f"materialization failed after feature view {last.view} was written: {cause}"
    return f"feature view {last.view} failed after {last.rows_written} rows were written: {cause}"


def _own(store: FeatureStore) -> FeatureStore:
    """A store with the streaming engine for one call; all else it shares with the given one."""
    if getattr(store.config.online_store, "type", None) == "remote":
        raise ConfigError(
            "a remote online store is materialized by its server, which reports nothing"
        )
    provider: Any = store._get_provider()
    if not isinstance(provider.online_store, RedisOnlineStore):
        raise ConfigError(
            "feast_rs.materialize writes to Redis through feast-rs: set online_store.type to "
            "feast_rs.RedisOnlineStore"
        )
    engine = provider.batch_engine
    if not isinstance(engine, StreamingComputeEngine):
        if not hasattr(provider, "_batch_engine"):
            raise ConfigError(
                f"the provider {type(provider).__name__} makes its own compute engine: set "
                "batch_engine.type to feast_rs.StreamingComputeEngine"
            )
        engine = StreamingComputeEngine(
            repo_config=store.config,
            offline_store=provider.offline_store,
            online_store=provider.online_store,
        )
    own_provider = copy.copy(provider)
    own_provider._batch_engine = engine
    # Made at the first use, which has to be before the copy for both to have the same.
    _ = store.registry
    own_store: Any = copy.copy(store)
    own_store._provider = own_provider
    _OnDemandViews(own_store, own_provider)
    return cast(FeatureStore, own_store)


class _OnDemandViews:
    """The on-demand views that a store writes: Feast computes them outside of its compute engine.

    Stands in for two methods of a store and a provider that nobody else has.
    """

    def __init__(self, store: Any, provider: Any) -> None:
        self._config = store.config
        self._online_store = provider.online_store
        self._compute: Callable[..., None] | None = getattr(store, "_materialize_odfv", None)
        self._written: WriteReport | None = None
        if self._compute is not None:
            store._materialize_odfv = self._materialize
            provider.ingest_df = self._ingest

    def _materialize(self, view: Any, start: datetime, end: datetime, **options: Any) -> None:
        assert self._compute is not None
        began = time.monotonic()
        self._written = None
        try:
            self._compute(view, start, end, **options)
        except BaseException as error:
            collect(ViewReport.of("on-demand", view, start, end, began, self._written, error))
            raise
        collect(ViewReport.of("on-demand", view, start, end, began, self._written, None))

    def _ingest(self, view: Any, frame: Any, field_mapping: Any = None) -> None:
        writer = RowWriter(self._online_store, self._config, view)
        try:
            with writer:
                for batch in record_batches(frame, writer.names):
                    writer.write(batch)
                writer.finish()
        finally:
            self._written = writer.progress()
