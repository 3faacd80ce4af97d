"""Feast's entity keys: columns of join-key values to bytes and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from feast_rs import _core
from feast_rs.errors import EntityKeyError, EntityRowsError

if TYPE_CHECKING:
    from feast.value_type import ValueType

_KEY_FIELDS = {
    "int32_val": "INT32",
    "int64_val": "INT64",
    "string_val": "STRING",
    "bytes_val": "BYTES",
    "unix_timestamp_val": "UNIX_TIMESTAMP",
}
_INTEGERS = frozenset({"INT32", "INT64"})
# Of other years Feast's float of seconds may round a microsecond to a whole second.
_YEARS = range(1800, 2200)


def serialize_entity_keys(
    columns: Mapping[str, Any],
    types: Mapping[str, str | ValueType] | None = None,
    *,
    version: int = 3,
    suffix: bytes = b"",
) -> pa.Array:
    """Serializes rows of join-key values to Feast's entity keys.

    Args:
        columns: The values by join key, in any order: Arrow arrays, numpy arrays or Python
            sequences, all of one length and without nulls.
        types: The join keys' Feast types (``INT32``, ``INT64``, ``STRING``, ``BYTES``,
            ``UNIX_TIMESTAMP``), to which values are coerced. Without one the values decide:
            Python integers are INT64, Arrow's and numpy's 32-bit ones INT32.
        version: Feast's ``entity_key_serialization_version``, 3 or 2.
        suffix: Appended to each key. Redis' keys are entity keys followed by the project's name.

    Returns:
        An Arrow ``large_binary`` array, one key a row; ``.to_pylist()`` makes a list of bytes.

    Raises:
        EntityKeyError: A value is null, or not of a type that an entity key can have.
        ArgumentError: The columns have different lengths.
    """
    converted = []
    for name, values in columns.items():
        declared = (types or {}).get(name)
        if declared is not None and not isinstance(declared, str):
            declared = declared.name
        converted.append(key_column(name, values, declared))
    return pa.array(_core.serialize_keys(list(columns), converted, version, suffix))


def deserialize_entity_keys(
    keys: Iterable[bytes] | pa.Array, join_keys: Sequence[str] = (), *, version: int = 3
) -> pa.RecordBatch:
    """Parses entity keys of one set of join keys.

    Args:
        keys: The keys, without a project's name: bytes, or an Arrow binary array.
        join_keys: The join keys' names; needed for version 2, checked for version 3.
        version: Feast's ``entity_key_serialization_version``, 3 or 2.

    Returns:
        A record batch with a column per join key, in the order of their names.

    Raises:
        EntityKeyError: A key is malformed, or has other join keys or types than the first one.
    """
    if isinstance(keys, (pa.Array, pa.ChunkedArray)):
        keys = keys.to_pylist()
    return pa.record_batch(_core.parse_keys(list(keys), version, list(join_keys)))


def key_column(name: str, values: Any, declared: str | None) -> _core.KeyColumn:
    """Converts a join key's values: at once where they are plain, else as Feast does.

    Args:
        name: The join key, for messages.
        values: A sequence, a numpy or Arrow array, or a ``RepeatedValue`` message.
        declared: The name of the declared ``ValueType``; None or ``UNKNOWN`` lets the values
            decide.
    """
    if declared == "UNKNOWN":
        declared = None
    try:
        moments = _moments(values) if declared in {None, "UNIX_TIMESTAMP"} else None
        column = _core.KeyColumn.convert(values if moments is None else moments, declared)
        if column is None:
            column = column_of_messages(name, proto_values(values, declared), declared)
    except EntityKeyError as cause:
        raise EntityKeyError(f"join key '{name}': {cause}") from cause
    return column


def _moments(values: Any) -> pa.Array | None:
    """The timestamps of a list of datetimes with zones. Of those without, Feast's releases differ
    in what they mean."""
    if not isinstance(values, list) or not values or not isinstance(values[0], datetime):
        return None
    plain = all(
        isinstance(value, datetime) and value.tzinfo is not None and value.year in _YEARS
        for value in values
    )
    return pa.array(values, pa.timestamp("us", "UTC")) if plain else None


def proto_values(values: Any, declared: str | None) -> list[Any]:
    """The values as Feast's ``Value`` messages, converted by Feast itself.

    Raises:
        EntityRowsError: The values are no list, array or message of such.
    """
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.type_map import python_values_to_proto_values
    from feast.value_type import ValueType

    if hasattr(values, "DESCRIPTOR"):  # a RepeatedValue message
        values = values.val
    if isinstance(values, np.ma.MaskedArray):
        values = values.tolist()  # None for what is masked
    try:
        listed: list[Any] = list(values)
    except TypeError:
        raise EntityRowsError(
            f"the values of a column must be a list or an array, not {type(values).__name__}"
        ) from None
    # Feast's conversion takes such messages for some of its types only.
    if listed and all(isinstance(value, Value) for value in listed):
        return listed
    feast_type = ValueType[declared] if declared else ValueType.UNKNOWN
    messages: list[Any] = python_values_to_proto_values(listed, feast_type)
    return messages


def column_of_messages(name: str, messages: list[Any], declared: str | None) -> _core.KeyColumn:
    """A join key's column from ``Value`` messages, coerced between the integer types."""
    kinds = {message.WhichOneof("val") for message in messages}
    if None in kinds:
        row = next(i for i, m in enumerate(messages) if m.WhichOneof("val") is None)
        raise EntityKeyError(f"the value of row {row} is null; every row needs all its join keys")
    types = {_KEY_FIELDS.get(kind, kind) for kind in kinds}
    if declared in _INTEGERS and types <= _INTEGERS:
        types = {declared}
    if len(types) > 1:
        raise EntityKeyError(f"the values have several types: {', '.join(sorted(types))}")
    value_type = types.pop() if types else declared or "STRING"
    if declared in _KEY_FIELDS.values() and value_type != declared:
        raise EntityKeyError(f"the values are {value_type}, the declared type is {declared}")
    if value_type not in _KEY_FIELDS.values():
        raise EntityKeyError(
            f"a value of type {value_type} cannot be part of an entity key; use INT32, INT64, "
            "STRING, BYTES or UNIX_TIMESTAMP"
        )
    values = [getattr(message, message.WhichOneof("val")) for message in messages]
    return _core.KeyColumn.of(values, value_type)
