"""What is written is what stock writes, byte for byte; deletion does no harm to others."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, ValueType
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.types import Float64, Int64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import feast_rs
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import ENTITIES, NOON, World, row, source, view, write

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*entity key with version:UserWarning"),
    pytest.mark.filterwarnings("ignore:The serialization version below 3:DeprecationWarning"),
]
# Alike in length, so that a key of one is never a key of the other.
STOCKS, OURS_PROJECT = "project_a", "project_b"
Stored = dict[bytes, tuple[list[tuple[bytes, bytes]], int]]


def client_of(store: FeatureStore) -> redis.Redis:
    return redis.Redis.from_url(f"redis://{store.config.online_store.connection_string}")


def stored(store: FeatureStore) -> Stored:
    """The project's hashes by entity key: their fields in order, and their time to live."""
    client, suffix = client_of(store), store.project.encode()
    hashes = {}
    for key in client.scan_iter():
        if key.endswith(suffix):
            fields = list(client.hgetall(key).items())
            hashes[key.removesuffix(suffix)] = (fields, client.ttl(key))
    return hashes


class Writers:
    """Both stores, each with a project of its own."""

    def __init__(self, directory: Path, address: str, **options: Any) -> None:
        self.stores = []
        for kind, project in ((STOCK, STOCKS), (OURS, OURS_PROJECT)):
            place = directory / project
            place.mkdir()
            store = feature_store(kind, place, address, project, **options)
            World(store)
            self.stores.append(store)
        self.table = self.stores[0].get_feature_view("driver_stats")

    def write(self, batch: list[Any], asynchronous: bool = False, name: str = "") -> None:
        """Writes a batch with both, and compares their calls of `progress` and what is stored."""
        table = self.stores[0].registry.get_any_feature_view(name, STOCKS) if name else self.table
        calls: list[list[int]] = []
        for store in self.stores:
            seen: list[int] = []
            online_store = store._get_provider().online_store
            if asynchronous and store is self.stores[1]:
                asyncio.run(
                    online_store.online_write_batch_async(store.config, table, batch, seen.append)
                )
            else:
                online_store.online_write_batch(store.config, table, batch, seen.append)
            calls.append(seen)
        assert calls[0] == calls[1]
        self.assert_same()

    def assert_same(self) -> None:
        stocks, ours = map(stored, self.stores)
        assert stocks == ours

    def clear(self) -> None:
        client_of(self.stores[0]).flushall()


@pytest.fixture(
    scope="module", params=[{}, {"skip_dedup": True}, {"key_ttl_seconds": 1000}], ids=str
)
def writers(
    request: pytest.FixtureRequest,
    module_server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Writers:
    directory = tmp_path_factory.mktemp("writers")
    return Writers(directory, module_server.address, **request.param)


STATS = st.fixed_dictionaries(
    {"driver_id": st.integers(0, 2)},
    optional={
        "rate": st.none() | st.floats(),
        "trips": st.none() | st.integers(-(2**63), 2**63 - 1),
        "city": st.text(max_size=5) | st.just("x" * 70),
        "tags": st.lists(st.text(max_size=3), max_size=3),
    },
)
# Few enough to collide, on both sides of the epoch and within a second.
OFFSETS = st.sampled_from(
    [
        timedelta(0),
        timedelta(seconds=1),
        timedelta(microseconds=1),
        timedelta(seconds=-1),
        timedelta(days=-365 * 60),
        timedelta(days=-365 * 60, microseconds=-1),
        datetime(1970, 1, 1, tzinfo=timezone.utc) - NOON,
    ]
)
ZONES = st.sampled_from([timezone.utc, timezone(timedelta(hours=-5)), None])


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[dict[str, Any], datetime]]:
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        zone = draw(ZONES)
        when = NOON + draw(OFFSETS)
        when = when.replace(tzinfo=None) if zone is None else when.astimezone(zone)
        rows.append((draw(STATS), when))
    return rows


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(written=st.lists(batches(), min_size=1, max_size=3), asynchronous=st.booleans())
def test_any_batches(
    writers: Writers, written: list[list[tuple[dict[str, Any], datetime]]], asynchronous: bool
) -> None:
    writers.clear()
    for batch in written:
        rows = [row(writers.table, values, when) for values, when in batch]
        writers.write(rows, asynchronous)


def test_batches_of_every_view(writers: Writers) -> None:
    writers.clear()
    examples: dict[str, dict[str, Any]] = {
        "customer": {"customer_id": "ü", "age": 4, "vip": True, "vector": [0.5] * 768},
        "account": {"account_id": -5, "balance": None, "photo": b"\xff" * 100},
        "device": {"device_id": b"\x00*?", "model": ""},
        "hour": {"hour_id": NOON, "holiday": False},
        "pair": {"driver_id": 1, "customer_id": "a", "affinity": 0.5},
        "triple": {"hour_id": NOON, "customer_id": "", "account_id": 1, "weight": -0.0},
        "globals": {"fee": 1.0, "slogan": "go"},
        "stored": {"driver_id": 7, "stored_rate": 2.0},
    }
    for name, values in examples.items():
        table = writers.stores[0].registry.get_any_feature_view(name, STOCKS)
        writers.write([row(table, values)], name=name)
    assert len(stored(writers.stores[1])) == len(examples)


def test_the_time_to_live_is_the_keys(writers: Writers) -> None:
    """It is set by a write, and not by one that is skipped as not newer."""
    writers.clear()
    batch = [row(writers.table, {"driver_id": 1, "rate": 0.5})]
    writers.write(batch)
    ttl = writers.stores[1].config.online_store.key_ttl_seconds
    ((_, left),) = stored(writers.stores[1]).values()
    assert left == (-1 if ttl is None else pytest.approx(ttl, abs=2))
    if ttl is None:
        return
    client = client_of(writers.stores[1])
    for key in client.scan_iter():
        client.expire(key, 100)
    writers.write(batch)
    assert {left for _, left in stored(writers.stores[1]).values()} <= {99, 100}


def test_a_large_batch(writers: Writers) -> None:
    writers.clear()
    rows = [
        row(
            writers.table,
            {"driver_id": driver % 700, "trips": driver},
            NOON + timedelta(seconds=at),
        )
        for at, driver in enumerate(range(1500))
    ]
    writers.write(rows)
    assert len(stored(writers.stores[1])) == 700


def test_without_progress(writers: Writers) -> None:
    for store in writers.stores:
        online_store = store._get_provider().online_store
        batch = [row(writers.table, {"driver_id": 1})]
        assert online_store.online_write_batch(store.config, writers.table, batch, None) is None
    writers.assert_same()


def test_a_value_of_a_wrong_key_type_is_refused_before_anything_is_written(
    writers: Writers,
) -> None:
    writers.clear()
    good = row(writers.table, {"driver_id": 1, "rate": 0.5})
    bad = row(writers.table, {"driver_id": 2})
    bad[0].entity_values[0].float_val = 1.0
    for store, error in zip(writers.stores, (ValueError, feast_rs.EntityKeyError), strict=True):
        online_store = store._get_provider().online_store
        with pytest.raises(error):
            online_store.online_write_batch(store.config, writers.table, [good, bad], None)
        assert stored(store) == {}


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


def driver_view(name: str) -> FeatureView:
    return view(name, ["driver"], {"x": Float64, "y": Float64})


def place_view() -> FeatureView:
    return view("weather", ["place"], {"celsius": Float64})


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
