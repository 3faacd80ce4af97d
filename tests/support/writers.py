"""Stock Feast and feast-rs, each writing into a project of its own, and what is stored then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from feast import FeatureStore
from feast.utils import _convert_arrow_to_proto

from tests.support.rows import client_of
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import World

# Alike in length, so that a key of one is never a key of the other.
STOCKS_PROJECT, OURS_PROJECT = "project_a", "project_b"


class Lifetime(int):
    """Seconds that a key has left, or -1; the two stores write some moments apart."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, int) or (int(self) < 0) != (int(other) < 0):
            return False
        return abs(int(self) - int(other)) <= 2

    def __ne__(self, other: object) -> bool:
        return not self == other


Stored = dict[bytes, tuple[list[tuple[bytes, bytes]], Lifetime]]


def stored(store: FeatureStore) -> Stored:
    """The project's hashes by entity key: their fields in order, and their time to live."""
    client, suffix = client_of(store), store.project.encode()
    hashes = {}
    for key in client.scan_iter():
        if key.endswith(suffix):
            fields = list(client.hgetall(key).items())
            hashes[key.removesuffix(suffix)] = (fields, Lifetime(client.ttl(key)))
    return hashes


def world_store(
    directory: Path,
    address: str,
    kind: str = OURS,
    project: str = OURS_PROJECT,
    more: Sequence[Any] = (),
    **options: Any,
) -> FeatureStore:
    """A store over the world's definitions and `more`."""
    store = feature_store(kind, directory, address, project, **options)
    World(store, more)
    return store


class Writers:
    """Both stores over the world's definitions."""

    def __init__(
        self,
        directory: Path,
        address: str,
        more: Sequence[Any] = (),
        provider: str = "local",
        **options: Any,
    ) -> None:
        """`provider` is feast-rs' alone, `options` are of both online stores."""
        self.stores = []
        for kind, project in ((STOCK, STOCKS_PROJECT), (OURS, OURS_PROJECT)):
            place = directory / project
            place.mkdir()
            own = {"provider": provider} if kind == OURS else {}
            self.stores.append(world_store(place, address, kind, project, more, **own, **options))
        self.stock, self.ours = self.stores
        self.table = self.view("driver_stats")

    def view(self, name: str) -> Any:
        """A view by name, on-demand ones included."""
        return self.stock.registry.get_any_feature_view(name, STOCKS_PROJECT)

    def write_stock(self, name: str, table: pa.Table) -> None:
        """Writes an Arrow table as stock's engine does; every chunk, of which stock writes only
        the first."""
        view = self.view(name)
        join_keys = {field.name: field.dtype.to_value_type() for field in view.entity_columns}
        store = self.stock._get_provider().online_store
        for batch in table.to_batches():
            rows = _convert_arrow_to_proto(batch, view, join_keys)
            store.online_write_batch(self.stock.config, view, rows, None)

    def assert_same(self) -> Stored:
        """That both have stored the same; gives it."""
        stocks, ours = map(stored, self.stores)
        assert stocks == ours
        return ours

    def clear(self) -> None:
        """Empties Redis."""
        client_of(self.stock).flushall()
