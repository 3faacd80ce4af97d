"""Data frames on their way to Redis."""

from __future__ import annotations

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
    for label, column in df.items():
        name = field_mapping.get(label, label)
        if name in wanted:
            # Of a plain array pyarrow has less to find out than of a series.
            plain = isinstance(column.dtype, np.dtype)
            array = pa.array(column.to_numpy() if plain else column, from_pandas=True)
            if isinstance(array, pa.ChunkedArray):
                array = array.combine_chunks()
            arrays.append(array)
            names.append(name)
    return [pa.RecordBatch.from_arrays(arrays, names)]
