"""Feast's local engine, with its last step written in Rust.

It plans and runs whatever a feature view asks for (transformations, aggregations, filters, joins
of other views) on whole tables in pandas; only the rows that come out go another way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.arrow_table_value import ArrowTableValue
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.feature_builder import LocalFeatureBuilder
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.compute_engines.local.local_node import LocalNode

from feast_rs.sources import SourceColumns

if TYPE_CHECKING:
    from collections.abc import Callable

    from feast import FeatureView

__all__ = [
    "LocalComputeEngine",
    "LocalMaterializationJob",
    "MaterializationTask",
    "failed",
    "reason_for_local",
    "run_local",
    "source_columns",
    "succeeded",
]


def reason_for_local(view: FeatureView) -> str | None:
    """Why a feature view's rows have to be made by Feast's local engine; None where they are the
    source's own."""
    if view.source_views:
        return "it is derived from other feature views"
    if view.data_source is None:
        return "it has no source of its own"
    if getattr(view, "feature_transformation", None):
        return "it has a transformation"
    if getattr(view, "aggregations", None):
        return "it has aggregations"
    if getattr(view, "filter", None):
        return "it has a filter"
    if getattr(view, "enable_validation", False):
        return "its rows are validated"
    if getattr(view, "offline", False):
        return "its rows are written to the offline store too"
    return None


def source_columns(engine: LocalComputeEngine, registry: Any, task: Any) -> SourceColumns:
    """The columns that the task's view needs, by their names in the source."""
    view = task.feature_view
    info = _builder(engine, registry, task, LocalFeatureBuilder).get_column_info(view)
    created = info.created_ts_col or None
    # Feast's list of features lacks a feature that is the created timestamp too.
    name = (view.batch_source.field_mapping or {}).get(created, created)
    return SourceColumns(
        list(info.join_keys),
        list(info.feature_cols),
        info.ts_col,
        created,
        created is not None and any(field.name == name for field in view.features),
    )


def run_local(
    engine: LocalComputeEngine,
    registry: Any,
    task: Any,
    write: Callable[[pa.Table], None],
) -> None:
    """Runs Feast's plan for the task, and hands the rows that it makes to `write`."""

    class Builder(LocalFeatureBuilder):
        def build_output_nodes(self, view: Any, input_node: Any) -> Any:
            node = _OutputNode(self.dag_root.view, write, input_node)
            self.nodes.append(node)
            return node

    context = engine.get_execution_context(registry, task)
    _builder(engine, registry, task, Builder).build().execute(context)


def succeeded(task: Any) -> LocalMaterializationJob:
    """The job of a task that is done."""
    return LocalMaterializationJob(_job_id(task), MaterializationJobStatus.SUCCEEDED)


def failed(task: Any, error: Exception) -> LocalMaterializationJob:
    """The job of a task that failed; Feast raises its error."""
    return LocalMaterializationJob(_job_id(task), MaterializationJobStatus.ERROR, error)


class _OutputNode(LocalNode):
    """Writes what the plan made: to the online store through `write`, and to the offline store
    as Feast's own node does it."""

    def __init__(self, view: Any, write: Callable[[pa.Table], None], input_node: Any) -> None:
        super().__init__("output", inputs=[input_node])
        self._view = view
        self._write = write

    def execute(self, context: Any) -> ArrowTableValue:
        table = self.get_single_table(context).data
        if table.num_rows:
            if self._view.online:
                self._write(table)
            if self._view.offline:
                context.offline_store.offline_write_batch(
                    config=context.repo_config,
                    feature_view=self._view,
                    table=table,
                    progress=lambda rows: None,
                )
        return ArrowTableValue(table)


def _builder(
    engine: LocalComputeEngine, registry: Any, task: Any, kind: type[LocalFeatureBuilder]
) -> LocalFeatureBuilder:
    context = engine.get_execution_context(registry, task)
    return kind(registry, task, backend=engine._get_backend(context))


def _job_id(task: Any) -> str:
    return f"{task.feature_view.name}-{task.start_time}-{task.end_time}"
