"""Rows of entities that Redis has nothing of: sent as RESTORE, stored as HSET would have."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Int64

import feast_rs
from tests.support.commands import succeeded
from tests.support.drivers import open_store, redis_key
from tests.support.proxy import Proxy, shut
from tests.support.races import record_batch, stored_stamps
from tests.support.server import RedisServer, embedded_binary
from tests.support.wide import wide_batch, wide_store

ROWS = 5000
POLICIES: dict[str, dict[str, Any]] = {
    "compared": {},
    "atomic": {"atomic_writes": True},
    "assumed": {"skip_dedup": True},
}

every_policy = pytest.mark.parametrize("policy", POLICIES)


def calls(server: RedisServer) -> dict[str, int]:
    """How often RESTORE, HSET and HMGET were run without an error since the last reset."""
    return succeeded(server.client(), "restore", "hset", "hmget")


def fresh(server: RedisServer) -> redis.Redis:
    admin = server.client()
    admin.flushall()
    admin.config_resetstat()
    return admin


def stored(server: RedisServer) -> dict[bytes, tuple[bytes, list[tuple[bytes, bytes]]]]:
    """Every hash: how Redis keeps it, and its fields in their order where that is kept."""
    admin = server.client()
    found = {}
    for key in admin.scan_iter(count=1000):
        encoding = admin.object("encoding", key)
        cells = list(admin.hgetall(key).items())
        found[key] = (encoding, cells if encoding == b"listpack" else sorted(cells))
    return found


@every_policy
@pytest.mark.parametrize("width", [1, 10, 300])
def test_what_is_stored_is_what_hset_stores(
    server: RedisServer, tmp_path: Path, policy: str, width: int
) -> None:
    rows = 400 if width == 300 else ROWS
    data = wide_batch(width, rows)
    settings = POLICIES[policy]
    plain = wide_store(
        tmp_path / "plain", server.address, width, restore_new_keys=False, **settings
    )
    fresh(server)
    feast_rs.write_batches(plain, "wide", data)
    assert calls(server)["restore"] == 0
    expected = stored(server)
    store = wide_store(tmp_path / "new", server.address, width, **settings)
    fresh(server)
    report = feast_rs.write_batches(store, "wide", data)
    assert (report.rows_read, report.rows_written) == (rows, rows)
    assert stored(server) == expected
    assert len(expected) == rows
    first = min(rows, 512)
    if policy == "compared":
        # The first rows tell that the others are new.
        assert calls(server) == {"restore": rows, "hset": 0, "hmget": first}
    else:
        assert calls(server)["restore"] == rows - first


@every_policy
def test_every_release_takes_them(tmp_path: Path, policy: str) -> None:
    valkey = RedisServer(binary=embedded_binary())
    try:
        store = wide_store(tmp_path, valkey.address, 10, **POLICIES[policy])
        feast_rs.write_batches(store, "wide", wide_batch(10, 2000))
        assert calls(valkey)["restore"] >= 1400
        whole = stored(valkey)
        valkey.client().flushall()
        plain = wide_store(tmp_path, valkey.address, 10, restore_new_keys=False)
        feast_rs.write_batches(plain, "wide", wide_batch(10, 2000))
        assert stored(valkey) == whole
    finally:
        valkey.close()


def test_servers_that_check_what_they_are_given(server: RedisServer, tmp_path: Path) -> None:
    admin = fresh(server)
    if not admin.config_get("sanitize-dump-payload"):
        pytest.skip("this server has no such option")
    admin.config_set("sanitize-dump-payload", "yes")
    try:
        store = wide_store(tmp_path, server.address, 10)
        feast_rs.write_batches(store, "wide", wide_batch(10, 1000))
        assert calls(server)["restore"] == admin.dbsize() == 1000
    finally:
        admin.config_set("sanitize-dump-payload", "no")


class HangingUp(Proxy):
    """Closes the connection at a command that it does not know, as some proxies do."""

    hung_up = 0

    def pass_on(self, chunk: bytes, server: socket.socket) -> None:
        if b"RESTORE" in chunk:
            self.hung_up += 1
            shut(server)
            raise ConnectionError
        server.sendall(chunk)


def test_a_proxy_that_hangs_up(server: RedisServer, tmp_path: Path) -> None:
    fresh(server)
    with closing(HangingUp(server.port)) as proxy:
        store = wide_store(tmp_path, proxy.address, 4)
        report = feast_rs.write_batches(store, "wide", wide_batch(4, 20_000))
        assert report.rows_written == server.client().dbsize() == 20_000
        assert proxy.hung_up == 1
        fresh(server)
        report = feast_rs.write_batches(store, "wide", wide_batch(4, 20_000), retry_seconds=0)
        assert report.rows_written == server.client().dbsize() == 20_000
        assert proxy.hung_up == 1


@every_policy
def test_rows_that_redis_would_not_keep_as_a_listpack(
    server: RedisServer, tmp_path: Path, policy: str
) -> None:
    data = wide_batch(10, ROWS, text=100)
    plain = wide_store(tmp_path / "plain", server.address, 10, restore_new_keys=False)
    feast_rs.write_batches(plain, "wide", data)
    expected = stored(server)
    assert {encoding for encoding, _ in expected.values()} == {b"listpack", b"hashtable"}
    store = wide_store(tmp_path / "new", server.address, 10, **POLICIES[policy])
    fresh(server)
    report = feast_rs.write_batches(store, "wide", data)
    assert report.rows_written == ROWS
    assert stored(server) == expected
    assert calls(server)["restore"] > 0 < calls(server)["hset"]


@every_policy
def test_other_views_of_the_entity_stay(server: RedisServer, tmp_path: Path, policy: str) -> None:
    store = wide_store(tmp_path, server.address, 4, **POLICIES[policy])
    feast_rs.write_batches(store, "wide", wide_batch(4, ROWS))
    half = stored(server)
    # Some entities of the second view are new, most have a row of the first.
    report = feast_rs.write_batches(store, "second", wide_batch(4, ROWS, first=1000))
    assert report.rows_written == ROWS
    now = stored(server)
    for key, (_, cells) in half.items():
        assert set(cells) <= set(now[key][1])
    assert len(now) == ROWS + 1000
    widths = sorted({len(cells) for _, cells in now.values()})
    assert widths == [5, 10]
    again = feast_rs.write_batches(store, "second", wide_batch(4, ROWS, first=1000))
    if policy != "assumed":
        assert (again.rows_written, again.rows_skipped) == (0, ROWS)
    assert stored(server) == now


def test_what_is_in_vain_is_tried_seldom(server: RedisServer, tmp_path: Path) -> None:
    store = wide_store(tmp_path, server.address, 2)
    feast_rs.write_batches(store, "wide", wide_batch(2, 40_000))
    fresh_calls = server.client()
    fresh_calls.config_resetstat()
    feast_rs.write_batches(store, "second", wide_batch(2, 40_000))
    told = fresh_calls.info("commandstats")["cmdstat_restore"]
    assert told["failed_calls"] == told["calls"] < 20_000


@every_policy
def test_the_newest_of_an_entity_stays_and_the_counts_are_right(
    server: RedisServer, tmp_path: Path, policy: str
) -> None:
    # Each entity comes three times: the newest second, then one as old as the first.
    drivers = list(range(1000))
    batch = record_batch([(driver, stamp) for stamp in (5, 9, 5) for driver in drivers])
    for restores in (False, True):
        directory = tmp_path / str(restores)
        directory.mkdir()
        store = open_store(directory, server.address, restore_new_keys=restores, **POLICIES[policy])
        fresh(server)
        report = feast_rs.write_batches(store, "stats", batch)
        skipped = 0 if policy == "assumed" else 1000
        assert (report.rows_written, report.rows_skipped) == (3000 - skipped, skipped)
        stamp = 5 if policy == "assumed" else 9
        assert set(stored_stamps(store).values()) == {stamp}
        assert (calls(server)["restore"] > 0) is restores


@pytest.mark.parametrize("restores", [False, True])
def test_rows_of_an_entity_stay_in_their_order(
    server: RedisServer, tmp_path: Path, restores: bool
) -> None:
    """An older row of only some features, after a newer one that cannot be sent as RESTORE."""
    store = wide_store(tmp_path, server.address, 4, restore_new_keys=restores)
    drivers = list(range(600, 1200))
    first = wide_batch(4, 600)
    newer = {"driver_id": drivers, "f0": [1.5] * 600, "f2": ["x" * 65] * 600}
    older = {"driver_id": drivers, "f1": pa.array([7] * 600, pa.int64())}
    times = [pa.array([1_700_000_000 + late] * 600, pa.timestamp("s")) for late in (9, 5)]
    rows = [
        pa.table({**columns, "ts": time})
        for columns, time in zip((newer, older), times, strict=True)
    ]
    both = pa.concat_tables(rows, promote_options="default").combine_chunks()
    mixed = both.take([600 * half + place for place in range(600) for half in (0, 1)])
    fresh(server)
    report = feast_rs.write_batches(store, "wide", [first, mixed], skip_nulls=True, partial=True)
    assert (report.rows_written, report.rows_skipped) == (1200, 600)
    assert (calls(server)["restore"] > 0) is restores
    answer = store.get_online_features(["wide:f0", "wide:f1"], {"driver_id": [600, 1199]}).to_dict()
    assert (answer["f0"], answer["f1"]) == ([1.5, 1.5], [None, None])


@every_policy
def test_keys_live_as_long(server: RedisServer, tmp_path: Path, policy: str) -> None:
    store = wide_store(tmp_path, server.address, 4, key_ttl_seconds=500, **POLICIES[policy])
    fresh(server)
    report = feast_rs.write_batches(store, "wide", wide_batch(4, 2000))
    assert report.rows_written == 2000
    assert calls(server)["restore"] >= 1400
    admin = server.client()
    assert all(490_000 < admin.pttl(key) <= 500_000 for key in admin.scan_iter(count=1000))


def refused_by_acl(server: RedisServer) -> dict[str, Any]:
    server.client().acl_setuser(
        "writer", enabled=True, passwords=["+secret"], categories=["+@all"], commands=["-restore"],
        keys=["*"], channels=["*"],
    )  # fmt: skip
    return {"username": "writer", "password": "secret"}


@every_policy
@pytest.mark.parametrize("how", ["no right", "no command"])
def test_servers_that_do_not_take_them(tmp_path: Path, policy: str, how: str) -> None:
    renamed = ("--rename-command", "RESTORE", "") if how == "no command" else ()
    server = RedisServer(*renamed)
    try:
        login = refused_by_acl(server) if how == "no right" else {}
        store = wide_store(tmp_path, server.address, 4, **login, **POLICIES[policy])
        report = feast_rs.write_batches(store, "wide", wide_batch(4, 20_000))
        assert (report.rows_written, report.rows_failed) == (20_000, 0)
        assert server.client().dbsize() == 20_000
        errors = server.client().info("errorstats")
        refused = sum(told["count"] for told in errors.values())
        # One block was tried, and no other; some are of the test's own client.
        assert 0 < refused < 4096 + 100
    finally:
        server.close()


def test_a_feature_of_the_same_hash_field_as_another(server: RedisServer, tmp_path: Path) -> None:
    """RESTORE would store the field twice, where HSET keeps the last."""
    first, second = colliding_names()
    store = open_store(tmp_path, server.address)
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    view = FeatureView(
        name="v",
        entities=[driver],
        source=FileSource(path=str(tmp_path / "v.parquet"), timestamp_field="ts"),
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name=first, dtype=Int64),
            Field(name=second, dtype=Int64),
        ],
    )
    store.apply([driver, view])
    drivers = list(range(1000))
    data = pa.table(
        {
            "driver_id": drivers,
            "ts": pa.array([1_700_000_000] * 1000, pa.timestamp("s")),
            first: drivers,
            second: [-driver for driver in drivers],
        }
    )
    fresh(server)
    feast_rs.write_batches(store, view, data)
    assert calls(server)["restore"] == 0
    assert server.client().hlen(redis_key(7)) == 2


def colliding_names() -> tuple[str, str]:
    """Two features of view `v` whose names have the same 32-bit hash."""
    import mmh3

    seen: dict[int, str] = {}
    for number in range(1_000_000):
        name = f"f{number}"
        value = mmh3.hash(f"v:{name}")
        if value in seen:
            return seen[value], name
        seen[value] = name
    raise AssertionError("no two names of a million have one hash")
