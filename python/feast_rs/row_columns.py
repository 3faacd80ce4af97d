"""Arrow data as rows of a feature view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from feast import Field
from feast.types import String

from feast_rs import _core, dtypes, feast_compat
from feast_rs.errors import ArgumentError, EncodeError

if TYPE_CHECKING:
    from feast import RepoConfig

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class RowColumns:
    """Which columns of a record batch make the rows of a feature view."""

    def __init__(
        self, table: Any, config: RepoConfig, *, skip_nulls: bool = False, partial: bool = False
    ) -> None:
        on_demand = feast_compat.is_on_demand(table)
        self._table = table
        self._dummy = feast_compat.DUMMY_JOIN_KEY
        entity_columns = list(table.entity_columns)
        if not entity_columns and not on_demand:
            # Feast hides the join key of a view without entities in some of its listings.
            entity_columns = [Field(name=self._dummy, dtype=String)]
        self._keys = [field.name for field in entity_columns]
        # An on-demand view's rows have no time but that of their writing, and Feast writes null for
        # the features that its transformation did not give.
        self._nullable = [field.name for field in table.features] if on_demand else []
        event_timestamp: str | tuple[int, int]
        if on_demand:
            event_timestamp = instant(datetime.now(tz=timezone.utc))
        elif table.batch_source is None:
            raise ArgumentError(f"feature view '{table.name}' has no batch source")
        else:
            event_timestamp = table.batch_source.timestamp_field
        # Of on-demand views Feast stores the join keys among the features, too.
        stored = [*table.features, *(table.entity_columns if on_demand else [])]
        features = [field.name for field in table.features]
        time_column = [event_timestamp] if isinstance(event_timestamp, str) else []
        #: The columns that are looked at.
        self.names = frozenset([*self._keys, *features, *time_column])
        self.schema = _core.RowSchema(
            feast_compat.stored_view_name(table, config),
            config.project,
            config.entity_key_serialization_version,
            [
                (field.name, field.name, field.dtype.to_value_type().name)
                for field in entity_columns
            ],
            [(field.name, dtypes.spell(field.dtype)) for field in stored],
            event_timestamp,
            partial,
            skip_nulls,
        )

    def complete(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the columns that Feast adds by itself, and checked as Feast checks it."""
        feast_compat.check_vectors(batch, self._table)
        names = set(batch.schema.names)
        if self._dummy in self._keys and self._dummy not in names:
            batch = _with_column(batch, self._dummy, pa.repeat("", batch.num_rows))
        if self._nullable and names.isdisjoint(self._nullable):
            raise ArgumentError(
                f"on-demand feature view '{self._table.name}': none of its features "
                f"({', '.join(self._nullable)}) is a column of the data "
                f"({', '.join(batch.schema.names)}); what is written is what the view's "
                "transformation gives"
            )
        for name in self._nullable:
            if name not in names:
                batch = _with_column(batch, name, pa.nulls(batch.num_rows))
        if any(_is_cut_struct(column) for column in batch.columns):
            columns = [_whole(column) for column in batch.columns]
            batch = pa.RecordBatch.from_arrays(columns, batch.schema.names)
        return batch


def _with_column(batch: pa.RecordBatch, name: str, column: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([*batch.columns, column], [*batch.schema.names, name])


def _is_cut_struct(column: pa.Array) -> bool:
    return bool(column.offset > 0 and pa.types.is_struct(column.type))


def _whole(column: pa.Array) -> pa.Array:
    """A copy of a cut struct: arrow-rs, as of 59.3, cannot import a struct in one."""
    return column.take(pa.array(range(len(column)))) if _is_cut_struct(column) else column


def record_batches(data: Any, names: frozenset[str]) -> Iterator[pa.RecordBatch]:
    """The record batches of anything that holds Arrow data. Of pandas' frames, which have to be
    converted, only the columns of these names.

    Raises:
        EncodeError: A column cannot be converted.
        TypeError: There is no Arrow data.
    """
    if isinstance(data, pa.RecordBatch):
        yield data
    elif isinstance(data, (pa.Table, pa.RecordBatchReader)):
        yield from data.to_batches() if isinstance(data, pa.Table) else data
    elif type(data).__module__.startswith("pandas.") and hasattr(data, "columns"):
        yield from _of_pandas(data, names).to_batches()
    elif hasattr(data, "__arrow_c_stream__"):
        yield from pa.RecordBatchReader.from_stream(data)
    elif hasattr(data, "__arrow_c_array__"):
        yield pa.record_batch(data)
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes, dict)):
        for part in data:
            yield from record_batches(part, names)
    else:
        raise TypeError(
            f"{type(data).__name__} holds no Arrow data: pass a table, record batches, a pandas or "
            "polars frame, or an object with __arrow_c_stream__"
        )


def _of_pandas(frame: Any, names: frozenset[str]) -> pa.Table:
    """The columns of these names, among them those that the frame has as its index."""
    wanted = frame.loc[:, [name in names for name in frame.columns]]
    try:
        return pa.Table.from_pandas(wanted)
    except pa.ArrowException as cause:
        raise EncodeError(f"a column of the frame cannot be converted: {cause}") from cause


def instant(timestamp: datetime) -> tuple[int, int]:
    """Seconds since the epoch and nanoseconds of a datetime, which is UTC without a zone."""
    if timestamp.tzinfo is None:
        timestamp = timestamp.replace(tzinfo=timezone.utc)
    # Of a pendulum the operator gives no plain timedelta, and before the epoch a wrong one.
    since = datetime.__sub__(timestamp, EPOCH)
    return since.days * 86400 + since.seconds, since.microseconds * 1000
