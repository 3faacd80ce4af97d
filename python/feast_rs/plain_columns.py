"""Columns of plain Python or Arrow values that come from no Redis hash: request data, and the
outputs of on-demand views.

Feast makes a ``Value`` message of each value. Where all values of a column are of one plain type,
Rust makes the same bytes at once; what is not plain is left to Feast, with all its judgements.
"""

from __future__ import annotations

from types import NoneType
from typing import Any

import pyarrow as pa

from feast_rs import _core

# By the name of the declared value type: the classes that Feast takes as they are, and the Arrow
# type that holds them.
_PLAIN = {
    "BOOL": (frozenset({bool, NoneType}), pa.bool_()),
    "BYTES": (frozenset({bytes, NoneType}), pa.large_binary()),
    "DOUBLE": (frozenset({float, int, NoneType}), pa.float64()),
    "INT32": (frozenset({int, NoneType}), pa.int32()),
    "INT64": (frozenset({int, NoneType}), pa.int64()),
    "STRING": (frozenset({str, NoneType}), pa.large_string()),
}
# What Feast takes values for where no type is declared.
_INFERRED = {bool: "BOOL", bytes: "BYTES", float: "DOUBLE", int: "INT64", str: "STRING"}
# The value types of Arrow columns that Feast takes as they are, by the number of the Arrow type.
_ARROW = {
    pa.bool_().id: "BOOL",
    pa.float64().id: "DOUBLE",
    pa.int64().id: "INT64",
    pa.string().id: "STRING",
    pa.large_string().id: "STRING",
}


def of_list(
    name: str, values: Any, value_type: str | None, dtype: str | None = None
) -> _core.Column | None:
    """A column of the values of a list; None if they are not all plain.

    Args:
        name: The column's name.
        values: What may be such a list.
        value_type: The name of the ``ValueType`` that the values are to have; by default they
            decide.
        dtype: The column's declared type; ``value_type`` if there is none.
    """
    if type(values) is not list:
        return None
    classes = set(map(type, values))
    if value_type is None:
        kinds = classes - {NoneType}
        value_type = _INFERRED.get(kinds.pop(), "") if len(kinds) == 1 else ""
    taken, arrow_type = _PLAIN.get(value_type, (frozenset(), None))
    if not classes or not classes <= taken:
        return None
    if value_type == "BYTES" and not any(values):
        return None  # Feast takes a column of empty bytes for nulls.
    try:
        array = pa.array(values, arrow_type)
    except (pa.ArrowException, OverflowError, UnicodeError):
        return None  # Feast says what is wrong.
    return _core.Column.of_array(name, dtype or value_type, array, value_type)


def of_arrow(
    name: str, values: pa.ChunkedArray, value_type: str | None, dtype: str | None = None
) -> _core.Column | None:
    """The same of an Arrow column."""
    inferred = _ARROW.get(values.type.id)
    if inferred is None or (value_type is not None and value_type != inferred):
        return None
    if values.null_count and (inferred in {"BOOL", "INT64"} or values.null_count == len(values)):
        return None  # To Feast, through pandas, they are of another type.
    return _core.Column.of_array(name, dtype or inferred, values.combine_chunks(), inferred)
