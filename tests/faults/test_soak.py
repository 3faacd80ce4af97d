"""A hundred faults, one after the other: nothing is left behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.faults.workload import LIMIT_MS, MEBIBYTE, Workload
from tests.support.cluster import Cluster
from tests.support.proxy import Proxy
from tests.support.server import DURABLE, RedisServer

FAULTS = 100
WARM_UP = 21
"""Faults after which everything has been used once: each of seven on each of three shards."""
POOL = 8
OVER_LIMIT = LIMIT_MS / 1000 + 0.05

Fault = Callable[[], None]


def refuse(proxy: Proxy) -> None:
    proxy.refuses = True
    proxy.cut()
    time.sleep(0.05)
    proxy.mend()


def delay(proxy: Proxy) -> None:
    proxy.delay = OVER_LIMIT
    time.sleep(OVER_LIMIT)
    proxy.mend()


def pause(server: RedisServer, seconds: float) -> None:
    server.pause()
    time.sleep(seconds)
    server.resume()


def restart(server: RedisServer) -> None:
    server.kill()
    server.start()


def soak(load: Workload, faults: list[Fault], servers: int) -> None:
    """Goes through the faults in turn, and compares what the workers hold."""

    def suffer(count: int) -> None:
        for at in range(count):
            with load.outage(must_fail=False, calm=0.05):
                faults[at % len(faults)]()

    load.run(1)
    suffer(WARM_UP)
    before = load.resources()
    suffer(FAULTS)
    load.run(1)
    after = load.resources()
    grown = {name: after[name] - before[name] for name in before}
    print(f"over {FAULTS} faults: {grown}, from {before}")
    # Connections that were not open at the time, of blocking and of async calls.
    assert grown["files"] <= 2 * POOL * servers
    assert grown["threads"] <= 2
    assert grown["memory"] < 8 * MEBIBYTE


def test_standalone(tmp_path: Path) -> None:
    with closing(RedisServer(*DURABLE)) as server, closing(Proxy(server.port)) as proxy:
        faults: list[Fault] = [
            proxy.cut,
            lambda: proxy.cut(reset=True),
            proxy.half_close,
            lambda: refuse(proxy),
            lambda: delay(proxy),
            lambda: pause(server, OVER_LIMIT),
            lambda: restart(server),
        ]
        with Workload(tmp_path, proxy.address, [proxy.address], redis_pool_size=POOL) as load:
            soak(load, faults, 1)


def test_cluster(proxied_cluster: Cluster, tmp_path: Path) -> None:
    cluster = proxied_cluster
    shards = iter(range(10**6))

    def next_proxy() -> Proxy:
        proxy = cluster.primary(next(shards) % 3).proxy
        assert proxy is not None
        return proxy

    faults: list[Fault] = [
        lambda: next_proxy().cut(),
        lambda: next_proxy().cut(reset=True),
        lambda: next_proxy().half_close(),
        lambda: refuse(next_proxy()),
        lambda: delay(next_proxy()),
        lambda: pause(cluster.primary(next(shards) % 3), OVER_LIMIT),
        lambda: plan_failover(cluster, next(shards) % 3),
    ]
    with Workload(
        tmp_path,
        cluster.connection_string,
        cluster.addresses,
        replicated=cluster.nodes,
        redis_type="redis_cluster",
        redis_pool_size=POOL,
    ) as load:
        soak(load, faults, len(cluster.nodes))


def plan_failover(cluster: Cluster, shard: int) -> None:
    # A replica whose connection was cut is not ready to take over.
    cluster.wait_ok()
    cluster.fail_over(shard)
