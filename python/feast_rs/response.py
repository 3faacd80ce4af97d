"""The answer to ``get_online_features``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from feast.online_response import OnlineResponse as FeastOnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.message import DecodeError as ProtobufDecodeError

from feast_rs import _core, dtypes
from feast_rs.errors import ArgumentError, DecodeError

if TYPE_CHECKING:
    from feast.value_type import ValueType

    from feast_rs.dtypes import DType

_FLOATS = (np.dtype("float32"), np.dtype("float64"))


class OnlineResponse(FeastOnlineResponse):
    """Feast's ``OnlineResponse``, which decodes what is asked for and when it is asked for.

    ``to_dict``, ``to_df``, ``to_tensor`` and ``proto`` answer as stock Feast's do, value for
    value and type for type; so does ``to_arrow``, with the declared types. All of them raise
    :class:`feast_rs.DecodeError`, naming view, feature and entity, for stored bytes that are no
    Feast value.
    """

    def __init__(
        self,
        answer: _core.Answer,
        feature_types: dict[str, ValueType] | None = None,
        versions: list[tuple[str, int]] | None = None,
        requested: Sequence[str] | None = None,
    ) -> None:
        """Wraps an answer.

        Args:
            answer: The columns.
            feature_types: The features' types, as Feast's response has them.
            versions: Feature views' version numbers for the metadata of ``proto``.
            requested: The features' columns in the order in which they were asked for.
        """
        self._answer = answer
        self._feature_types = feature_types or {}
        self._versions = versions or []
        self._requested = requested
        self._proto: GetOnlineFeaturesResponse | None = None
        self._error: str | None = None

    @classmethod
    def from_proto(
        cls,
        proto: GetOnlineFeaturesResponse,
        feature_types: dict[str, ValueType] | None = None,
        declared: Mapping[str, DType] | None = None,
        requested: Sequence[str] | None = None,
        error: str | None = None,
    ) -> OnlineResponse:
        """The response that a message holds.

        ``declared`` are the columns' types, where ``feature_types`` do not tell them or not whole:
        a struct's fields, a nested list's items. ``error`` is what :attr:`error` is to say.
        """
        if not is_even(proto):
            return UnevenResponse(proto, feature_types, requested, error)
        types = {**(feature_types or {}), **(declared or {})}
        columns = []
        rows = 0
        for name, vector in zip(proto.metadata.feature_names.val, proto.results, strict=True):
            rows = len(vector.values)
            columns.append(vector_column(name, vector, types.get(name)))
        answer = _core.Answer.of_columns(rows, columns)
        response = cls(answer, feature_types, requested=requested)
        response._proto = proto
        response._error = error
        return response

    # In Feast an attribute, here made on demand.
    @property
    def proto(self) -> GetOnlineFeaturesResponse:  # type: ignore[override]
        """The response message, put together from the stored bytes at the first use."""
        if self._proto is None:
            self._proto = message_of(self._answer, self._versions)
        return self._proto

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, Any]:
        """Lists of Python values by column.

        With ``include_event_timestamps`` each column is followed by ``<name>__ts``, in whole
        seconds since the epoch.
        """
        return self._answer.to_dict(include_event_timestamps)

    def to_arrow(self, include_event_timestamps: bool = False) -> pa.Table:
        """A table of the declared types, decoded straight from Redis' reply.

        Stock Feast infers the types from the values; here they do not change with the rows. See
        ``docs/types.md`` for the Arrow type of each Feast type.

        Raises:
            DecodeError: Also for a value whose stored type does not fit the declared one.
        """
        return pa.Table.from_batches([self._answer.pyarrow_batch(include_event_timestamps)])

    def to_numpy(self) -> dict[str, npt.NDArray[Any]]:
        """A numpy array by column, each of as many values as there are rows.

        Numbers without a null are not copied, and such arrays are read-only. Integers with nulls
        become float64 with NaN, text and nested values arrays of objects, as pyarrow does it.
        """
        batch = self._answer.pyarrow_batch(False)
        return {
            name: column.to_numpy(zero_copy_only=False)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }

    def to_matrix(
        self,
        features: Sequence[str] | None = None,
        dtype: Literal["float32", "float64"] | npt.DTypeLike = "float32",
        null_value: float = float("nan"),
    ) -> npt.NDArray[Any]:
        """A C-contiguous matrix of shape (rows, features), for a model.

        Args:
            features: The columns, in this order; by default all features that are numbers, in
                the order in which they were asked for. (The response's own order is Feast's, which
                differs from process to process.)
            dtype: float32 or float64.
            null_value: What stands for a null.

        Booleans are 0 and 1, timestamps seconds since the epoch.

        Raises:
            ArgumentError: There is no such column.
            DecodeError: A value is no number.
        """
        kind = np.dtype(dtype)
        if kind not in _FLOATS:
            raise ValueError(f"dtype must be float32 or float64, not {kind}")
        by_default = features is None
        if features is None:
            features = self._answer.names if self._requested is None else self._requested
        double = kind == _FLOATS[1]
        return self._answer.matrix(list(features), by_default, double, null_value)

    @property
    def degraded(self) -> bool:
        """Whether an outage kept values from being read, and default values stand in for them: in
        the rows and columns whose status is INVALID. Only with ``on_error: defaults``; see
        ``docs/fallback.md``."""
        return self.error is not None

    @property
    def error(self) -> str | None:
        """What went wrong first, with the server's address; None if the answer is not
        :attr:`degraded`."""
        unanswered = self._answer.unanswered
        return self._error if unanswered is None else unanswered[1]

    @property
    def statuses(self) -> dict[str, npt.NDArray[np.uint8]]:
        """The status of each row by column: the numbers of Feast's ``FieldStatus``."""
        return self._answer.statuses()

    @property
    def event_timestamps(self) -> dict[str, npt.NDArray[np.datetime64]]:
        """The event timestamp of each row by column, as ``datetime64[ns]`` in UTC."""
        return {
            name: seconds.astype("datetime64[s]").astype("datetime64[ns]")
            + nanos.astype("timedelta64[ns]")
            for name, (seconds, nanos) in self._answer.event_times()
        }

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """The columns as one Arrow record batch."""
        arrays: tuple[object, object] = self._answer.record_batch(False).__arrow_c_array__(
            requested_schema
        )
        return arrays

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The columns as an Arrow stream of one record batch."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __reduce__(self) -> tuple[Any, ...]:
        answer = self._answer
        declared = dict(zip(answer.names, answer.dtypes, strict=True))
        message = self.proto.SerializeToString()
        kept = (message, self._feature_types, declared, self._requested, self.error)
        return (_restore, kept)

    def __repr__(self) -> str:
        answer = self._answer
        return f"<feast_rs.OnlineResponse: {answer.num_rows} rows x {len(answer.names)} columns>"


