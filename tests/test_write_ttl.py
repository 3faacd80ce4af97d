"""Times to live: of keys as in stock Feast, and of fields by their view's `ttl`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis
from feast import FeatureStore

import feast_rs
from tests.support.drivers import NAMES, frame, hash_field, open_store, redis_key
from tests.support.server import RedisServer, embedded_binary

FIELDS = [b"_ts:stats", *(hash_field(name) for name in NAMES)]
DAY = timedelta(days=1)
"""The view's time to live."""

both_modes = pytest.mark.parametrize("atomic", [False, True], ids=["compared", "atomic"])


@pytest.fixture(scope="module")
def valkey_server() -> Iterator[RedisServer]:
    server = RedisServer(binary=embedded_binary())
    yield server
    server.close()


@pytest.fixture
def valkey(valkey_server: RedisServer) -> RedisServer:
    """A server whose hash fields can expire, emptied."""
    redis.Redis(port=valkey_server.port).flushall()
    return valkey_server


def batch(times: dict[int, datetime], **changes: Any) -> pa.Table:
    """Rows of drivers at these times."""
    df = frame(times).assign(ts=list(times.values()), **changes)
    return pa.Table.from_pandas(df, preserve_index=False)


def write(store: FeatureStore, times: dict[int, datetime], way: str, **changes: Any) -> None:
    if way == "stream":
        feast_rs.write_batches(store, "stats", batch(times, **changes))
    else:
        store.write_to_online_store("stats", batch(times, **changes).to_pandas())


both_ways = pytest.mark.parametrize("way", ["stream", "single"])


def expiries(server: RedisServer, driver: int) -> list[int]:
    """When the fields of a driver expire, in milliseconds; -1 for never, -2 for no field."""
    client = redis.Redis(port=server.port)
    answer = client.execute_command(
        "HPEXPIRETIME", redis_key(driver), "FIELDS", len(FIELDS), *FIELDS
    )
    assert isinstance(answer, list)
    return answer


def milliseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(milliseconds=1)


def now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=250_000)


@both_modes
@both_ways
def test_a_skipped_row_renews_its_key_if_asked(
    server: RedisServer, tmp_path: Path, atomic: bool, way: str
) -> None:
    client = redis.Redis(port=server.port)
    moment = now()
    for renews in (False, True):
        store = open_store(
            tmp_path,
            server.address,
            atomic_writes=atomic,
            key_ttl_seconds=1000,
            renew_ttl_on_skip=renews,
        )
        write(store, {1: moment}, way)
        assert 990 < client.ttl(redis_key(1)) <= 1000
        for driver_time in (moment, moment - DAY):
            client.expire(redis_key(1), 100)
            write(store, {1: driver_time, 2: moment}, way, trips=5)
            left = client.ttl(redis_key(1))
            assert (990 < left <= 1000) if renews else (90 < left <= 100)
        assert client.hget(redis_key(1), FIELDS[0]) is not None
        write(store, {1: moment + DAY}, way)
        assert 990 < client.ttl(redis_key(1)) <= 1000
        client.flushall()


@both_modes
def test_counts_of_renewed_rows(server: RedisServer, tmp_path: Path, atomic: bool) -> None:
    store = open_store(
        tmp_path,
        server.address,
        atomic_writes=atomic,
        key_ttl_seconds=1000,
        renew_ttl_on_skip=True,
    )
    rows = batch(dict.fromkeys(range(10), now()))
    report = feast_rs.write_batches(store, "stats", [rows, rows])
    assert (report.rows_written, report.rows_skipped) == (10, 10)


@both_modes
@both_ways
def test_fields_expire_at_the_event_timestamp_and_the_views_ttl(
    valkey: RedisServer, tmp_path: Path, atomic: bool, way: str
) -> None:
    store = open_store(tmp_path, valkey.address, atomic_writes=atomic, ttl_per_view=True)
    moment = now()
    write(store, {1: moment, 2: moment - timedelta(hours=5)}, way)
    assert expiries(valkey, 1) == [milliseconds(moment + DAY)] * 6
    assert expiries(valkey, 2) == [milliseconds(moment + DAY - timedelta(hours=5))] * 6
    # A newer row moves it, one that is not newer does not.
    later = moment + timedelta(hours=1)
    write(store, {1: later, 2: moment - timedelta(hours=6)}, way)
    assert expiries(valkey, 1) == [milliseconds(later + DAY)] * 6
    assert expiries(valkey, 2) == [milliseconds(moment + DAY - timedelta(hours=5))] * 6
    # A row whose time is over already is gone.
    write(store, {3: moment - 2 * DAY}, way)
    assert not redis.Redis(port=valkey.port).exists(redis_key(3))
    # Dates that no server takes.
    write(store, {4: datetime(9999, 12, 31, tzinfo=timezone.utc)}, way)
    assert expiries(valkey, 4)[0] > milliseconds(datetime(9999, 12, 31, tzinfo=timezone.utc))
    write(store, {5: datetime(1969, 1, 1, tzinfo=timezone.utc)}, way)
    assert not redis.Redis(port=valkey.port).exists(redis_key(5))


