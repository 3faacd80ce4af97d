"""Offline stores whose retrieval jobs hand over rows in each way that a job can."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa
from feast.infra.offline_stores.dask import DaskOfflineStore, DaskOfflineStoreConfig
from feast.infra.offline_stores.offline_store import RetrievalJob

ROWS_OF_CHUNK = 30


class ChunkedJob(RetrievalJob):
    """A job whose table has several chunks."""

    def __init__(self, job: RetrievalJob) -> None:
        self._job = job

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return pa.Table.from_batches(self._job.to_arrow().to_batches(ROWS_OF_CHUNK))

    def _to_df_internal(self, timeout: int | None = None) -> Any:
        return self._job.to_df()

    full_feature_names = False
    on_demand_feature_views: list[Any] = []  # noqa: RUF012


class TablesJob(ChunkedJob):
    """A job that can hand over tables, as Snowflake's."""

    def to_arrow_batches(self) -> Iterator[pa.Table]:
        for batch in self.to_arrow().to_batches():
            yield pa.Table.from_batches([batch])


class BatchesJob(ChunkedJob):
    """A job that can hand over record batches."""

    def to_arrow_batches(self) -> Iterator[pa.RecordBatch]:
        yield from self.to_arrow().to_batches()


class WholeOfflineStoreConfig(DaskOfflineStoreConfig):
    type: Literal["tests.support.offline_stores.WholeOfflineStore"]  # type: ignore[assignment]


class TablesOfflineStoreConfig(DaskOfflineStoreConfig):
    type: Literal["tests.support.offline_stores.TablesOfflineStore"]  # type: ignore[assignment]


class BatchesOfflineStoreConfig(DaskOfflineStoreConfig):
    type: Literal["tests.support.offline_stores.BatchesOfflineStore"]  # type: ignore[assignment]


class WholeOfflineStore(DaskOfflineStore):
    @staticmethod
    def pull_latest_from_table_or_query(**arguments: Any) -> RetrievalJob:  # type: ignore[override]
        return ChunkedJob(DaskOfflineStore.pull_latest_from_table_or_query(**arguments))


class TablesOfflineStore(DaskOfflineStore):
    @staticmethod
    def pull_latest_from_table_or_query(**arguments: Any) -> RetrievalJob:  # type: ignore[override]
        return TablesJob(DaskOfflineStore.pull_latest_from_table_or_query(**arguments))


class BatchesOfflineStore(DaskOfflineStore):
    @staticmethod
    def pull_latest_from_table_or_query(**arguments: Any) -> RetrievalJob:  # type: ignore[override]
        return BatchesJob(DaskOfflineStore.pull_latest_from_table_or_query(**arguments))
