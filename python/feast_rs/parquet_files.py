"""Parquet files as a stream of record batches, without a whole row group in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from feast_rs.errors import SourceError, SourceNotFoundError

# Bytes that are read at a time: of each column of a local file; of all columns of a remote one,
# where a read takes as long as a round trip.
_LOCAL_READ = 128 << 10
_REMOTE_READS = 64 << 20

# What is taken for a Parquet file in a directory, as in Dask.
_SUFFIXES = (".parquet", ".parq", ".pq")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_INT64 = (-(2**63), 2**63 - 1)


@dataclass(frozen=True)
class _File:
    """A file, and what is wanted of it."""

    path: str
    metadata: pq.FileMetaData
    columns: frozenset[str]
    row_groups: list[int]
    rows: int
    constants: dict[str, pa.Scalar]
    """The values in its path, where directories are named ``column=value``."""


class ParquetFiles:
    """The files of a path: one file, a directory, or a pattern.

    A column has one type, that of all files; one that a file lacks is null there.
    """

    def __init__(
        self, view: str, path: str, filesystem: Any, fragments: list[Any], batch_rows: int
    ) -> None:
        self._view = view
        self.path = path
        self._filesystem = filesystem
        self._fragments = fragments
        self._batch_rows = batch_rows
        constants = [ds.get_partition_keys(part.partition_expression) for part in fragments]
        schemas = [part.physical_schema.remove_metadata() for part in fragments]
        for values in constants[:1]:
            names = [name for name in values if name not in schemas[0].names]
            schemas.append(pa.schema([(name, pa.scalar(values[name]).type) for name in names]))
        try:
            self._schema = pa.unify_schemas(schemas, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as cause:
            raise SourceError(
                f"feature view {view}: the files of {path} differ in their columns' types: {cause}"
            ) from cause
        self._files = [
            _File(
                part.path,
                part.metadata,
                frozenset(part.physical_schema.names),
                list(range(part.metadata.num_row_groups)),
                part.metadata.num_rows,
                {name: pa.scalar(value) for name, value in values.items()},
            )
            for part, values in zip(fragments, constants, strict=True)
        ]
        self._event_timestamp: str | None = None
        self._bounds: tuple[int, int] = _INT64

    @classmethod
    def find(cls, view: str, source: Any, repo_path: Any, batch_rows: int) -> ParquetFiles:
        """The files of a ``feast.FileSource``.

        Raises:
            SourceNotFoundError: There are none.
            SourceError: One cannot be read.
        """
        uri = source.get_uri_for_file_path(repo_path, source.file_options.uri)
        try:
            filesystem, path = _filesystem(source, uri)
            paths = _paths(filesystem, path)
            if not paths:
                raise SourceNotFoundError(f"feature view {view}: no Parquet file at {source.path}")
            dataset = ds.dataset(
                paths, filesystem=filesystem, format="parquet", partitioning="hive"
            )
            fragments = list(dataset.get_fragments())
            for fragment in fragments:
                fragment.ensure_complete_metadata()
        except FileNotFoundError as cause:
            if isinstance(cause, SourceNotFoundError):
                raise
            raise SourceNotFoundError(
                f"feature view {view}: no Parquet file at {source.path}"
            ) from cause
        except (pa.ArrowException, OSError) as cause:
            raise _unreadable(view, source.path, cause) from cause
        return cls(view, source.path, filesystem, fragments, batch_rows)

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return list(self._schema.names)

    def type_of(self, column: str) -> pa.DataType:
        """A column's type."""
        return self._schema.field(column).type

    @property
    def rows(self) -> int:
        """Rows of the row groups that are looked at."""
        return sum(file.rows for file in self._files)

    def limit(self, event_timestamp: str, start: datetime, end: datetime) -> None:
        """Leaves out the rows before `start` and after `end`, and row groups that have no others.

        A timestamp without zone is UTC, as in Feast.
        """
        kind = self.type_of(event_timestamp)
        self._event_timestamp = event_timestamp
        self._bounds = _whole_units(start, end, _PER_SECOND[kind.unit])
        files = []
        for file, fragment in zip(self._files, self._fragments, strict=True):
            schema = fragment.physical_schema
            if event_timestamp not in schema.names:
                continue
            stored = schema.field(event_timestamp).type
            if not pa.types.is_timestamp(stored):
                files.append(file)
                continue
            low, high = _whole_units(start, end, _PER_SECOND[stored.unit])
            column = ds.field(event_timestamp)
            kept = fragment.subset(
                (column >= pa.scalar(low, stored)) & (column <= pa.scalar(high, stored)),
                schema=schema,
            ).row_groups
            if kept:
                files.append(
                    _File(
                        file.path,
                        file.metadata,
                        file.columns,
                        [group.id for group in kept],
                        sum(group.num_rows for group in kept),
                        file.constants,
                    )
                )
        self._files = files

    def scan(self, names: list[str]) -> Iterator[pa.RecordBatch]:
        """The rows' columns of these names, in this order; the same rows in the same order at
        each call, unless the files change.

        Raises:
            SourceError: A file cannot be read.
        """
        schema = pa.schema([self._schema.field(name) for name in names])
        needed = set(names)
        if self._event_timestamp is not None:
            needed.add(self._event_timestamp)
        for file in self._files:
            try:
                yield from self._scan_file(file, sorted(needed), schema)
            except (pa.ArrowException, OSError) as cause:
                raise _unreadable(self._view, file.path, cause) from cause

    def _scan_file(
        self, file: _File, needed: list[str], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        stored = [name for name in needed if name in file.columns]
        read = _LOCAL_READ
        if self._filesystem.type_name != "local":
            read = max(read, _REMOTE_READS // max(1, len(stored)))
        with self._filesystem.open_input_file(file.path) as handle:
            # pre_buffer would hold all row groups that were read.
            reader = pq.ParquetFile(
                handle, metadata=file.metadata, buffer_size=read, pre_buffer=False
            )
            for batch in reader.iter_batches(
                batch_size=self._batch_rows, row_groups=file.row_groups, columns=stored
            ):
                batch = self._in_range(batch)
                if batch.num_rows:
                    columns = [_column(batch, field, file.constants) for field in schema]
                    yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _in_range(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self._event_timestamp is None:
            return batch
        times = batch.column(self._event_timestamp)
        times = times.cast(self.type_of(self._event_timestamp)).cast(pa.int64())
        low, high = (pa.scalar(bound, pa.int64()) for bound in self._bounds)
        inside = pc.and_(pc.greater_equal(times, low), pc.less_equal(times, high))
        if inside.null_count == 0 and pc.all(inside).as_py() is not False:
            return batch
        return batch.filter(inside)


def _column(batch: pa.RecordBatch, field: pa.Field, constants: dict[str, pa.Scalar]) -> pa.Array:
    place = batch.schema.get_field_index(field.name)
    if place >= 0:
        column = batch.column(place)
        return column if column.type == field.type else column.cast(field.type)
    value = constants.get(field.name)
    if value is None:
        return pa.nulls(batch.num_rows, field.type)
    return pa.repeat(value.cast(field.type), batch.num_rows)


def _whole_units(start: datetime, end: datetime, per_second: int) -> tuple[int, int]:
    """The first and the last whole unit since the epoch from `start` to `end`."""
    # Airflow's times are pendulum's, whose difference is no plain timedelta.
    first, last = (
        datetime.__sub__(moment, _EPOCH) // timedelta(microseconds=1) for moment in (start, end)
    )
    low = -(-first * per_second // 10**6)
    high = last * per_second // 10**6
    return max(low, _INT64[0]), min(high, _INT64[1])


def _filesystem(source: Any, uri: str) -> tuple[Any, str]:
    """The file system of a path, and the path in it: Arrow's own where it has one, as Feast does
    it; else fsspec's."""
    from fsspec.core import url_to_fs
    from pyarrow import fs

    credentials = getattr(source, "resolve_credentials", lambda: None)()
    arguments = [uri, source.file_options.s3_endpoint_override]
    if credentials:
        arguments.append(credentials)
    filesystem, path = source.create_filesystem_and_path(*arguments)
    if filesystem is not None:
        return filesystem, path
    if "://" not in path:
        return fs.LocalFileSystem(), path
    try:
        found, path = fs.FileSystem.from_uri(path)
        return found, path
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        other, path = url_to_fs(path)
        return fs.PyFileSystem(fs.FSSpecHandler(other)), path


def _paths(filesystem: Any, path: str) -> list[str]:
    """The files of a path, sorted."""
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs

    if "*" in path:
        return sorted(ArrowFSWrapper(filesystem).glob(path))
    info = filesystem.get_file_info(path)
    if info.type != fs.FileType.Directory:
        return [path] if info.type == fs.FileType.File else []
    found = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    return sorted(entry.path for entry in found if _is_data(entry, path))


def _is_data(entry: Any, directory: str) -> bool:
    """Whether a directory's entry is a file of rows: names with a dot or an underscore in front
    are not."""
    parts = PurePosixPath(entry.path).relative_to(directory).parts
    hidden = any(part.startswith((".", "_")) for part in parts)
    return entry.is_file and not hidden and entry.path.endswith(_SUFFIXES)


def _unreadable(view: str, path: str, cause: BaseException) -> SourceError:
    return SourceError(f"feature view {view}: {path} cannot be read: {cause}")
