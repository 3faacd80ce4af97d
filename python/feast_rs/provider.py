"""The provider that takes ``push`` and ``write_to_online_store`` through Arrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from feast.infra.passthrough_provider import PassthroughProvider

from feast_rs import _core, event_loop, feast_compat
from feast_rs.online_store import RedisOnlineStore
from feast_rs.row_columns import RowColumns
from feast_rs.writing import policy_of


class ArrowProvider(PassthroughProvider):
    """Feast's own provider, but for rows that are pushed or written to the online store: these go
    from the frame through Arrow to Redis, without a message per value.

    Set ``provider: feast_rs.ArrowProvider``. With another online store than
    :class:`feast_rs.RedisOnlineStore` it does what Feast's provider does.
    """

    def ingest_df(
        self, feature_view: Any, df: pd.DataFrame, field_mapping: dict[str, str] | None = None
    ) -> None:
        """Writes a frame to a feature view.

        Raises:
            ArgumentError: A column is missing.
            EntityKeyError, EncodeError: A value does not fit. Nothing is written then.
            FeastRsError: Redis could not be reached, or refused a row; with how many rows were
                acknowledged.
        """
        if not self._takes(feature_view):
            super().ingest_df(feature_view, df, field_mapping)
            return
        client = self.online_store.client(self.repo_config.online_store)
        policy = policy_of(self.repo_config.online_store, feature_view)
        client.write(self._encode(feature_view, df, field_mapping), policy)

    async def ingest_df_async(
        self, feature_view: Any, df: pd.DataFrame, field_mapping: dict[str, str] | None = None
    ) -> None:
        """Writes a frame to a feature view without blocking the event loop; raises what
        :meth:`ingest_df` does."""
        if not self._takes(feature_view):
            await super().ingest_df_async(feature_view, df, field_mapping)
            return
        client = self.online_store.client(self.repo_config.online_store)
        policy = policy_of(self.repo_config.online_store, feature_view)
        rows = self._encode(feature_view, df, field_mapping)
        await event_loop.run(
            lambda completions, token: client.write_async(rows, policy, completions, token)
        )

    def _takes(self, feature_view: Any) -> bool:
        return isinstance(self.online_store, RedisOnlineStore) and feast_compat.has_rows(
            feature_view
        )

    def _encode(
        self, feature_view: Any, df: pd.DataFrame, field_mapping: dict[str, str] | None
    ) -> list[_core.EncodedRows]:
        """The frame's rows, all encoded before any is sent."""
        if not feast_compat.is_on_demand(feature_view):
            field_mapping = feature_view.batch_source.field_mapping
        columns = RowColumns(feature_view, self.repo_config)
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
