"""The provider that takes ``push`` and ``write_to_online_store`` through Arrow."""

from __future__ import annotations

from typing import Any

import pandas as pd
from feast.infra.passthrough_provider import PassthroughProvider

from feast_rs import event_loop, feast_compat
from feast_rs.frames import encode_frame
from feast_rs.online_store import RedisOnlineStore
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
        client.write(encode_frame(self.repo_config, feature_view, df, field_mapping), policy)

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
        rows = encode_frame(self.repo_config, feature_view, df, field_mapping)
        await event_loop.run(
            lambda completions, token: client.write_async(rows, policy, completions, token)
        )

    def _takes(self, feature_view: Any) -> bool:
        return isinstance(self.online_store, RedisOnlineStore) and feast_compat.has_rows(
            feature_view
        )