class UnevenResponse(OnlineResponse):
    """The response when an on-demand view gave more or fewer values than there are rows.

    It has no rows, only columns: ``to_dict`` and ``proto`` show them as stock Feast's do. What
    needs rows raises a ``ValueError``, as there.
    """

    def __init__(
        self,
        proto: GetOnlineFeaturesResponse,
        feature_types: dict[str, ValueType] | None,
        requested: Sequence[str] | None,
        error: str | None,
    ) -> None:
        super().__init__(_core.Answer.of_columns(0, []), feature_types, requested=requested)
        self._proto = proto
        self._error = error

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, Any]:
        return FeastOnlineResponse.to_dict(self, include_event_timestamps)

    def to_arrow(self, include_event_timestamps: bool = False) -> pa.Table:
        raise self._refusal()

    def to_numpy(self) -> dict[str, npt.NDArray[Any]]:
        raise self._refusal()

    def to_matrix(
        self,
        features: Sequence[str] | None = None,
        dtype: Literal["float32", "float64"] | npt.DTypeLike = "float32",
        null_value: float = float("nan"),
    ) -> npt.NDArray[Any]:
        raise self._refusal()

    @property
    def statuses(self) -> dict[str, npt.NDArray[np.uint8]]:
        return {name: np.array(vector.statuses, np.uint8) for name, vector in self._columns()}

    @property
    def event_timestamps(self) -> dict[str, npt.NDArray[np.datetime64]]:
        return {
            name: np.array(
                [time.ToNanoseconds() for time in vector.event_timestamps], "datetime64[ns]"
            )
            for name, vector in self._columns()
        }

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        raise self._refusal()

    def __reduce__(self) -> tuple[Any, ...]:
        message = self.proto.SerializeToString()
        return (_restore, (message, self._feature_types, {}, self._requested, self._error))

    def __repr__(self) -> str:
        lengths = ", ".join(f"{name}: {len(vector.values)}" for name, vector in self._columns())
        return f"<feast_rs.OnlineResponse: columns of different lengths ({lengths})>"

    def _columns(self) -> list[tuple[str, Any]]:
        proto = self.proto
        return list(zip(proto.metadata.feature_names.val, proto.results, strict=True))

    def _refusal(self) -> ArgumentError:
        (first, other), *columns = self._columns()
        name, vector = next(pair for pair in columns if len(pair[1].values) != len(other.values))
        return ArgumentError(
            f"there are no rows: column {first} has {len(other.values)} values and {name} "
            f"{len(vector.values)}; an on-demand view must give one value for each row"
        )


def is_even(proto: GetOnlineFeaturesResponse) -> bool:
    """Whether all columns of a response message are of one length."""
    return len({len(vector.values) for vector in proto.results}) <= 1


def message_of(answer: _core.Answer, versions: list[tuple[str, int]]) -> GetOnlineFeaturesResponse:
    """The response message.

    Raises:
        DecodeError: A cell is no Feast value.
    """
    try:
        return GetOnlineFeaturesResponse.FromString(answer.message(versions))
    except ProtobufDecodeError as cause:
        if isinstance(cause, DecodeError):
            raise
        # protobuf does not say where; the cell that it refuses by itself is the one.
        parse_cells(answer)
        raise DecodeError(f"the stored values make no response message: {cause}") from cause


def parse_cells(answer: _core.Answer) -> list[list[Value]]:
    """The cells as ``Value`` messages, column by column.

    Raises:
        DecodeError: A cell is no Feast value.
    """
    columns = []
    for column, cells in enumerate(answer.cells()):
        values = []
        for row, cell in enumerate(cells):
            value = Value()
            if cell is not None:
                try:
                    value.ParseFromString(cell)
                except ProtobufDecodeError as cause:
                    answer.reject(column, row, f"not a serialized Value: {cause}")
            values.append(value)
        columns.append(values)
    return columns


def vector_column(name: str, vector: Any, declared: DType | None) -> _core.Column:
    """A column from a ``FeatureVector`` message; the values decide its type unless it is given."""
    dtype = dtypes.of_messages(vector.values) if declared is None else dtypes.spell(declared)
    return _core.Column(
        name,
        dtype,
        [value.SerializeToString() for value in vector.values],
        list(vector.statuses),
        [(time.seconds, time.nanos) for time in vector.event_timestamps],
    )


def _restore(
    message: bytes,
    feature_types: dict[str, ValueType],
    declared: dict[str, str],
    requested: Sequence[str] | None,
    error: str | None = None,
) -> OnlineResponse:
    proto = GetOnlineFeaturesResponse.FromString(message)
    return OnlineResponse.from_proto(proto, feature_types, declared, requested, error)
