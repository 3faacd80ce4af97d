"""Deletion takes exactly this project's keys, and of a view exactly its fields."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, ValueType
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.types import Float64, Int64, String

from tests.support.rows import client_of
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import ENTITIES, NOON, row, source, view, write

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*entity key with version:UserWarning"),
    pytest.mark.filterwarnings("ignore:The serialization version below 3:DeprecationWarning"),
]


def driver_view(name: str) -> FeatureView:
    return view(name, ["driver"], {"x": Float64, "y": Float64})


def place_view() -> FeatureView:
    return view("weather", ["place"], {"celsius": Float64})


class TestDeletion:
    """Exactly this project's keys, and of a view exactly its fields."""

    NAMES = ("proj", "my_proj", "proj2", "other*proj", "[p]roj")

    def stores(self, directory: Path, address: str, **options: Any) -> dict[str, FeatureStore]:
        stores = {}
        for at, project in enumerate(self.NAMES):
            place = directory / str(at)
            place.mkdir()
            store = feature_store(OURS, place, address, "proj", **options)
            # Feast lets no such names be applied; what is stored may have them all the same.
            store.config.project = project
            stores[project] = store
        return stores

    def write_rows(self, store: FeatureStore, tables: list[FeatureView]) -> None:
        online_store = store._get_provider().online_store
        for table in tables:
            values = dict.fromkeys(table.join_keys, 1)
            values |= {feature.name: 2.0 for feature in table.features}
            batch = [row(table, values), row(table, dict.fromkeys(table.join_keys, 7))]
            online_store.online_write_batch(store.config, table, batch, None)

    def keys(self, store: FeatureStore) -> set[bytes]:
        return set(client_of(store).keys())

    @pytest.mark.parametrize("version", [2, 3])
    @pytest.mark.parametrize("project", NAMES)
    def test_teardown(
        self, server: RedisServer, tmp_path: Path, version: int, project: str
    ) -> None:
        stores = self.stores(tmp_path, server.address, key_version=version)
        tables = [driver_view("stats"), driver_view("more"), place_view()]
        before: set[bytes] = set()
        for name, store in stores.items():
            known = self.keys(store)
            self.write_rows(store, tables)
            if name == project:
                own = self.keys(store) - known
            before = self.keys(store)
        store = stores[project]
        store._get_provider().online_store.teardown(store.config, tables[:2], [])
        gone = before - self.keys(store)
        expected = {key for key in own if b"driver_id" in key}
        assert gone == expected
        assert len(gone) == 2
        store._get_provider().online_store.teardown(store.config, tables, [])
        assert before - self.keys(store) == own

    @pytest.mark.parametrize("version", [2, 3])
    def test_update_deletes_a_views_fields(
        self, server: RedisServer, tmp_path: Path, version: int
    ) -> None:
        stores = self.stores(tmp_path, server.address, key_version=version)
        kept, gone, lone = driver_view("kept"), driver_view("gone"), place_view()
        for store in stores.values():
            self.write_rows(store, [kept, lone])
        store = stores["proj"]
        remaining = self.hashes(store)
        self.write_rows(store, [gone])
        assert self.hashes(store) != remaining
        online_store = store._get_provider().online_store
        online_store.update(store.config, [gone], [kept, lone], [], [], False)
        assert self.hashes(store) == remaining
        online_store.update(store.config, [lone], [kept], [], [], False)
        left = {key for key in remaining if not (b"place" in key and self.is_of(key, "proj"))}
        assert set(self.hashes(store)) == left

    @pytest.mark.parametrize("wanted", [False, None])
    def test_update_without_a_scan(
        self, server: RedisServer, tmp_path: Path, wanted: bool | None
    ) -> None:
        (store, *_) = self.stores(tmp_path, server.address, full_scan_for_deletion=wanted).values()
        self.write_rows(store, [driver_view("gone")])
        before = self.hashes(store)
        store._get_provider().online_store.update(
            store.config, [driver_view("gone")], [], [], [], False
        )
        assert self.hashes(store) == before

    @pytest.mark.parametrize("length", [42, 63, 91, 93, 92, 45])
    def test_lengths_that_are_glob_characters(
        self, server: RedisServer, tmp_path: Path, length: int
    ) -> None:
        """In a key of version 3 the length of a name is a byte, here one of `*?[]\\-`."""
        long, short = "k" * length, "k" * (length - 1)
        (store, *_) = self.stores(tmp_path, server.address).values()
        tables = []
        for name in (long, short):
            entity = Entity(name=name, join_keys=[name], value_type=ValueType.INT64)
            schema = [Field(name=name, dtype=Int64), Field(name="x", dtype=Float64)]
            tables.append(
                FeatureView(name=name, entities=[entity], schema=schema, source=source(name))
            )
        self.write_rows(store, tables)
        before = self.keys(store)
        store._get_provider().online_store.delete_table(store.config, tables[0])
        gone = before - self.keys(store)
        assert len(gone) == 2
        assert all(long.encode() in key for key in gone)

    def test_more_keys_than_one_scan_returns(self, server: RedisServer, tmp_path: Path) -> None:
        (store, *_) = self.stores(tmp_path, server.address).values()
        table = driver_view("stats")
        rows = [row(table, {"driver_id": driver, "x": 1.0}) for driver in range(5000)]
        online_store = store._get_provider().online_store
        online_store.online_write_batch(store.config, table, rows, None)
        assert len(self.keys(store)) == 5000
        online_store.teardown(store.config, [table], [])
        assert self.keys(store) == set()

    def test_what_is_deleted_is_what_stock_deletes(
        self, server: RedisServer, tmp_path: Path
    ) -> None:
        """Where there is one project only."""
        left = []
        for kind in (STOCK, OURS):
            client = redis.Redis(port=server.port)
            client.flushall()
            (tmp_path / kind).mkdir()
            store = feature_store(kind, tmp_path / kind, server.address)
            tables = [driver_view("kept"), driver_view("gone"), place_view()]
            self.write_rows(store, tables)
            # A feature that the view has no more: it stays in a hash that other views share.
            former = [view(name, ["driver"], {"former": Float64}) for name in ("kept", "gone")]
            former.append(view("weather", ["place"], {"former": Float64}))
            for table in former:
                batch = row(table, {table.join_keys[0]: 1, "former": 1.0}, NOON + timedelta(1))
                store._get_provider().online_store.online_write_batch(
                    store.config, table, [batch], None
                )
            store._get_provider().online_store.update(
                store.config, tables[1:], tables[:1], [], [], False
            )
            left.append(self.hashes(store))
        assert left[0] == left[1]
        assert left[0]

    def hashes(self, store: FeatureStore) -> dict[bytes, dict[bytes, bytes]]:
        client = client_of(store)
        return {key: client.hgetall(key) for key in client.scan_iter()}

    def is_of(self, key: bytes, project: str) -> bool:
        owners = [name for name in self.NAMES if key.endswith(name.encode())]
        return max(owners, key=len) == project


