"""Keys of version 2 become keys of version 3 in a cluster that fails over meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import redis
from feast import FeatureStore
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

import feast_rs
from tests.support.cluster import Cluster, wait_until
from tests.support.stores import OURS, feature_store
from tests.support.world import World

COUNT = 20_000

pytestmark = pytest.mark.filterwarnings("ignore:.*entity key with version:UserWarning")


def keys_of(driver: int) -> tuple[bytes, bytes]:
    """A driver's keys of version 2 and 3."""
    entity = EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=driver)])
    old, new = (serialize_entity_key(entity, version) for version in (2, 3))
    return old + b"proj", new + b"proj"


@pytest.fixture(scope="module")
def keys() -> dict[bytes, bytes]:
    """Keys of version 3 by those of version 2."""
    return dict(keys_of(driver) for driver in range(COUNT))


@pytest.fixture
def client(cluster: Cluster) -> Iterator[redis.RedisCluster]:
    host, _, port = cluster.nodes[0].announced.partition(":")
    with closing(redis.RedisCluster(host=host, port=int(port))) as client:
        yield client


def fill(
    cluster: Cluster, client: redis.RedisCluster, keys: dict[bytes, bytes], directory: Path
) -> FeatureStore:
    """A store of version 3 whose rows lie under keys of version 2, also on the replicas."""
    pipeline = client.pipeline()
    for number, key in enumerate(keys):
        pipeline.hset(key, mapping={"_ts:driver_stats": b"\x08\x07", "cell": b"%d" % number})
    pipeline.execute()
    for node in cluster.primaries():
        with node.client() as own:
            written = own.info("replication")["master_repl_offset"]
            wait_until(partial(has_passed_on, own, written), "the replicas' data")
    store = feature_store(OURS, directory, cluster.connection_string, redis_type="redis_cluster")
    World(store)
    return store


def has_passed_on(client: redis.Redis, offset: int) -> bool:
    return bool(client.info("replication")["slave0"]["offset"] >= offset)


def stored(client: redis.RedisCluster, keys: list[bytes]) -> list[bytes | None]:
    pipeline = client.pipeline()
    for key in keys:
        pipeline.hget(key, "cell")
    values: list[bytes | None] = pipeline.execute()
    return values


def test_failover(
    cluster: Cluster, client: redis.RedisCluster, keys: dict[bytes, bytes], tmp_path: Path
) -> None:
    """Nothing is lost: each row is under its new key, or still under its old one."""
    store = fill(cluster, client, keys, tmp_path)
    sample = list(keys.values())[:100]

    def fail_over() -> None:
        wait_until(lambda: any(stored(client, sample)), "the first copies")
        old = cluster.primary(0)
        old.kill()
        cluster.wait_promoted(0, old)
        cluster.fail_over(1)

    breaker = threading.Thread(target=fail_over)
    breaker.start()
    report = feast_rs.migrate_keys(store, delete=True, batch_size=100)
    breaker.join()
    again = feast_rs.migrate_keys(store, delete=True)
    assert again.is_clean
    print(report.to_text())
    expected = [b"%d" % number for number in range(COUNT)]
    assert stored(client, list(keys.values())) == expected
    assert set(stored(client, list(keys))) == {None}


def test_no_replica_answers(
    cluster: Cluster, client: redis.RedisCluster, keys: dict[bytes, bytes], tmp_path: Path
) -> None:
    """Copies that only their primaries have are no reason to delete anything."""
    some = dict(list(keys.items())[:300])
    store = fill(cluster, client, some, tmp_path)
    replicas = [cluster.replica(shard) for shard in range(3)]
    for replica in replicas:
        replica.pause()
    try:
        report = feast_rs.migrate_keys(store, delete=True)
    finally:
        for replica in replicas:
            replica.resume()
    expected = [b"%d" % number for number in range(len(some))]
    assert stored(client, list(some.values())) == expected
    # Until the cluster itself has given the replicas up: then there is nobody to take over.
    assert report.deleted + report.kept == len(some)
    assert report.kept > 0
    assert not report.is_clean
    assert stored(client, list(some)).count(None) == report.deleted
    cluster.wait_ok()
    assert feast_rs.migrate_keys(store, delete=True).deleted == report.kept
