"""Servers that go away, come back, refuse and fall silent: the exception, and the next request."""

from __future__ import annotations

import builtins
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from feast import FeatureStore

import feast_rs
from tests.support.drivers import (
    STORED,
    Read,
    both_forms,
    check,
    expected,
    fill,
    filled_store,
    hash_field,
    open_store,
    redis_key,
)
from tests.support.drivers import read as read_blocking
from tests.support.running import eventually, in_threads
from tests.support.server import RedisServer, free_port

PASSWORD = "s3cret,=@:%/1"
TOLERANCE = 0.5
"""Seconds that a time limit may be late on a busy machine; typically it is a millisecond."""


@pytest.fixture
def lasting_server() -> Iterator[RedisServer]:
    """A server that still has its data after `kill` and `start`, once SAVE was called."""
    server = RedisServer()
    yield server
    server.close()


def fails(
    kind: type[Exception], store: FeatureStore, read: Read, *words: str, drivers: int = 5
) -> Exception:
    """The exception of a read: exactly of this class, telling these words and no password."""
    with pytest.raises(feast_rs.FeastRsError) as raised:
        read(store, range(drivers))
    error = raised.value
    assert type(error) is kind, repr(error)
    for word in words:
        assert word in str(error)
    assert PASSWORD not in repr(error)
    assert PASSWORD not in str(error)
    return error


@both_forms
def test_no_server_then_a_server(tmp_path: Path, read: Read) -> None:
    port = free_port()
    store = open_store(tmp_path, f"127.0.0.1:{port}")
    error = fails(feast_rs.ConnectionError, store, read, f"127.0.0.1:{port}")
    assert isinstance(error, builtins.ConnectionError)
    with closing(RedisServer(port=port)):
        fill(store)
        check(store, read)


@both_forms
def test_a_server_killed_between_requests(
    lasting_server: RedisServer, tmp_path: Path, read: Read
) -> None:
    server = lasting_server
    store = filled_store(tmp_path, server.address)
    check(store, read)
    redis.Redis(port=server.port).save()
    for _ in range(3):
        server.kill()
        fails(feast_rs.ConnectionError, store, read, server.address)
        server.start()
        check(store, read)
        # Restarted without a request in between: the dead connection is replaced unseen.
        server.kill()
        server.start()
        check(store, read)


@both_forms
def test_a_server_killed_while_it_answers(
    lasting_server: RedisServer, tmp_path: Path, read: Read
) -> None:
    server = lasting_server
    store = filled_store(tmp_path, server.address)
    redis.Redis(port=server.port).save()
    drivers = list(range(STORED))
    right = expected(drivers)
    errors = []
    for attempt in range(8):
        killer = threading.Timer(0.004 + 0.003 * attempt, server.kill)
        killer.start()
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                answer = read(store, drivers)
            except feast_rs.ConnectionError as error:
                errors.append(error)
                break
            assert answer.to_dict() == right
        killer.join()
        server.start()
        assert read(store, drivers).to_dict() == right
    assert len(errors) == 8
    assert all(server.address in str(error) for error in errors)


@both_forms
@pytest.mark.parametrize("idle_seconds", [0.0, 1.2], ids=["just used", "idle"])
def test_connections_killed_by_the_server(
    server: RedisServer, tmp_path: Path, read: Read, idle_seconds: float
) -> None:
    store = filled_store(tmp_path, server.address, client_name="victim")
    check(store, read)
    admin = redis.Redis(port=server.port)
    time.sleep(idle_seconds)
    victims = [client["id"] for client in admin.client_list() if client["name"] == "victim"]
    assert victims
    for victim in victims:
        admin.client_kill_filter(_id=victim)
    check(store, read)


@both_forms
@pytest.mark.parametrize("connected", [False, True])
def test_a_frozen_server_meets_the_time_limit(
    own_server: RedisServer, tmp_path: Path, read: Read, connected: bool
) -> None:
    store = filled_store(tmp_path, own_server.address, request_timeout_ms=300)
    if connected:
        check(store, read)
    own_server.pause()
    for _ in range(2):
        start = time.monotonic()
        error = fails(
            feast_rs.TimeoutError, store, read, own_server.address, "request_timeout_ms = 300"
        )
        assert isinstance(error, builtins.TimeoutError)
        assert 0.29 < time.monotonic() - start < 0.3 + TOLERANCE
    own_server.resume()
    check(store, read)