@both_modes
def test_fields_that_expire_are_not_there_any_more(
    valkey: RedisServer, tmp_path: Path, atomic: bool
) -> None:
    store = open_store(tmp_path, valkey.address, atomic_writes=atomic, ttl_per_view=True)
    client = redis.Redis(port=valkey.port)
    client.hset(redis_key(1), "other", "stays")
    ending = datetime.now(timezone.utc) - DAY + timedelta(seconds=1)
    write(store, {1: ending, 2: now()}, "stream")
    end = time.monotonic() + 20
    while client.hlen(redis_key(1)) > 1 and time.monotonic() < end:
        time.sleep(0.05)
    assert client.hgetall(redis_key(1)) == {b"other": b"stays"}
    answer = store.get_online_features(["stats:trips"], [{"driver_id": 1}, {"driver_id": 2}])
    assert answer.to_dict()["trips"] == [None, 2 * 1_000_003]


@both_modes
def test_partial_rows_leave_the_lives_of_other_fields(
    valkey: RedisServer, tmp_path: Path, atomic: bool
) -> None:
    store = open_store(tmp_path, valkey.address, atomic_writes=atomic, ttl_per_view=True)
    moment = now()
    write(store, {1: moment}, "stream")
    later = moment + timedelta(hours=1)
    part = batch({1: later}).select(["driver_id", "trips", "ts"])
    feast_rs.write_batches(store, "stats", part, partial=True)
    lives = dict(zip(["ts", *NAMES], expiries(valkey, 1), strict=True))
    assert lives["ts"] == lives["trips"] == milliseconds(later + DAY)
    assert lives["rate"] == lives["city"] == milliseconds(moment + DAY)


@both_modes
def test_both_times_to_live(valkey: RedisServer, tmp_path: Path, atomic: bool) -> None:
    options = {"ttl_per_view": True, "key_ttl_seconds": 1000, "renew_ttl_on_skip": True}
    store = open_store(tmp_path, valkey.address, atomic_writes=atomic, **options)
    client = redis.Redis(port=valkey.port)
    moment = now()
    write(store, {1: moment}, "stream")
    client.expire(redis_key(1), 100)
    write(store, {1: moment}, "stream")
    assert 990 < client.ttl(redis_key(1)) <= 1000
    assert expiries(valkey, 1) == [milliseconds(moment + DAY)] * 6


@both_modes
def test_a_view_without_a_ttl(valkey: RedisServer, tmp_path: Path, atomic: bool) -> None:
    store = open_store(tmp_path, valkey.address, atomic_writes=atomic, ttl_per_view=True)
    view = store.get_feature_view("stats")
    view.ttl = timedelta(0)
    store.apply(view)
    write(store, {1: now()}, "stream")
    assert expiries(valkey, 1) == [-1] * 6


def test_without_comparing(valkey: RedisServer, tmp_path: Path) -> None:
    store = open_store(tmp_path, valkey.address, skip_dedup=True, ttl_per_view=True)
    moment = now()
    for written in (moment, moment - timedelta(hours=1)):
        write(store, {1: written}, "stream")
        assert expiries(valkey, 1) == [milliseconds(written + DAY)] * 6


@both_modes
@both_ways
def test_an_older_server_is_told_of(
    server: RedisServer, tmp_path: Path, atomic: bool, way: str
) -> None:
    client = redis.Redis(port=server.port)
    if b"hpexpireat" in client.command_list():
        pytest.skip("this server's fields can expire")
    store = open_store(tmp_path, server.address, atomic_writes=atomic, ttl_per_view=True)
    with pytest.raises(feast_rs.ServerError) as raised:
        write(store, {1: now()}, way)
    for words in (server.address, "ttl_per_view", "Redis 7.4 or Valkey 9"):
        assert words in str(raised.value)
    assert client.dbsize() == 0
