"""What Feast's engines ship to their workers, and what a worker does with it.

The engines themselves run in `make test-distributed`.
"""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import dill
import psutil
import pyarrow as pa
import pytest
from feast import FeatureStore, FeatureView, ValueType
from feast.infra.common.serde import SerializedArtifacts
from feast.utils import _convert_arrow_to_proto

import feast_rs
from tests.support.drivers import check, frame, open_store, read, redis_key
from tests.support.rows import client_of
from tests.support.server import RedisServer

pickles = pytest.mark.parametrize("by", [pickle, cloudpickle, dill], ids=lambda by: by.__name__)


def write_drivers(
    online_store: feast_rs.RedisOnlineStore, config: Any, table: FeatureView, first: int, last: int
) -> None:
    """Writes drivers' rows as the engines do."""
    rows = pa.Table.from_pandas(frame(range(first, last)), preserve_index=False)
    data = _convert_arrow_to_proto(rows, table, {"driver_id": ValueType.INT64})
    online_store.online_write_batch(config, table, data, lambda count: None)


def as_spark_ships(store: FeatureStore) -> Callable[[int, int], None]:
    """A write as Spark's workers and Ray's get it: the store is made where it is used."""
    artifacts = SerializedArtifacts.serialize(store.get_feature_view("stats"), store.config)

    def write(first: int, last: int) -> None:
        table, online_store, _, config = artifacts.unserialize()
        write_drivers(online_store, config, table, first, last)

    return write


def as_ray_ships(store: FeatureStore) -> Callable[[int, int], None]:
    """A write with the store itself in its closure, after it has connected."""
    table, config = store.get_feature_view("stats"), store.config
    online_store = store._get_provider().online_store
    write_drivers(online_store, config, table, 100, 101)

    def write(first: int, last: int) -> None:
        write_drivers(online_store, config, table, first, last)

    return write


def run(pickled: bytes, first: int, last: int) -> None:
    """What a worker does."""
    cloudpickle.loads(pickled)(first, last)


@pytest.fixture(scope="module")
def worker() -> Iterator[ProcessPoolExecutor]:
    """A process that shares nothing with this one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as worker:
        yield worker


@pytest.mark.parametrize("shipped", [as_spark_ships, as_ray_ships])
def test_another_process_writes(
    server: RedisServer,
    tmp_path: Path,
    worker: ProcessPoolExecutor,
    shipped: Callable[[FeatureStore], Any],
) -> None:
    store = open_store(tmp_path, server.address)
    pickled = cloudpickle.dumps(shipped(store))
    tasks = [worker.submit(run, pickled, first, first + 10) for first in range(0, 40, 10)]
    assert [task.result(120) for task in tasks] == [None] * 4
    check(store, read, range(40))


def test_a_store_for_each_batch(server: RedisServer, tmp_path: Path) -> None:
    """Spark and Ray make a store for each batch; its connections go with it."""
    store = open_store(tmp_path, server.address)
    write = as_spark_ships(store)
    client = client_of(store)
    client.ping()
    write(0, 1)
    gc.collect()
    process = psutil.Process()
    before = client.info("clients")["connected_clients"], process.num_fds(), process.num_threads()
    for driver in range(100):
        write(driver, driver + 1)
    gc.collect()
    after = client.info("clients")["connected_clients"], process.num_fds(), process.num_threads()
    assert after == before
    assert client.exists(*(redis_key(driver) for driver in range(100))) == 100


@pickles
def test_the_configuration_arrives_whole(by: ModuleType) -> None:
    config = feast_rs.RedisOnlineStoreConfig(
        connection_string="redis://localhost:7000/3", password=123456, key_ttl_seconds=60
    )
    arrived = by.loads(by.dumps(config))
    assert type(arrived) is feast_rs.RedisOnlineStoreConfig
    assert arrived == config
    assert arrived.connection_key == config.connection_key
    assert arrived.connection_settings() == config.connection_settings()
    assert "123456" not in repr(arrived)


@pickles
def test_an_error_comes_back(by: ModuleType) -> None:
    names = [name for name in feast_rs.__all__ if name.endswith("Error")]
    assert len(names) > 10
    for name in names:
        more = [feast_rs.MaterializationReport([])] if name == "MaterializationError" else []
        error = getattr(feast_rs, name)("what happened", *more)
        back = by.loads(by.dumps(error))
        assert type(back) is type(error)
        assert str(back) == "what happened"