@both_forms
def test_silence_and_slow_login_have_limits_of_their_own(
    own_server: RedisServer, tmp_path: Path, read: Read
) -> None:
    limits = {"socket_timeout": 0.2, "socket_connect_timeout": 0.4}
    store = filled_store(tmp_path, own_server.address, **limits)
    check(store, read)
    own_server.pause()
    start = time.monotonic()
    fails(feast_rs.TimeoutError, store, read, own_server.address, "200 ms (socket_timeout)")
    assert 0.19 < time.monotonic() - start < 0.2 + TOLERANCE
    start = time.monotonic()
    fails(feast_rs.TimeoutError, store, read, own_server.address, "400 ms (socket_connect_timeout)")
    assert 0.39 < time.monotonic() - start < 0.4 + TOLERANCE
    own_server.resume()
    check(store, read)


def test_sixteen_threads_share_two_connections(own_server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, own_server.address, redis_pool_size=2, client_name="pooled")
    # None is answered before all have asked.
    own_server.pause()
    threading.Timer(0.5, own_server.resume).start()
    outcomes = in_threads(16, check, store, read_blocking)
    assert outcomes == [None] * 16
    clients = redis.Redis(port=own_server.port).client_list()
    assert sum(client["name"] == "pooled" for client in clients) == 2

    impatient = open_store(tmp_path, own_server.address, redis_pool_size=2, request_timeout_ms=400)
    check(impatient, read_blocking)
    own_server.pause()
    start = time.monotonic()
    outcomes = in_threads(16, check, impatient, read_blocking)
    assert time.monotonic() - start < 0.4 + TOLERANCE
    assert {type(outcome) for outcome in outcomes} == {feast_rs.TimeoutError}
    waited = [outcome for outcome in outcomes if "all 2 connections" in str(outcome)]
    # Two wait for a reply. How many others get their turn in their last moment is the scheduler's
    # choice; somebody never does.
    assert waited
    assert all(
        own_server.address in str(outcome) and "redis_pool_size" in str(outcome)
        for outcome in waited
    )
    own_server.resume()
    assert in_threads(16, check, impatient, read_blocking) == [None] * 16


@both_forms
def test_a_server_without_room_for_another_client(tmp_path: Path, read: Read) -> None:
    with closing(RedisServer("--maxclients", "4")) as server:
        store = filled_store(tmp_path, server.address)
        time.sleep(0.1)
        guests = [redis.Redis(port=server.port) for _ in range(4)]
        taken = 0
        for guest in guests:
            try:
                taken += guest.ping()
            except redis.ConnectionError:
                break
        fails(feast_rs.ServerError, store, read, server.address, "max number of clients")
        for guest in guests:
            guest.close()
        eventually(check, store, read)


@both_forms
def test_wrong_credentials(tmp_path: Path, read: Read, caplog: pytest.LogCaptureFixture) -> None:
    with closing(RedisServer("--requirepass", PASSWORD)) as server:
        missing = open_store(tmp_path, server.address)
        fails(feast_rs.ServerError, missing, read, server.address, "NOAUTH", "password")
        wrong = open_store(tmp_path, server.address, password=PASSWORD + "0")
        fails(feast_rs.ServerError, wrong, read, server.address, "WRONGPASS")
        # `repr(wrong.config)` is Feast's, and has the file's own words.
        assert PASSWORD not in f"{wrong.config.online_store} {wrong.config.online_store!r}"
        user = open_store(tmp_path, server.address, password=PASSWORD, username="nobody")
        fails(feast_rs.ServerError, user, read, server.address, "WRONGPASS")
        right = open_store(tmp_path, server.address, password=PASSWORD)
        fill(right)
        check(right, read)
    assert PASSWORD not in caplog.text


@both_forms
def test_a_password_that_nobody_asked_for(server: RedisServer, tmp_path: Path, read: Read) -> None:
    store = open_store(tmp_path, server.address, password=PASSWORD)
    fails(feast_rs.ServerError, store, read, server.address, "password")


