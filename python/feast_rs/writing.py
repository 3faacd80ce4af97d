"""Rows into Redis: Feast's protobuf rows and Arrow record batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from feast_rs import _core, feast_compat
from feast_rs.errors import ArgumentError
from feast_rs.row_columns import EPOCH, RowColumns, instant, record_batches

if TYPE_CHECKING:
    from feast import FeatureStore, RepoConfig
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    from feast_rs.config import RedisOnlineStoreConfig
    from feast_rs.online_store import RedisOnlineStore

Row = tuple["EntityKey", "dict[str, Value]", datetime, "datetime | None"]
Progress = Callable[[int], Any]
#: Rows read, written, skipped and failed, bytes sent, and the newest event time.
Counts = tuple[int, int, int, int, int, "tuple[int, int] | None"]

#: How long a stream meets a failure that may pass by further attempts, unless told otherwise.
RETRY_SECONDS = 30.0


@dataclass(frozen=True)
class WriteReport:
    """What became of the rows of a feature view."""

    view: str
    """The feature view's name."""

    rows_read: int
    """Rows that came."""

    rows_written: int
    """Rows whose write Redis acknowledged."""

    rows_skipped: int
    """Rows that were not newer than what is stored."""

    rows_failed: int
    """Rows that Redis refused."""

    bytes_sent: int
    """Bytes of Redis commands."""

    seconds: float
    """Time since the first row could be written."""

    newest_event_timestamp: datetime | None
    """The newest event timestamp of the rows written and skipped, UTC."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it: the timestamp as ISO 8601 text."""
        fields = asdict(self)
        newest = self.newest_event_timestamp
        fields["newest_event_timestamp"] = newest.isoformat() if newest else None
        return fields


