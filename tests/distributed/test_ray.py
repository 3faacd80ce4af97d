"""Feast's Ray engine on a local Ray: the store inside Ray's workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
from feast import FeatureStore
from google.protobuf.timestamp_pb2 import Timestamp

from tests.distributed.rides import (
    END,
    PASSWORD,
    START,
    Contents,
    address_of,
    connections,
    contents,
    feature_store,
    file_source,
)
from tests.support.server import RedisServer


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    """Ray tells nobody of its use, and ends with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield
        ray.shutdown()


def store_on(
    directory: Path, online_store: Mapping[str, Any], offline_store: Mapping[str, Any]
) -> FeatureStore:
    """A store that Ray materializes with two workers."""
    return feature_store(
        directory,
        file_source,
        online_store,
        offline_store=dict(offline_store),
        batch_engine={
            "type": "ray.engine",
            "write_concurrency": 2,
            "ray_conf": {"num_cpus": 2},
        },
    )


def test_workers_write_what_stock_writes(
    rides: Path,
    by_stock: Contents,
    guarded_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A view's rows in one block, of which the store keeps the newest; then blocks of a few rows,
    which both workers write."""
    store = store_on(rides, address_of(guarded_server, guarded=True), {"type": "file"})
    store.materialize(START, END, feature_views=["driver_stats"])
    before = connections(guarded_server, PASSWORD)
    monkeypatch.setattr(ray.data.DataContext.get_current(), "target_max_block_size", 32_768)
    store.materialize(START, END, feature_views=["station_hours"])
    assert connections(guarded_server, PASSWORD) - before > 3
    assert not store._get_provider().online_store._clients, "the driver wrote"
    assert contents(guarded_server, PASSWORD) == by_stock


def test_from_the_offline_store_of_ray(
    rides: Path, tmp_path: Path, by_stock: Contents, server: RedisServer
) -> None:
    """It cuts event timestamps to seconds, as docs/distributed.md says."""
    store = store_on(rides, address_of(server), {"type": "ray", "storage_path": str(tmp_path)})
    store.materialize(START, END, feature_views=["station_hours"])
    assert contents(server) == {
        key: {**stored, b"_ts:station_hours": seconds_only(stored[b"_ts:station_hours"])}
        for key, stored in by_stock.items()
        if b"_ts:station_hours" in stored
    }


def seconds_only(stored: bytes) -> bytes:
    """A stored event timestamp without its fraction."""
    whole = Timestamp(seconds=Timestamp.FromString(stored).seconds)
    assert whole.SerializeToString() != stored
    return whole.SerializeToString()


def test_feast_hides_a_refused_row(rides: Path, full_server: RedisServer) -> None:
    """As docs/distributed.md warns: Feast's Ray engine logs the store's error and goes on."""
    store = store_on(rides, address_of(full_server), {"type": "file"})
    store.materialize(START, END, feature_views=["driver_stats"])
    assert contents(full_server) == {}
    assert store.get_feature_view("driver_stats").materialization_intervals
