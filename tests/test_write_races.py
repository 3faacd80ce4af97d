"""`atomic_writes`: whoever writes what and when, the newest row of each entity stays, whole."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import redis
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import feast_rs
from tests.support.drivers import open_store, redis_key
from tests.support.races import (
    messages,
    newest,
    record_batch,
    share,
    stored_stamps,
    time_of,
    write_share,
)
from tests.support.server import RedisServer

FIELD = b"_ts:stats"


FORKS = get_context("fork")


def write_in_child(directory: Path, address: str, seed: int, started: Any) -> None:
    store = open_store(directory, address, atomic_writes=True)
    started.set()
    write_share(store, share(seed), seed)


def writer_process(directory: Path, address: str, seed: int) -> Any:
    """A child that writes, once it has begun to."""
    started = FORKS.Event()
    child = FORKS.Process(target=write_in_child, args=(directory, address, seed, started))
    child.start()
    assert started.wait(60)
    return child


class Watcher(threading.Thread):
    """Does something over and over, until it is told to stop; hands on what went wrong."""

    def __init__(self, work: Callable[[], Any], pause: float) -> None:
        super().__init__(daemon=True)
        self._work, self._pause = work, pause
        self._stop_now = threading.Event()
        self.rounds = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stop_now.wait(self._pause):
                self._work()
                self.rounds += 1
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        self._stop_now.set()
        self.join()
        if self.error is not None:
            raise self.error


def test_writers_of_all_kinds_and_one_that_is_killed(server: RedisServer, tmp_path: Path) -> None:
    store = open_store(tmp_path, server.address, atomic_writes=True)
    reading = open_store(tmp_path, server.address, atomic_writes=True)
    admin = redis.Redis(port=server.port)
    killed, whole = (writer_process(tmp_path, server.address, seed) for seed in (100, 101))

    seen: list[dict[int, int]] = [{}]

    def look() -> None:
        """Rows are whole, and no entity goes back."""
        now = stored_stamps(reading)
        assert all(now[entity] >= stamp for entity, stamp in seen[0].items())
        seen[0] = now

    watchers = [Watcher(look, 0.05), Watcher(admin.script_flush, 0.02)]
    for watcher in watchers:
        watcher.start()
    failures: list[BaseException] = []

    def run(seed: int) -> None:
        try:
            write_share(store, share(seed), seed)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    killed.kill()
    killed.join()
    for thread in threads:
        thread.join()
    whole.join()
    assert whole.exitcode == 0
    # What died is run again.
    write_share(store, share(100), 100)
    for watcher in watchers:
        watcher.end()
    assert failures == []
    assert all(watcher.rounds for watcher in watchers)
    assert stored_stamps(store) == newest(share(seed) for seed in (0, 1, 2, 100, 101))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), max_size=12),
        min_size=2,
        max_size=4,
    )
)
def test_any_shares_at_once(
    server: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
    shares: list[list[tuple[int, int]]],
) -> None:
    redis.Redis(port=server.port).flushall()
    store = open_store(directory_of(tmp_path_factory), server.address, atomic_writes=True)
    together = threading.Barrier(len(shares))
    failures: list[BaseException] = []

    def run(place: int, rows: list[tuple[int, int]]) -> None:
        together.wait()
        try:
            if place % 2:
                feast_rs.write_batches(store, "stats", [record_batch([row]) for row in rows])
            else:
                view = store.get_feature_view("stats")
                online_store = store._get_provider().online_store
                online_store.online_write_batch(store.config, view, messages(rows), None)
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=run, args=(place, rows)) for place, rows in enumerate(shares)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert stored_stamps(store) == newest(shares)


_DIRECTORIES: list[Path] = []


def directory_of(factory: pytest.TempPathFactory) -> Path:
    """One repository for all examples."""
    if not _DIRECTORIES:
        _DIRECTORIES.append(factory.mktemp("races"))
    return _DIRECTORIES[0]


def test_counts_of_rows_that_race_with_nobody(server: RedisServer, tmp_path: Path) -> None:
    store = open_store(tmp_path, server.address, atomic_writes=True)
    rows = [(1, 5), (1, 4), (2, 1), (1, 5), (1, 6), (2, 2)]
    report = feast_rs.write_batches(store, "stats", record_batch(rows))
    assert (report.rows_read, report.rows_written, report.rows_skipped) == (6, 4, 2)
    assert report.newest_event_timestamp == time_of(6)
    report = feast_rs.write_batches(store, "stats", record_batch(rows))
    assert (report.rows_written, report.rows_skipped) == (0, 6)
    assert stored_stamps(store) == {1: 6, 2: 2}


def test_a_script_that_is_flushed_between_two_batches(server: RedisServer, tmp_path: Path) -> None:
    store = open_store(tmp_path, server.address, atomic_writes=True)
    admin = redis.Redis(port=server.port)
    for stamp in range(5):
        assert feast_rs.write_batches(store, "stats", record_batch([(1, stamp)])).rows_written == 1
        admin.script_flush()
    assert stored_stamps(store) == {1: 4}


def test_a_user_who_may_not_run_scripts(server: RedisServer, tmp_path: Path) -> None:
    admin = redis.Redis(port=server.port)
    login = {"username": "plain", "password": "s3cret-w0rd"}
    admin.acl_setuser(
        "plain",
        enabled=True,
        passwords=["+s3cret-w0rd"],
        keys=["*"],
        commands=["+@all", "-@scripting"],
    )
    try:
        store = open_store(tmp_path, server.address, atomic_writes=True, **login)
        with pytest.raises(feast_rs.ServerError) as raised:
            feast_rs.write_batches(store, "stats", record_batch([(1, 1)]))
        assert "NOPERM" in str(raised.value)
        assert "driver_id=1" in str(raised.value)
        assert "s3cret" not in str(raised.value)
    finally:
        admin.acl_deluser("plain")


# Around the powers of 128, at which the encoded seconds grow, on both sides of the epoch.
EDGES = sorted(
    {
        edge + step
        for power in range(1, 6)
        for edge in (128**power, -(128**power), 0, -62_135_596_800, 253_402_300_799)
        for step in (-1, 0, 1)
        if -62_135_596_800 <= edge + step <= 253_402_300_799
    }
)
NANOS = [0, 1000, 127_000, 128_000, 999_999_000]


def stamp(seconds: int, nanos: int) -> bytes:
    return Timestamp(seconds=seconds, nanos=nanos).SerializeToString()


def moment(seconds: int, nanos: int) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    return epoch + timedelta(seconds=seconds, microseconds=nanos // 1000)


def decisions(
    store: FeatureStore, pairs: list[tuple[tuple[int, int] | None, tuple[int, int]]]
) -> list[bool]:
    """Whether a row of the second time is written where one of the first is stored."""
    admin = redis.Redis.from_url(f"redis://{store.config.online_store.connection_string}")
    admin.flushall()
    pipeline = admin.pipeline(transaction=False)
    for driver, (before, _) in enumerate(pairs):
        if before is not None:
            pipeline.hset(redis_key(driver), FIELD, stamp(*before))
    pipeline.execute()
    rows = [
        (
            EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=driver)]),
            {"trips": Value(int64_val=1)},
            moment(*after),
            None,
        )
        for driver, (_, after) in enumerate(pairs)
    ]
    view = store.get_feature_view("stats")
    store._get_provider().online_store.online_write_batch(store.config, view, rows, None)
    for driver in range(len(pairs)):
        pipeline.hgetall(redis_key(driver))
    written = []
    for (before, after), fields in zip(pairs, pipeline.execute(), strict=True):
        done = len(fields) == 2
        assert fields[FIELD] == stamp(*(after if done or before is None else before))
        written.append(done)
    return written


def test_decisions_at_the_edges_of_time(server: RedisServer, tmp_path: Path) -> None:
    atomic = open_store(tmp_path, server.address, atomic_writes=True)
    compared = open_store(tmp_path, server.address)
    choice = random.Random(7)
    times = [(seconds, nanos) for seconds in EDGES for nanos in NANOS]
    times = [time for time in times if time[0] < 253_402_300_799 or time[1] <= 999_999_000]
    pairs: list[tuple[tuple[int, int] | None, tuple[int, int]]] = [(None, time) for time in times]
    pairs += [(time, time) for time in times]
    for place, time_ in enumerate(times):
        pairs += [(time_, other) for other in times[max(0, place - 2) : place + 3]]
        pairs += [(time_, choice.choice(times)) for _ in range(10)]
    right = [before in (None, (0, 0)) or after > before for before, after in pairs]
    assert decisions(atomic, pairs) == right
    # Stock takes a time before the epoch for none.
    stocks = [before is None or before <= (0, 0) or after > before for before, after in pairs]
    assert decisions(compared, pairs) == stocks


def test_a_malformed_event_timestamp_is_an_error(server: RedisServer, tmp_path: Path) -> None:
    store = open_store(tmp_path, server.address, atomic_writes=True)
    admin = redis.Redis(port=server.port)
    for malformed in (b"\x08", b"\x08\xff", b"\x0a\x01a", b"\x08" + b"\xff" * 12, b"nonsense"):
        admin.hset(redis_key(1), FIELD, malformed)
        with pytest.raises(feast_rs.ServerError, match="malformed") as raised:
            feast_rs.write_batches(store, "stats", record_batch([(1, 1)]))
        assert "driver_id=1" in str(raised.value)
    admin.hset(redis_key(1), FIELD, b"")
    assert feast_rs.write_batches(store, "stats", record_batch([(1, 1)])).rows_written == 1
