"""Feast's values: serialized ``Value`` messages to Arrow columns and back.

The Arrow type of each Feast type:

=================================== ==========================================================
``Bytes``, ``PdfBytes``             binary; ``ImageBytes`` too
``String``                          string
``Int32`` .. ``Float64``, ``Bool``  the same
``UnixTimestamp``                   timestamp[us, UTC]
``ZonedTimestamp``                  struct<timestamp: timestamp[us, UTC], zone: string>
``Uuid``, ``TimeUuid``, ``Decimal`` string
``Json``                            large_string
``Array(T)``, ``Set(T)``            list<item: T>, nested as declared
``Struct({..})``                    struct of the declared fields
``Map``, ``ScalarMap``              map<string, string>, of JSON texts
=================================== ==========================================================

In JSON texts, what JSON lacks is an object with one key, ``$`` and the name of the field in
Feast's ``Value``: ``{"$bytes": "base64"}``, ``{"$unix_timestamp": seconds}``,
``{"$float_list": [0.5]}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from feast_rs import _core, dtypes

if TYPE_CHECKING:
    from feast_rs.dtypes import DType


def decode_values(cells: Any | Sequence[bytes | None], dtype: DType) -> pa.Array:
    """Decodes serialized Feast values into an Arrow array of the declared type.

    A stored value of another type than the declared one is read if nothing is lost (an integer
    as a float that equals it, a list as a set, a string as a UUID); else it is an error.

    Args:
        cells: One serialized ``feast.types.Value`` a row: an Arrow binary array, or a sequence of
            bytes. None and ``b""`` are null.
        dtype: The declared type: of ``feast.types``, a ``ValueType``, or a text such as
            ``"Array(Float32)"``.

    Returns:
        An array of the Arrow type in the table above, of as many rows as there are cells.

    Raises:
        DecodeError: A cell is malformed, holds a value that the declared type cannot, or one of
            a type that only a newer Feast knows. The message gives its index.
        ArgumentError: ``dtype`` is not a Feast type.
    """
    return pa.array(_core.decode_values(cells, dtypes.spell(dtype)))


def encode_values(array: Any, dtype: DType) -> pa.Array:
    """Encodes an Arrow array as Feast stores it: the bytes that Feast materializes.

    Args:
        array: An Arrow array, chunked or not, of the Arrow type in the table above or one that
            it follows from: other widths, string and list encodings, timestamps of any unit and
            zone (down to whole seconds; in lists toward zero, as Feast does), structs and JSON
            for maps. ``docs/types.md`` lists them all.
        dtype: The declared type, as for :func:`decode_values`.

    Returns:
        A binary array without nulls: a null, and a float that is not a number, are ``b""``; but
        a null in a column of timestamps is Feast's null timestamp.

    Raises:
        EncodeError: A value does not fit ``dtype``. The message gives its row.
        ArgumentError: ``dtype`` is not a Feast type.
    """
    return pa.array(_core.encode_values(array, dtypes.spell(dtype)))
