"""Materialization that tells what it wrote."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from feast import FeatureStore

from feast_rs.compute_engine import StreamingComputeEngine
from feast_rs.errors import ConfigError, MaterializationError
from feast_rs.online_store import RedisOnlineStore
from feast_rs.reports import COLLECTED, MaterializationReport, ViewReport


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
        ConfigError: The store cannot be materialized by this engine.
    """
    return _reported(
        store,
        lambda streaming: streaming.materialize(start, end, _listed(views), **options),
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
        lambda streaming: streaming.materialize_incremental(end, _listed(views), **options),
    )


def _listed(views: Sequence[str] | None) -> list[str] | None:
    if isinstance(views, str):
        raise ConfigError(f"views must be a list of names, not the text {views!r}")
    return None if views is None else list(views)


def _reported(store: FeatureStore, run: Callable[[FeatureStore], None]) -> MaterializationReport:
    streaming = _streaming(store)
    reports: list[ViewReport] = []
    token = COLLECTED.set(reports)
    try:
        run(streaming)
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


def _streaming(store: FeatureStore) -> FeatureStore:
    """The store, or one like it that has the streaming engine; they share everything else."""
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
    if isinstance(provider.batch_engine, StreamingComputeEngine):
        return store
    if not hasattr(provider, "_batch_engine") or not hasattr(store, "_provider"):
        raise ConfigError(
            f"the provider {type(provider).__name__} makes its own compute engine: set "
            "batch_engine.type to feast_rs.StreamingComputeEngine"
        )
    streaming = copy.copy(provider)
    streaming._batch_engine = StreamingComputeEngine(
        repo_config=store.config,
        offline_store=provider.offline_store,
        online_store=provider.online_store,
    )
    other = copy.copy(store)
    other._provider = streaming
    return other
