"""Data frames on their way to Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from feast_rs import _core, feast_compat
from feast_rs.row_columns import RowColumns

if TYPE_CHECKING:
    from feast import RepoConfig


def encode_frame(
    config: RepoConfig,
    feature_view: Any,
    df: pd.DataFrame,
    field_mapping: dict[str, str] | None = None,
) -> list[_core.EncodedRows]:
    """The frame's rows, all encoded before any is sent. ``field_mapping`` is an on-demand view's;
    other views have that of their batch source."""
    if not feast_compat.is_on_demand(feature_view):
        field_mapping = feature_view.batch_source.field_mapping
    columns = RowColumns(feature_view, config)
    return [
        rows
        for batch in _batches(df, field_mapping or {}, columns.names)
        for rows in columns.schema.rows(columns.complete(batch))
    ]


def _batches(
    df: pd.DataFrame, field_mapping: dict[str, str], wanted: frozenset[str]
) -> list[pa.RecordBatch]:
    """The wanted columns of a frame, which pyarrow alone converts with all others and much ado."""
    if not isinstance(df.index, pd.RangeIndex) or not df.columns.is_unique:
        table = pa.Table.from_pandas(df)
        names = [field_mapping.get(name, name) for name in table.column_names]
        return list(table.rename_columns(names).to_batches())
    arrays, names = [], []
    for label, column in zip(df.columns, _column_arrays(df), strict=True):
        name = field_mapping.get(label, label)
        if name in wanted:
            array = _arrow_array(column)
            arrays.append(array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array)
            names.append(name)
    return [pa.RecordBatch.from_arrays(arrays, names)]


def _column_arrays(df: pd.DataFrame) -> Iterable[Any]:
    """The array of each column. Pandas has them at hand, though by no public name, and takes longer
    to make series of them than their rows take to encode. Series do as well."""
    arrays = getattr(df, "_iter_column_arrays", None)
    return arrays() if arrays is not None else (column for _, column in df.items())


def _arrow_array(column: Any) -> pa.Array | pa.ChunkedArray:
    dtype = column.dtype
    if isinstance(dtype, pd.DatetimeTZDtype) and str(dtype.tz) == "UTC":
        # What pyarrow would ask a pandas array to do by itself, in a fifth of the time.
        instants = np.asarray(column, dtype=f"datetime64[{dtype.unit}]")
        return pa.array(instants, type=pa.timestamp(dtype.unit, "UTC"))
    if isinstance(dtype, np.dtype):
        column = np.asarray(column)
    return pa.array(column, from_pandas=True)
