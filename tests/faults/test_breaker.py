"""What a request costs while a node is stopped, and what hedged reads cost the servers."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64, Int64
from redis.crc import key_slot

from tests.support.cluster import Cluster, wait_until
from tests.support.commands import reads_of
from tests.support.drivers import entity_rows, redis_key
from tests.support.proxy import Proxy
from tests.support.running import eventually
from tests.support.server import RedisServer
from tests.support.stores import OURS, feature_store

LIMIT_MS = 100
TOLERANCE = 0.010
DRIVERS, FEATURES, ROWS = 300, 50, 10
NAMES = [f"f{number}" for number in range(FEATURES)]
REFS = [f"wide:{name}" for name in NAMES]
DEFAULT = -1.0


def value(driver: int, feature: int) -> float:
    return driver * FEATURES + feature / 8


def wide_store(directory: Path, address: str, **settings: Any) -> FeatureStore:
    """A store with a view of fifty features, whose rows are written."""
    plain = {name: settings[name] for name in ("redis_type",) if name in settings}
    store = feature_store(OURS, directory, address, **plain)
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    view = FeatureView(
        name="wide",
        entities=[driver],
        source=FileSource(path=str(directory / "wide.parquet"), timestamp_field="ts"),
        schema=[
            Field(name="driver_id", dtype=Int64),
            *(Field(name=name, dtype=Float64) for name in NAMES),
        ],
    )
    store.apply([driver, view])
    when = datetime(2024, 1, 1, tzinfo=timezone.utc)
    rows = [
        (
            EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=driver)]),
            {name: Value(double_val=value(driver, at)) for at, name in enumerate(NAMES)},
            when,
            None,
        )
        for driver in range(DRIVERS)
    ]
    store._get_provider().online_write_batch(store.config, view, rows, None)
    return feature_store(OURS, directory, address, request_timeout_ms=LIMIT_MS, **settings)


def check(store: FeatureStore, drivers: Sequence[int], lost: set[int]) -> tuple[float, int]:
    """Reads drivers, of whom `lost` may have defaults; seconds, and how many had."""
    rows = entity_rows(drivers)
    begin = time.perf_counter()
    answer = store.get_online_features(REFS, rows)
    seconds = time.perf_counter() - begin
    columns = answer.to_dict()
    statuses = [list(result.statuses) for result in answer.proto.results[-FEATURES:]]
    defaulted = 0
    for place, driver in enumerate(drivers):
        row = [columns[name][place] for name in NAMES]
        marks = {statuses[at][place] for at in range(FEATURES)}
        if driver in lost and row == [DEFAULT] * FEATURES:
            assert marks == {FieldStatus.INVALID}
            defaulted += 1
        else:
            assert row == [value(driver, at) for at in range(FEATURES)]
            assert marks == {FieldStatus.PRESENT}
    return seconds, defaulted


def measure(
    store: FeatureStore, drivers: Sequence[int], lost: set[int], calls: int
) -> tuple[list[float], int]:
    """Seconds of calls for ten of the drivers, in order of length, and how many defaults."""
    outcomes = [check(store, random.sample(drivers, ROWS), lost) for _ in range(calls)]
    return sorted(seconds for seconds, _ in outcomes), sum(count for _, count in outcomes)


def p99(seconds: Sequence[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


@pytest.fixture
def lone_primaries() -> Iterator[Cluster]:
    """Three primaries, and nobody to take over."""
    with closing(Cluster(3, 0)) as cluster:
        yield cluster


def stops(cluster: Cluster) -> list[tuple[str, Callable[[], None], Callable[[], None]]]:
    node = cluster.primary(0)
    return [("paused", node.pause, node.resume), ("killed", node.kill, node.start)]


@pytest.mark.parametrize("stopped", [0, 1], ids=["paused", "killed"])
def test_one_of_three_nodes_stopped(lone_primaries: Cluster, tmp_path: Path, stopped: int) -> None:
    cluster = lone_primaries
    _, stop, start = stops(cluster)[stopped]
    store = wide_store(
        tmp_path,
        cluster.connection_string,
        redis_type="redis_cluster",
        breaker=True,
        on_error="defaults",
        default_values=dict.fromkeys(REFS, DEFAULT),
    )
    (first, last), *_ = cluster.slots(0)
    lost = {driver for driver in range(DRIVERS) if first <= key_slot(redis_key(driver)) <= last}
    kept = [driver for driver in range(DRIVERS) if driver not in lost]
    assert 50 < len(lost) < 150
    everyone = list(range(DRIVERS))
    measure(store, everyone, set(), 100)

    before, _ = measure(store, kept, set(), 500)
    stop()
    mixed, defaulted = measure(store, everyone, lost, 300)
    during, none = measure(store, kept, set(), 500)
    again, more = measure(store, everyone, lost, 200)
    start()
    # The others forget their verdict on it after a while, too.
    cluster.wait_ok()
    back_at = time.monotonic()
    for name, times in (
        ("before", before),
        ("with keys of the stopped node", mixed),
        ("again", again),
        ("without", during),
    ):
        print(
            f"{ROWS} x {FEATURES} {name}: median {1000 * statistics.median(times):.2f} ms, "
            f"p99 {1000 * p99(times):.2f} ms, longest {1000 * max(times):.2f} ms"
        )
    assert defaulted > 0
    assert more > 0
    assert none == 0
    assert p99(mixed) < LIMIT_MS / 1000 + TOLERANCE
    assert p99(again) < LIMIT_MS / 1000 + TOLERANCE
    # What a breaker is for: while it is open nobody waits for the node.
    assert statistics.median(again) < LIMIT_MS / 1000 / 4
    assert statistics.median(during) < 2 * statistics.median(before)
    # A core that is taken away for a moment makes one of them late, too.
    assert p99(during) < 2 * p99(before) + 0.001

    def back() -> None:
        assert measure(store, everyone, lost, 20)[1] == 0

    eventually(back, seconds=2)
    print(f"back after {time.monotonic() - back_at:.2f} s")


class Hesitating(Proxy):
    """Takes its time for one in thirty replies."""

    def __init__(self, port: int, pause: float) -> None:
        super().__init__(port)
        self._pause, self._passed = pause, 0
        self._count = threading.Lock()

    def _take_time(self, chunk: bytes) -> None:
        with self._count:
            self._passed += 1
            late = self._passed % 60 == 0
        if late:
            time.sleep(self._pause)


def test_hedged_reads(tmp_path: Path) -> None:
    with closing(RedisServer("--repl-diskless-sync-delay", "0")) as primary:
        follow = ("--replicaof", f"{primary.host} {primary.port}")
        with (
            closing(RedisServer(*follow)) as replica,
            closing(Hesitating(primary.port, pause=0.06)) as proxy,
        ):
            settings = {"replicas": [replica.address]}
            plain = wide_store(tmp_path, proxy.address, **settings)
            with replica.client() as client:
                wait_until(lambda: client.dbsize() == DRIVERS, "the replica's data")
            hedged = feature_store(
                OURS,
                tmp_path,
                proxy.address,
                request_timeout_ms=LIMIT_MS,
                hedge_percentile=95,
                **settings,
            )
            everyone = list(range(DRIVERS))
            for store in (plain, hedged):
                measure(store, everyone, set(), 100)
            slow, _ = measure(plain, everyone, set(), 600)
            counts = [reads_of(server) for server in (primary, replica)]
            calls = 1500
            fast, _ = measure(hedged, everyone, set(), calls)
            asked, added = (
                reads_of(server) - count
                for server, count in zip((primary, replica), counts, strict=True)
            )
            print(
                f"p99 {1000 * p99(slow):.1f} ms, hedged {1000 * p99(fast):.1f} ms, for "
                f"{100 * added / (calls * ROWS):.1f} % more reads"
            )
            # Some not by the primary, if the replica answers before there is a connection to it.
            assert calls * ROWS * 0.9 < asked <= calls * ROWS <= asked + added
            # `hedge_max_percent` is 10 unless given.
            assert 0.01 < added / (calls * ROWS) <= 0.11
            assert p99(slow) > 0.05
            assert p99(fast) < 0.03
