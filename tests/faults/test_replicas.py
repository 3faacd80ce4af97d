"""Reads from replicas that die and fall silent, under load.

A replica is behind its primary, so what the workers read need not be the newest row; but it is a
row that was written, and whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

import feast_rs
from tests.faults.workload import Workload
from tests.support.cluster import Cluster, wait_until
from tests.support.commands import reads_of
from tests.support.drivers import check, filled_store, open_store, read
from tests.support.sentinels import MASTER, Sentinels
from tests.support.server import DURABLE, RedisServer, free_port

BREAKER = {"breaker": True}
REPLICAS = ["replica", "prefer_replica", "lowest_latency"]


@pytest.fixture
def trio() -> Iterator[list[RedisServer]]:
    """A primary and two replicas."""
    with ExitStack() as stack:
        common = (*DURABLE, "--repl-diskless-sync-delay", "0")
        primary = RedisServer(*common)
        stack.callback(primary.close)
        servers = [primary]
        for _ in range(2):
            follow = ("--replicaof", f"{primary.host} {primary.port}")
            servers.append(RedisServer(*common, *follow))
            stack.callback(servers[-1].close)
        wait_until(lambda: all(is_synced(server) for server in servers[1:]), "the replicas' data")
        catch_up(primary)
        yield servers


def catch_up(primary: RedisServer) -> None:
    """Waits until both replicas have what was written; they are sent nothing for up to a second
    after they are synchronized."""
    with primary.client() as client:
        client.set("last", "write")
        assert client.wait(2, 10_000) == 2
        client.delete("last")


def is_synced(replica: RedisServer) -> bool:
    with replica.client() as client:
        return bool(client.role()[3] == b"connected")


def workload(directory: Path, servers: list[RedisServer], **settings: Any) -> Workload:
    """The workers on a primary and its replicas."""
    addresses = [server.address for server in servers]
    return Workload(directory, addresses[0], addresses, replicated=servers, fresh=False, **settings)


@pytest.mark.parametrize(
    ("read_from", "named"),
    [("replica", True), ("replica", False), ("prefer_replica", False), ("lowest_latency", True)],
)
def test_replica_killed(
    trio: list[RedisServer], tmp_path: Path, read_from: str, named: bool
) -> None:
    _, first, second = trio
    settings: dict[str, Any] = {"read_from": read_from}
    if named:
        settings["replicas"] = [first.address, second.address]
    else:
        # A primary does not tell when a replica comes back.
        settings["topology_refresh_seconds"] = 1
    with workload(tmp_path, trio, **settings) as load:
        counts = [reads_of(server) for server in trio]
        load.run(1)
        done = [reads_of(server) - count for server, count in zip(trio, counts, strict=True)]
        if read_from != "lowest_latency":
            # The writers read a little of the primary, to compare times.
            assert min(done[1:]) > done[0]
        with load.outage(must_fail=False):
            first.kill()
        load.run(0.5)
        with load.outage(must_fail=read_from == "replica"):
            second.kill()
            if read_from == "replica":
                time.sleep(0.5)
                second.start()
        if read_from != "replica":
            load.run(0.5)
            second.start()
        first.start()
        wait_until(lambda: is_synced(first) and is_synced(second), "the replicas' data")
        # They are found again.
        counts = [reads_of(server) for server in trio]
        load.run(2.5)
        if read_from != "lowest_latency":
            assert reads_of(first) > counts[1]
            assert reads_of(second) > counts[2]


@pytest.mark.parametrize("read_from", REPLICAS)
def test_replica_without_data(trio: list[RedisServer], tmp_path: Path, read_from: str) -> None:
    """What it has not would look as if it were not stored."""
    primary, follower, _ = trio
    filled_store(tmp_path, primary.address)
    catch_up(primary)
    with closing(RedisServer("--replicaof", f"{primary.host} {free_port()}")) as empty:
        settings = {"read_from": read_from, "replicas": [empty.address]}
        store = open_store(tmp_path, primary.address, **settings)
        if read_from == "replica":
            with pytest.raises(feast_rs.ConnectionError, match="has not had its primary's data"):
                read(store, [1])
        else:
            check(store, read, [1])
        assert reads_of(empty) == 0
        settings["replicas"] = [empty.address, follower.address]
        store = open_store(tmp_path, primary.address, **settings)
        for _ in range(5):
            check(store, read, [1])
        assert reads_of(empty) == 0


@pytest.mark.parametrize("read_from", REPLICAS)
def test_replica_silent(trio: list[RedisServer], tmp_path: Path, read_from: str) -> None:
    """The breaker takes it out; who is sent to try it may wait in vain."""
    with workload(tmp_path, trio, read_from=read_from, **BREAKER) as load:
        load.run(0.5)
        with load.outage(must_fail=read_from != "lowest_latency"):
            trio[1].pause()
            time.sleep(2)
            before = load.report()
            time.sleep(1.5)
            after = load.report()
            trio[1].resume()
        calls = sum(after["calls"].values()) - sum(before["calls"].values())
        assert after["failed"] - before["failed"] < calls / 20


@pytest.mark.parametrize("read_from", REPLICAS)
def test_replica_of_a_shard_killed(cluster: Cluster, tmp_path: Path, read_from: str) -> None:
    with Workload(
        tmp_path,
        cluster.connection_string,
        cluster.addresses,
        replicated=cluster.nodes,
        fresh=False,
        redis_type="redis_cluster",
        read_from=read_from,
    ) as load:
        replicas = [cluster.replica(shard) for shard in range(3)]
        counts = [reads_of(node) for node in replicas]
        load.run(1)
        if read_from != "lowest_latency":
            assert all(reads_of(node) > count for node, count in zip(replicas, counts, strict=True))
        with load.outage(must_fail=read_from == "replica"):
            replicas[0].kill()
            if read_from == "replica":
                time.sleep(0.5)
                replicas[0].start()
        if not replicas[0].is_up:
            replicas[0].start()
        cluster.wait_ok()
        with load.outage(must_fail=False):
            cluster.fail_over(1)
        load.run(0.5)


def test_replica_of_sentinel_killed(sentinels: Sentinels, tmp_path: Path) -> None:
    (replica,) = [server for server in sentinels.servers if server is not sentinels.primary]
    with Workload(
        tmp_path,
        sentinels.connection_string,
        sentinels.addresses,
        replicated=sentinels.servers,
        fresh=False,
        redis_type="redis_sentinel",
        sentinel_master=MASTER,
        read_from="prefer_replica",
    ) as load:
        count = reads_of(replica)
        load.run(1)
        assert reads_of(replica) > count
        with load.outage(must_fail=False):
            replica.kill()
        load.run(0.5)
        replica.start()
        sentinels.wait_ok()
        with load.outage(must_fail=False):
            sentinels.fail_over()
        sentinels.wait_ok()