@both_forms
def test_a_database_that_is_not_there(server: RedisServer, tmp_path: Path, read: Read) -> None:
    store = filled_store(tmp_path, server.address, db=99)
    fails(feast_rs.ServerError, store, read, server.address, "database 99")
    other = open_store(tmp_path, server.address, db=1)
    unknown = read(other, [3]).to_dict()
    assert unknown["rate"] == [None]


@both_forms
def test_a_server_that_is_still_loading(tmp_path: Path, read: Read) -> None:
    slow = ("--key-load-delay", "3000", "--loading-process-events-interval-bytes", "1024")
    with closing(RedisServer(*slow)) as server:
        store = filled_store(tmp_path, server.address)
        redis.Redis(port=server.port).save()
        server.kill()
        server.start()
        fails(feast_rs.ServerError, store, read, server.address, "LOADING")
        eventually(check, store, read)


@both_forms
def test_a_reply_over_the_limit(server: RedisServer, tmp_path: Path, read: Read) -> None:
    store = filled_store(tmp_path, server.address, max_reply_bytes=20_000)
    fails(
        feast_rs.ProtocolError,
        store,
        read,
        server.address,
        "max_reply_bytes = 20000",
        drivers=STORED,
    )
    check(store, read)


@both_forms
def test_a_key_of_another_type(server: RedisServer, tmp_path: Path, read: Read) -> None:
    store = filled_store(tmp_path, server.address)
    admin = redis.Redis(port=server.port)
    admin.delete(redis_key(4))
    admin.set(redis_key(4), "no hash")
    fails(feast_rs.ServerError, store, read, "WRONGTYPE", "stats", "driver_id", drivers=STORED)
    check(store, read, [5, 3])


@both_forms
def test_a_command_that_is_not_allowed(server: RedisServer, tmp_path: Path, read: Read) -> None:
    store = filled_store(tmp_path, server.address)
    admin = redis.Redis(port=server.port)
    login = {"username": "reader", "password": PASSWORD}
    admin.acl_setuser("reader", enabled=True, passwords=[f"+{PASSWORD}"], commands=["+get"])
    try:
        limited = open_store(tmp_path, server.address, **login)
        fails(feast_rs.ServerError, limited, read, "NOPERM", "stats")
        admin.acl_setuser("reader", keys=["*"], commands=["+hgetall", "+hmget"])
        check(limited, read)
    finally:
        admin.acl_deluser("reader")
    check(store, read)


def test_a_write_that_is_refused(own_server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, own_server.address, skip_dedup=True)
    admin = redis.Redis(port=own_server.port)
    admin.config_set("maxmemory", 1)
    with pytest.raises(feast_rs.ServerError, match="OOM"):
        fill(store)
    admin.config_set("maxmemory", 0)
    admin.hdel(redis_key(3), hash_field("rate"))
    fill(store)
    check(store, read_blocking)


def test_a_stalled_server_costs_a_set_amount(server: RedisServer, tmp_path: Path) -> None:
    """What waits for it is bounded by `max_pending_bytes`, and the rest is told at once."""
    filled_store(tmp_path, server.address)
    settings = {"max_pending_bytes": 100_000, "request_timeout_ms": 1000}
    store = open_store(tmp_path, server.address, **settings)
    check(store, read_blocking)
    server.pause()
    try:
        begin = time.monotonic()
        # Some 3 kB of commands each.
        outcomes: list[tuple[float, str]] = []
        assert in_threads(100, lambda: outcomes.append(timed(store))) == [None] * 100
        took = time.monotonic() - begin
    finally:
        server.resume()
    assert took < 1 + 2 * TOLERANCE
    refused = [seconds for seconds, words in outcomes if "max_pending_bytes = 100000" in words]
    late = [seconds for seconds, words in outcomes if "request_timeout_ms = 1000" in words]
    assert len(refused) + len(late) == len(outcomes)
    assert 10 < len(late) < 60
    assert max(refused) < TOLERANCE
    eventually(lambda: check(store, read_blocking))


def timed(store: FeatureStore) -> tuple[float, str]:
    begin = time.monotonic()
    with pytest.raises(feast_rs.TimeoutError) as raised:
        read_blocking(store, range(50))
    return time.monotonic() - begin, str(raised.value)
