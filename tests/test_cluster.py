"""A cluster of three primaries: keys, values and answers are stock Feast's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import FeatureStore

import feast_rs
from tests.support.cluster import Cluster
from tests.support.commands import succeeded
from tests.support.compare import ask, assert_same
from tests.support.old_keys import dump
from tests.support.setting import FEATURES, HOUR, POOLS, VIEW_KEYS, fill
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.wide import wide_batch, wide_store
from tests.support.world import NOON, World, write

MANY = 3000


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with closing(Cluster(3, 0)) as cluster:
        yield cluster


@pytest.fixture
def cluster(nodes: Cluster) -> Cluster:
    """The cluster, with nothing in it."""
    for node in nodes.nodes:
        node.ask("FLUSHALL")
    return nodes


def store_of(kind: str, directory: Path, cluster: Cluster, **settings: Any) -> FeatureStore:
    address = cluster.connection_string
    return feature_store(kind, directory, address, redis_type="redis_cluster", **settings)


@pytest.fixture
def stores(cluster: Cluster, tmp_path: Path) -> tuple[FeatureStore, FeatureStore]:
    """Stock's and ours, with the world's definitions."""
    stock = store_of(STOCK, tmp_path, cluster)
    World(stock)
    return stock, store_of(OURS, tmp_path, cluster)


def stored(cluster: Cluster) -> list[dict[bytes, tuple[bytes, int]]]:
    """What each node holds."""
    found = []
    for node in cluster.nodes:
        with node.client() as client:
            found.append(dict(dump(client)))
    return found


def numbers(count: int) -> pa.Table:
    """Rows of `driver_stats`."""
    return pa.table(
        {
            "driver_id": pa.array(range(count), pa.int64()),
            "rate": pa.array([number / 4 for number in range(count)], pa.float64()),
            "trips": pa.array(range(count), pa.int64()),
            "city": pa.array([f"city {number}" for number in range(count)]),
            "tags": pa.array([[str(number)] for number in range(count)], pa.list_(pa.string())),
            "since": pa.array([NOON] * count, pa.timestamp("us", "UTC")),
            "ts": pa.array([NOON] * count, pa.timestamp("us", "UTC")),
        }
    )


def test_answers_are_stocks(stores: tuple[FeatureStore, FeatureStore]) -> None:
    """Some rows written by stock and some by feast-rs; all views, and services over several."""
    stock, ours = stores
    fill(stock, ours)
    keyed = {"driver_id", "customer_id", "account_id", "device_id", "hour_id"}
    for name in ("driver_stats", "customer", "account", "device", "hour", "pair", "triple"):
        keys = VIEW_KEYS[name]
        assert set(keys) <= keyed
        width = max(len(POOLS[key]) for key in keys)
        rows = {key: [POOLS[key][at % len(POOLS[key])] for at in range(width)] for key in keys}
        ask(stock, ours, [f"{name}:{feature}" for feature in FEATURES[name]], rows)
    rows = {"driver_id": [1, 2, 4], "customer_id": ["ü", "", "nobody"]}
    answer = ask(stock, ours, stock.get_feature_service("ranking"), rows)
    assert answer.to_dict()["rate"] == [0.5, None, None]
    assert answer.to_dict()["affinity"] == [0.25, 0.75, None]
    hour = {"hour_id": [HOUR, NOON - timedelta(days=1)]}
    assert ask(stock, ours, ["hour:holiday"], hour).to_dict()["holiday"] == [True, None]


def test_bytes_are_stocks(cluster: Cluster, stores: tuple[FeatureStore, FeatureStore]) -> None:
    """Each key on its node, whoever wrote it."""
    stock, ours = stores
    rows = [
        {"driver_id": driver, "rate": driver / 8, "trips": driver, "tags": ["a"]}
        for driver in range(300)
    ]
    write(stock, "driver_stats", rows)
    expected = stored(cluster)
    assert min(map(len, expected)) > 50
    for node in cluster.nodes:
        node.ask("FLUSHALL")
    write(ours, "driver_stats", rows)
    assert stored(cluster) == expected


def test_wide_hashes_are_dumped(cluster: Cluster, tmp_path: Path) -> None:
    """By each node, and hash tables among them are asked for once more, of their nodes."""
    # A width of none of test_dumped_hashes, for what is learned of fields is known in the process.
    width, count = 119, 300
    address = cluster.connection_string
    ours = wide_store(tmp_path, address, width, redis_type="redis_cluster")
    long = pa.array(["x" * 65 if row % 3 == 0 else "y" for row in range(count)])
    feast_rs.write_batches(ours, "wide", wide_batch(width, count, text=2).set_column(4, "f2", long))
    stock = store_of(STOCK, tmp_path, cluster)
    features = [f"wide:f{place}" for place in range(width)]
    rows = [{"driver_id": driver} for driver in range(-5, count + 5)]
    expected = stock.get_online_features(features, rows).to_dict()
    # Of no hash tables: the first read sees that the hashes are wide, the second tries DUMP.
    for _ in range(2):
        ours.get_online_features(features, [{"driver_id": n} for n in range(1, count, 3)])
    for node in cluster.nodes:
        node.ask("CONFIG", "RESETSTAT")
    assert_same(expected, ours.get_online_features(features, rows).to_dict())
    dumps = again = 0
    for node in cluster.nodes:
        with node.client() as client:
            calls = succeeded(client, "dump", "hgetall")
        dumps, again = dumps + calls["dump"], again + calls["hgetall"]
    assert dumps == count + 10
    assert again == count // 3


@pytest.mark.parametrize("atomic", [False, True], ids=["as stock", "atomic"])
def test_a_stream_of_rows(cluster: Cluster, tmp_path: Path, atomic: bool) -> None:
    """Batches go to all nodes at once; stock reads what came, and older rows change nothing."""
    stock = store_of(STOCK, tmp_path, cluster)
    World(stock)
    ours = store_of(OURS, tmp_path, cluster, atomic_writes=atomic)
    table = numbers(MANY)
    report = feast_rs.write_batches(ours, "driver_stats", table.to_batches(max_chunksize=500))
    assert report.rows_written == MANY
    before = stored(cluster)
    assert sum(map(len, before)) == MANY
    refs = [f"driver_stats:{name}" for name in ("rate", "trips", "city", "tags")]
    some = {"driver_id": list(range(0, MANY, 61))}
    answer = ask(stock, ours, refs, some).to_dict()
    assert answer["trips"] == some["driver_id"]
    older = table.set_column(
        table.schema.get_field_index("ts"),
        "ts",
        pa.array([NOON - timedelta(hours=1)] * MANY, pa.timestamp("us", "UTC")),
    )
    older = older.set_column(1, "rate", pa.array([0.0] * MANY, pa.float64()))
    report = feast_rs.write_batches(ours, "driver_stats", older)
    assert (report.rows_written, report.rows_skipped) == (0, MANY)
    assert stored(cluster) == before


def test_deletion_reaches_all_nodes(
    cluster: Cluster, stores: tuple[FeatureStore, FeatureStore], tmp_path: Path
) -> None:
    _, ours = stores
    feast_rs.write_batches(ours, "driver_stats", numbers(MANY))
    other = tmp_path / "other"
    other.mkdir()
    neighbour = store_of(OURS, other, cluster, project="my_proj")
    World(neighbour)
    feast_rs.write_batches(neighbour, "driver_stats", numbers(30))
    rows = [{"driver_id": driver, "trips": driver, "score": 0.5} for driver in range(100)]
    write(ours, "driver_more", rows)
    online_store = ours._get_provider().online_store
    stats, more = (ours.get_feature_view(name) for name in ("driver_stats", "driver_more"))
    online_store.update(ours.config, [stats], [more], [], [], False)
    answer = ours.get_online_features(
        ["driver_stats:trips", "driver_more:trips"],
        {"driver_id": list(range(200))},
        full_feature_names=True,
    ).to_dict()
    assert answer["driver_stats__trips"] == [None] * 200
    assert answer["driver_more__trips"] == [*range(100), *[None] * 100]
    assert sum(map(len, stored(cluster))) == 100 + 30
    online_store.teardown(ours.config, [stats, more], [])
    left = [key for node in stored(cluster) for key in node]
    assert len(left) == 30
    assert all(key.endswith(b"my_proj") for key in left)


def test_slots_without_a_server_are_not_left_out(
    cluster: Cluster, stores: tuple[FeatureStore, FeatureStore]
) -> None:
    """What a deletion cannot reach it does not report as deleted."""
    _, ours = stores
    feast_rs.write_batches(ours, "driver_stats", numbers(100))
    first, last = cluster.slots(1)[0]
    for node in cluster.nodes:
        node.ask("CLUSTER", "DELSLOTS", first)
    # What was looked up a moment ago counts as known.
    time.sleep(0.1)
    try:
        online_store = ours._get_provider().online_store
        with pytest.raises(feast_rs.ConnectionError, match="1 of the 16384 slots"):
            online_store.teardown(ours.config, [ours.get_feature_view("driver_stats")], [])
    finally:
        cluster.nodes[1].ask("CLUSTER", "ADDSLOTS", first)
        cluster.wait_ok()
    assert last > first
    online_store.teardown(ours.config, [ours.get_feature_view("driver_stats")], [])
    assert sum(map(len, stored(cluster))) == 0


def test_async_reads(stores: tuple[FeatureStore, FeatureStore]) -> None:
    _, ours = stores
    feast_rs.write_batches(ours, "driver_stats", numbers(500))

    async def read(first: int) -> list[Any]:
        rows = {"driver_id": list(range(first, first + 20))}
        answer = await ours.get_online_features_async(["driver_stats:trips"], rows)
        trips: list[Any] = answer.to_dict()["trips"]
        return trips

    async def all_at_once() -> list[list[Any]]:
        return await asyncio.gather(*(read(first) for first in range(0, 500, 10)))

    for first, trips in zip(range(0, 500, 10), asyncio.run(all_at_once()), strict=True):
        assert trips == [n if n < 500 else None for n in range(first, first + 20)]
