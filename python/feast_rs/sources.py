"""The rows of a feature view's source, as a stream of record batches.

Parquet files are read here, some thousand rows at a time. Any other source is read through Feast's
offline store, which then finds the latest rows too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
from feast import FeatureView, RepoConfig
from feast.errors import FeastJoinKeysDuringMaterialization

from feast_rs import _core
from feast_rs.errors import SourceError
from feast_rs.parquet_files import ParquetFiles

if TYPE_CHECKING:
    from feast_rs.progress import Progress

# Offline stores that read Parquet files as they are. A subclass may read them in its own way.
_FILE_STORES = frozenset(
    {
        ("feast.infra.offline_stores.dask", "DaskOfflineStore"),
        ("feast.infra.offline_stores.duckdb", "DuckDBOfflineStore"),
    }
)


@dataclass(frozen=True)
class SourceColumns:
    """The columns that a feature view needs, by their names in the source."""

    join_keys: list[str]
    features: list[str]
    event_timestamp: str
    created_timestamp: str | None
    created_timestamp_is_feature: bool = False

    @property
    def of_order(self) -> list[str]:
        """Those that decide which row of an entity is the latest."""
        created = [self.created_timestamp] if self.created_timestamp else []
        return [*self.join_keys, self.event_timestamp, *created]

    @property
    def of_rows(self) -> list[str]:
        """Those that are written."""
        names = [*self.join_keys, *self.features, self.event_timestamp]
        if self.created_timestamp and self.created_timestamp_is_feature:
            names.append(self.created_timestamp)
        return list(dict.fromkeys(names))


@dataclass(frozen=True)
class Range:
    """What part of a source is wanted: both moments are in it, and have a zone."""

    start: datetime
    end: datetime
    only_latest: bool


class RowSource(Protocol):
    """Rows of one feature view's source in a time range, and how many of them were read."""

    rows_read: int
    rows_expected: int | None

    def prepare(self, progress: Progress) -> None:
        """Finds out what has to be known before the first row is written."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows to write, once."""


def open_source(
    view: FeatureView,
    columns: SourceColumns,
    wanted: Range,
    offline_store: Any,
    config: RepoConfig,
    batch_rows: int,
    memory_bytes: int,
) -> RowSource:
    """The way to read a view's source.

    Raises:
        SourceError: The source is not there, or lacks columns of the view.
        FeastJoinKeysDuringMaterialization: The source lacks a join key.
    """
    files = _parquet_files(view, columns, wanted, offline_store, config, batch_rows)
    if files is None:
        return OfflineStoreRows(view, columns, wanted, offline_store, config, batch_rows)
    if wanted.only_latest:
        return LatestParquetRows(view, columns, files, memory_bytes)
    return AllParquetRows(columns, files)


class AllParquetRows:
    """Every row of Parquet files."""

    def __init__(self, columns: SourceColumns, files: ParquetFiles) -> None:
        self._columns = columns
        self._files = files
        self.rows_read = 0
        self.rows_expected: int | None = files.rows

    def prepare(self, progress: Progress) -> None:
        """Nothing."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, file by file."""
        for batch in self._files.scan(self._columns.of_rows):
            self.rows_read += batch.num_rows
            yield batch