class TestThroughFeast:
    """Feast's own verbs with this store behind them."""

    def test_apply_and_teardown(self, server: RedisServer, tmp_path: Path) -> None:
        store = feature_store(OURS, tmp_path, server.address)
        stats, weather = driver_view("stats"), place_view()
        store.apply([ENTITIES["driver"], ENTITIES["place"], stats, weather])
        write(store, "stats", [{"driver_id": 1, "x": 1.0}])
        write(store, "weather", [{"place_id": 1, "celsius": 1.0}])
        client = client_of(store)
        assert client.dbsize() == 2
        store.apply([], objects_to_delete=[stats], partial=False)
        assert client.dbsize() == 1
        store.teardown()
        assert client.dbsize() == 0

    def test_a_row_of_stocks_in_version_2(self, server: RedisServer, tmp_path: Path) -> None:
        stores = [
            feature_store(kind, tmp_path, server.address, key_version=2) for kind in (STOCK, OURS)
        ]
        stores[0].apply([ENTITIES["driver"], view("stats", ["driver"], {"city": String})])
        for at, store in enumerate(stores):
            write(store, "stats", [{"driver_id": 1, "city": "x"}], NOON + timedelta(seconds=at))
        table = stores[0].get_feature_view("stats")
        key = serialize_entity_key(row(table, {"driver_id": 1})[0], 2) + b"proj"
        assert client_of(stores[0]).keys() == [key]