class RowWriter:
    """Writes the record batches of one feature view, in their order.

    A batch is encoded without the GIL and handed to a thread that talks to Redis, so that the next
    one can be made meanwhile; memory is bounded by the rows that wait for Redis. As a context
    manager it waits for the last acknowledgement, or gives up what was not sent when an exception
    leaves.

    Args:
        store: The online store.
        config: The repository's configuration.
        table: The feature view. The batches have a column for each join key, each feature and,
            but for on-demand views, the event timestamp, named as in the view.
        skip_nulls: Leave null features as they are stored.
        partial: Columns of features may be missing; those features are left as they are stored.
        retry_seconds: How long a failure that may pass is met by further attempts.
    """

    def __init__(
        self,
        store: RedisOnlineStore,
        config: RepoConfig,
        table: Any,
        *,
        skip_nulls: bool = False,
        partial: bool = False,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._view = table.name
        self._table = table
        self._columns = RowColumns(table, config, skip_nulls=skip_nulls, partial=partial)
        settings = config.online_store
        self._stream = _core.WriteStream(
            store.client(settings), self._columns.schema, policy_of(settings, table), retry_seconds
        )
        self._start = time.monotonic()
        self._given_up = False

    @property
    def names(self) -> frozenset[str]:
        """The columns that are looked at."""
        return self._columns.names

    def write(self, batch: pa.RecordBatch) -> None:
        """Encodes a batch and hands it over; waits while Redis is behind.

        Raises:
            ArgumentError: A column is missing.
            EntityKeyError, EncodeError: A value does not fit.
            FeastRsError: What befell an earlier batch, with how many rows were acknowledged.
        """
        self._stream.write(self._columns.complete(batch))

    def progress(self) -> WriteReport:
        """What became of the rows so far."""
        return self._report(self._stream.counts())

    def finish(self) -> WriteReport:
        """Waits for the last acknowledgement.

        Raises:
            FeastRsError: What befell a row, or that writing was aborted; with how many rows were
                acknowledged.
        """
        return self._report(self._stream.finish())

    def abort(self) -> None:
        """Gives up what was not sent."""
        self._given_up = True
        self._stream.abort()

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.abort()
        elif not self._given_up:
            self._stream.finish()

    def _report(self, counts: Counts) -> WriteReport:
        read, written, skipped, failed, sent, newest = counts
        return WriteReport(
            view=self._view,
            rows_read=read,
            rows_written=written,
            rows_skipped=skipped,
            rows_failed=failed,
            bytes_sent=sent,
            seconds=time.monotonic() - self._start,
            newest_event_timestamp=_time_of(newest),
        )


def write_batches(
    store: FeatureStore,
    view: Any,
    batches: Any,
    *,
    skip_nulls: bool = False,
    partial: bool = False,
    retry_seconds: float = RETRY_SECONDS,
    on_progress: Callable[[WriteReport], Any] | None = None,
) -> WriteReport:
    """Writes Arrow data to a feature view in the online store, in bounded memory.

    Args:
        store: The feature store, whose online store is :class:`feast_rs.RedisOnlineStore`.
        view: A feature view or its name.
        batches: A table, a record batch, a frame of pandas or polars, anything with
            ``__arrow_c_stream__`` or ``__arrow_c_array__``, or an iterable of such. Columns: each
            join key, each feature and the event timestamp, named as in the view; others are left
            out.
        skip_nulls: Leave null features as they are stored.
        partial: Columns of features may be missing; those features are left as they are stored.
        retry_seconds: How long a failure that may pass is met by further attempts.
        on_progress: Called after each record batch with the report so far.

    Raises:
        FeastRsError: What befell a row, with how many rows were acknowledged. Rows that were
            acknowledged stay written; the call can be repeated.
    """
    online_store = our_online_store(store)
    table = view
    if isinstance(view, str):
        table = store.registry.get_any_feature_view(view, store.project)
    with RowWriter(
        online_store,
        store.config,
        table,
        skip_nulls=skip_nulls,
        partial=partial,
        retry_seconds=retry_seconds,
    ) as writer:
        for batch in record_batches(batches, writer.names):
            writer.write(batch)
            if on_progress is not None:
                on_progress(writer.progress())
        return writer.finish()


def policy_of(settings: RedisOnlineStoreConfig, table: Any) -> _core.WritePolicy:
    """How the store's settings have rows of a feature view written."""
    newest = "compared"
    if settings.skip_dedup:
        newest = "assumed"
    elif settings.atomic_writes:
        newest = "atomic"
    life: timedelta | None = getattr(table, "ttl", None) if settings.ttl_per_view else None
    return _core.WritePolicy(
        newest,
        settings.key_ttl_seconds or None,
        settings.renew_ttl_on_skip,
        life.total_seconds() if life else None,
        settings.restore_new_keys,
    )


def message_batch(config: RepoConfig, table: Any, data: list[Row]) -> _core.WriteBatch:
    """Feast's protobuf rows, to be written."""
    batch = _core.WriteBatch(
        feast_compat.stored_view_name(table, config),
        config.project,
        config.entity_key_serialization_version,
    )
    for entity_key, values, timestamp, _ in data:
        cells = {name: value.SerializeToString() for name, value in values.items()}
        batch.add(entity_key.SerializeToString(), *instant(timestamp), cells)
    return batch


def report_progress(progress: Progress | None, skipped: int, replies: int) -> None:
    """Calls `progress` as often, and with the same numbers, as stock Feast does."""
    if progress is None:
        return
    for _ in range(skipped):
        progress(1)
    progress(replies)


def _time_of(newest: tuple[int, int] | None) -> datetime | None:
    if newest is None:
        return None
    seconds, nanos = newest
    return EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)


def our_online_store(store: FeatureStore) -> RedisOnlineStore:
    """The store's online store, if it is one of feast-rs."""
    from feast_rs.online_store import RedisOnlineStore

    online_store = store._get_provider().online_store
    if not isinstance(online_store, RedisOnlineStore):
        raise ArgumentError(
            f"the online store is a {type(online_store).__module__}."
            f"{type(online_store).__qualname__}; set online_store.type to "
            "feast_rs.RedisOnlineStore"
        )
    return online_store