class LatestParquetRows:
    """Each entity's latest row of Parquet files, found by reading the keys and times ahead."""

    def __init__(
        self, view: FeatureView, columns: SourceColumns, files: ParquetFiles, memory_bytes: int
    ) -> None:
        self._view = view
        self._columns = columns
        self._files = files
        self._latest = _core.LatestRows(
            columns.join_keys,
            columns.event_timestamp,
            columns.created_timestamp,
            files.rows,
            memory_bytes,
        )
        self.rows_read = 0
        self.rows_expected: int | None = None

    def prepare(self, progress: Progress) -> None:
        """Finds the latest rows, in as many passes as the memory for it asks for."""
        number = 0
        # How many passes it takes shows on the way.
        while number < self._latest.passes:
            progress.begin("keys" if number == 0 else f"keys again ({number})", self._files.rows)
            self._latest.start(number)
            for batch in self._files.scan(self._columns.of_order):
                self._latest.add(batch)
                progress.scanned(batch.num_rows)
            number += 1
        self._latest.finish()
        self.rows_read = self._latest.rows
        self.rows_expected = self._latest.latest

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The latest rows, in the order of the files."""
        seen = 0
        for batch in self._files.scan(self._columns.of_rows):
            seen += batch.num_rows
            if seen > self.rows_read:
                break
            yield batch.filter(pa.array(self._latest.mask(batch.num_rows)))
        if seen != self.rows_read:
            raise SourceError(
                f"feature view {self._view.name}: the files of {self._files.path} changed while "
                "they were read; run the materialization again"
            )


class OfflineStoreRows:
    """Rows that Feast's offline store retrieves: batch by batch where its job can, else whole."""

    def __init__(
        self,
        view: FeatureView,
        columns: SourceColumns,
        wanted: Range,
        offline_store: Any,
        config: RepoConfig,
        batch_rows: int,
    ) -> None:
        self._columns = columns
        self._batch_rows = batch_rows
        # A query that is run twice need not answer in the same order, so that the rows cannot be
        # compared here. Finding the latest ones is what every offline store can do.
        pull = (
            offline_store.pull_latest_from_table_or_query
            if wanted.only_latest
            else offline_store.pull_all_from_table_or_query
        )
        self._job = pull(
            config=config,
            data_source=view.batch_source,
            join_key_columns=columns.join_keys,
            feature_name_columns=columns.features,
            timestamp_field=columns.event_timestamp,
            created_timestamp_column=columns.created_timestamp,
            start_date=wanted.start,
            end_date=wanted.end,
        )
        self._view = view
        self.rows_read = 0
        self.rows_expected: int | None = None

    def prepare(self, progress: Progress) -> None:
        """Nothing: the offline store does it."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The job's rows."""
        for part in self._parts():
            if isinstance(part, pa.RecordBatch):
                part = pa.Table.from_batches([part])
            check_columns(self._view, self._columns, part.column_names, "the offline store's rows")
            for batch in part.select(self._columns.of_rows).to_batches(self._batch_rows):
                self.rows_read += batch.num_rows
                yield batch

    def _parts(self) -> Iterator[Any]:
        in_batches = getattr(self._job, "to_arrow_batches", None)
        if in_batches is not None:
            yield from in_batches()
            return
        # An ibis expression, as of the DuckDB offline store.
        expression = getattr(self._job, "table", None)
        in_batches = getattr(expression, "to_pyarrow_batches", None)
        if in_batches is not None:
            yield from in_batches(chunk_size=self._batch_rows)
            return
        yield self._job.to_arrow()


def check_columns(
    view: FeatureView, columns: SourceColumns, present: list[str], place: str
) -> None:
    """Whether all columns are there.

    Raises:
        SourceError: Some are not.
        FeastJoinKeysDuringMaterialization: Some join keys are not.
    """
    found = set(present)
    if not found.issuperset(columns.join_keys):
        raise FeastJoinKeysDuringMaterialization(place, set(columns.join_keys), found)
    missing = [name for name in columns.of_rows if name not in found]
    if columns.created_timestamp and columns.created_timestamp not in found:
        missing.append(columns.created_timestamp)
    if missing:
        raise SourceError(
            f"feature view {view.name}: {place} has no column {', '.join(sorted(missing))}; it has "
            f"{', '.join(sorted(found))}"
        )


def _parquet_files(
    view: FeatureView,
    columns: SourceColumns,
    wanted: Range,
    offline_store: Any,
    config: RepoConfig,
    batch_rows: int,
) -> ParquetFiles | None:
    """The source as Parquet files; None where it is none, or one that only the offline store
    can read."""
    store = type(offline_store)
    if (store.__module__, store.__name__) not in _FILE_STORES:
        return None
    from feast import FileSource
    from feast.data_format import ParquetFormat

    source = view.batch_source
    if type(source) is not FileSource:
        return None
    if source.file_format is not None and not isinstance(source.file_format, ParquetFormat):
        return None
    files = ParquetFiles.find(view.name, source, config.repo_path, batch_rows)
    check_columns(view, columns, files.columns, source.path)
    times = [columns.event_timestamp, columns.created_timestamp]
    if not all(pa.types.is_timestamp(files.type_of(name)) for name in times if name):
        return None
    files.limit(columns.event_timestamp, wanted.start, wanted.end)
    return files
