"""`on_error: defaults`: what is answered while Redis is out of reach or out of order."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis
from feast import FeatureService, FeatureStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import feast_rs
from tests.support.compare import assert_same
from tests.support.drivers import (
    FEATURES,
    NAMES,
    STORED,
    Read,
    both_forms,
    entity_rows,
    fill,
    filled_store,
    open_store,
    read_on_new_loop,
    redis_key,
    row,
)
from tests.support.drivers import read as read_blocking
from tests.support.proxy import Piece, Proxy
from tests.support.running import eventually, in_threads
from tests.support.server import RedisServer, free_port
from tests.support.setting import Setting
from tests.support.setting import fill as fill_world
from tests.support.stores import OURS, feature_store
from tests.support.world import World, views
from tests.support.world import row as world_row

PRESENT, INVALID = 1, 0
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
SEEN = datetime(2020, 1, 2, tzinfo=timezone.utc)
VALUES: dict[str, Any] = {
    "stats:rate": 0.25,
    "stats:city": "nowhere",
    "stats:tags": ["none", ""],
    "stats:seen": "2020-01-02T00:00:00Z",
}
DEFAULTS = {"rate": 0.25, "trips": None, "city": "nowhere", "tags": ["none", ""], "seen": SEEN}
"""The same as they are answered; `trips` has no default."""
FALLBACK: dict[str, Any] = {"on_error": "defaults", "default_values": VALUES}
DRIVERS = (3, 399, 1_000, 3, 0)


def values_of(drivers: Sequence[int], lost: Sequence[bool]) -> dict[str, list[Any]]:
    """The right answer when the rows of some drivers are lost."""
    rows = [
        DEFAULTS if missing else row(driver) for driver, missing in zip(drivers, lost, strict=True)
    ]
    return {"driver_id": list(drivers), **{name: [row[name] for row in rows] for name in NAMES}}


def check_forms(answer: Any, drivers: Sequence[int], lost: Sequence[bool]) -> None:
    """Every form of an answer of which some rows are lost."""
    expected = values_of(drivers, lost)
    assert expected == answer.to_dict()
    statuses = [INVALID if missing else PRESENT for missing in lost]
    for name in NAMES:
        assert answer.statuses[name].tolist() == statuses
        times = answer.event_timestamps[name]
        epoch = [
            missing or not 0 <= driver < STORED
            for driver, missing in zip(drivers, lost, strict=True)
        ]
        assert (times == np.datetime64(0, "ns")).tolist() == epoch
        assert [second == 0 for second in answer.to_dict(True)[f"{name}__ts"]] == epoch
    assert answer.statuses["driver_id"].tolist() == [PRESENT] * len(drivers)
    table = answer.to_arrow()
    assert expected == plain(table)
    assert pa.table(answer) == table
    assert pa.record_batch(answer) == table.to_batches()[0]
    assert pa.RecordBatchReader.from_stream(answer).read_all() == table
    assert answer.to_numpy()["city"].tolist() == expected["city"]
    matrix = answer.to_matrix(["rate", "trips", "seen"], dtype="float64", null_value=-1.0)
    numbers = [
        [-1.0 if v is None else v for v in expected["rate"]],
        [-1.0 if v is None else float(v) for v in expected["trips"]],
        [-1.0 if v is None else v.timestamp() for v in expected["seen"]],
    ]
    np.testing.assert_array_equal(matrix, np.column_stack(numbers))
    assert answer.to_df()["city"].tolist() == expected["city"]
    names = list(answer.proto.metadata.feature_names.val)
    for name, vector in zip(names, answer.proto.results, strict=True):
        assert list(vector.statuses) == answer.statuses[name].tolist()
    city = answer.proto.results[names.index("city")]
    assert [value.string_val or None for value in city.values] == [
        text or None for text in expected["city"]
    ]
    for again in (pickle.loads(pickle.dumps(answer)), copy.deepcopy(answer)):
        assert_same(answer.to_dict(True), again.to_dict(True))
        assert again.statuses["rate"].tolist() == statuses
        assert (again.degraded, again.error) == (answer.degraded, answer.error)


def plain(table: pa.Table) -> dict[str, Any]:
    """As `to_dict`, whose times are datetime's own UTC."""
    return {
        name: [v.astimezone(timezone.utc) if isinstance(v, datetime) else v for v in values]
        for name, values in table.to_pydict().items()
    }


def check_whole(store: FeatureStore, read: Read, drivers: Sequence[int] = DRIVERS) -> None:
    answer = read(store, drivers)
    assert not answer.degraded
    assert answer.error is None
    check_forms(answer, drivers, [False] * len(drivers))


def check_lost(
    store: FeatureStore, read: Read, *words: str, drivers: Sequence[int] = DRIVERS
) -> None:
    answer = read(store, drivers)
    assert answer.degraded
    for word in words:
        assert word in answer.error
    check_forms(answer, drivers, [True] * len(drivers))


# Outages, each with what its error says


@contextlib.contextmanager
def killed(server: RedisServer) -> Iterator[str]:
    redis.Redis(port=server.port).save()
    server.kill()
    yield "redis"
    server.start()


@contextlib.contextmanager
def frozen(server: RedisServer) -> Iterator[str]:
    server.pause()
    yield "request_timeout_ms = 250"
    server.resume()


@contextlib.contextmanager
def clients_paused(server: RedisServer) -> Iterator[str]:
    # It ends by itself; a command that ended it would be paused, too.
    redis.Redis(port=server.port).client_pause(1_500)
    yield "request_timeout_ms = 250"


@contextlib.contextmanager
def password_changed(server: RedisServer) -> Iterator[str]:
    admin = redis.Redis(port=server.port)
    admin.config_set("requirepass", "other")
    admin.client_kill_filter(_type="normal", skipme=True)
    yield "NOAUTH"
    admin.config_set("requirepass", "")


@contextlib.contextmanager
def primary_down(server: RedisServer) -> Iterator[str]:
    admin = redis.Redis(port=server.port)
    admin.config_set("replica-serve-stale-data", "no")
    admin.replicaof("127.0.0.1", free_port())
    yield "MASTERDOWN"
    admin.replicaof("NO", "ONE")


@contextlib.contextmanager
def busy(server: RedisServer) -> Iterator[str]:
    admin = redis.Redis(port=server.port)
    admin.config_set("lua-time-limit", 5)

    def run() -> None:
        with contextlib.suppress(redis.RedisError):
            redis.Redis(port=server.port).eval("while true do end", 0)

    script = threading.Thread(target=run)
    script.start()
    time.sleep(0.3)
    yield "BUSY"
    admin.script_kill()
    script.join()


OUTAGES = [killed, frozen, clients_paused, password_changed, primary_down, busy]


@both_forms
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "new"])
@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_and_its_end(
    own_server: RedisServer,
    tmp_path: Path,
    read: Read,
    outage: Callable[[RedisServer], contextlib.AbstractContextManager[str]],
    connected: bool,
) -> None:
    store = filled_store(tmp_path, own_server.address, request_timeout_ms=250, **FALLBACK)
    if connected:
        check_whole(store, read)
    with outage(own_server) as words:
        for _ in range(2):
            check_lost(store, read, words, own_server.address)
    eventually(check_whole, store, read)


@both_forms
def test_no_server_then_a_server(tmp_path: Path, read: Read) -> None:
    port = free_port()
    store = open_store(tmp_path, f"127.0.0.1:{port}", **FALLBACK)
    check_lost(store, read, f"cannot connect to redis at 127.0.0.1:{port}")
    with closing(RedisServer(port=port)):
        fill(store)
        check_whole(store, read)


@both_forms
def test_a_server_that_is_still_loading(tmp_path: Path, read: Read) -> None:
    slow = ("--key-load-delay", "3000", "--loading-process-events-interval-bytes", "1024")
    with closing(RedisServer(*slow)) as server:
        store = filled_store(tmp_path, server.address, **FALLBACK)
        redis.Redis(port=server.port).save()
        server.kill()
        server.start()
        check_lost(store, read, "LOADING", server.address)
        eventually(check_whole, store, read)


@both_forms
def test_a_server_without_room_for_another_client(tmp_path: Path, read: Read) -> None:
    with closing(RedisServer("--maxclients", "4")) as server:
        store = filled_store(tmp_path, server.address, **FALLBACK)
        time.sleep(0.1)
        guests = [redis.Redis(port=server.port) for _ in range(4)]
        for guest in guests:
            with contextlib.suppress(redis.ConnectionError):
                guest.ping()
        check_lost(store, read, "max number of clients", server.address)
        for guest in guests:
            guest.close()
        eventually(check_whole, store, read)


@both_forms
def test_a_wrong_password_is_not_told_to_anybody(
    tmp_path: Path, read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(RedisServer("--requirepass", "s3cret")) as server:
        store = open_store(tmp_path, server.address, password="s3cret0", **FALLBACK)
        check_lost(store, read, "WRONGPASS", server.address)
    assert "WRONGPASS" in caplog.text
    assert "s3cret" not in caplog.text


@both_forms
def test_all_connections_in_use(own_server: RedisServer, tmp_path: Path, read: Read) -> None:
    store = filled_store(
        tmp_path, own_server.address, redis_pool_size=1, request_timeout_ms=250, **FALLBACK
    )
    check_whole(store, read)
    own_server.pause()
    assert in_threads(4, check_lost, store, read, own_server.address) == [None] * 4
    own_server.resume()
    eventually(check_whole, store, read)


# Half an answer


@both_forms
@pytest.mark.parametrize("end", [None, 5.0], ids=["closed", "stalled"])
def test_a_cut_anywhere(server: RedisServer, tmp_path: Path, read: Read, end: float | None) -> None:
    fill(open_store(tmp_path, server.address))
    with closing(Proxy(server.port)) as proxy:
        limit = 10_000 if end is None else 100
        store = open_store(tmp_path, proxy.address, request_timeout_ms=limit, **FALLBACK)
        drivers = [*range(7, 27), 7, 8, 26]
        # Teaches how the hashes look, so that all later ones are read by one kind of command.
        check_whole(store, read, drivers)
        read_whole = set()
        for cut in range(1, 2_000, 97 if end is None else 613):
            proxy.meddle = cutting(cut, end)
            answer = read(store, drivers)
            proxy.meddle = None
            lost = [status == INVALID for status in answer.statuses["rate"].tolist()]
            check_forms(answer, drivers, lost)
            assert answer.degraded == any(lost)
            assert not answer.degraded or proxy.address in answer.error
            # Replies come in the order of the entities, each of which is read once.
            first = lost.index(True) if True in lost else 20
            assert lost == [place >= first for place in [*range(20), 0, 1, 19]]
            read_whole.add(first)
        assert len(read_whole) > (5 if end is None else 1)
        assert 0 in read_whole


@both_forms
def test_statuses_of_their_own(server: RedisServer, tmp_path: Path, read: Read) -> None:
    """`strict_status` tells missing and outdated rows from lost ones."""
    fill(open_store(tmp_path, server.address))
    with closing(Proxy(server.port)) as proxy:
        store = open_store(tmp_path, proxy.address, strict_status=True, **FALLBACK)
        drivers = [1_000, 3, 4]
        missing, outdated = 3, 4
        whole = read(store, drivers)
        assert whole.statuses["rate"].tolist() == [missing, outdated, outdated]
        proxy.meddle = cutting(150, None)
        answer = read(store, drivers)
        assert answer.statuses["rate"].tolist() == [missing, outdated, INVALID]
        assert answer.to_dict()["rate"] == [None, None, 0.25]
        assert answer.to_arrow()["rate"].to_pylist() == [None, None, 0.25]
        assert answer.to_dict(True)["rate__ts"] == [0, whole.to_dict(True)["rate__ts"][1], 0]
        proxy.meddle = cutting(0, None)
        check_lost(store, read)


def cutting(cut: int, end: float | None) -> Callable[[bytes], list[Piece]]:
    """Passes some bytes of a reply on; then waits, or closes the connection."""
    return lambda chunk: [chunk[:cut], end]


@pytest.fixture(scope="module")
def world(
    module_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FeatureStore, FeatureStore, Proxy]]:
    """A store that raises, one that falls back through a proxy, and the proxy."""
    directory = tmp_path_factory.mktemp("fallback")
    setting = Setting(directory, module_server)
    fill_world(setting.stock, setting.ours)
    proxy = Proxy(module_server.port)
    store = feature_store(
        OURS, directory, proxy.address, on_error="defaults", default_values=WORLD_VALUES
    )
    yield setting.ours, store, proxy
    proxy.close()


WORLD_VALUES: dict[str, Any] = {
    "driver_stats:rate": -1.5,
    "driver_stats:city": "nowhere",
    "customer:age": -1,
    "pair:affinity": 0.125,
    "weather:celsius": -99.0,
    "driver_more:score": 0.5,
    "stored:stored_rate": -2.0,
}
REQUESTS: dict[str, tuple[Any, dict[str, list[Any]]]] = {
    "views of one key": (
        ["driver_stats:rate", "driver_more:score", "driver_stats:city"],
        {"driver_id": [1, 2, 4, 1, -3]},
    ),
    "keys of several entities": (
        ["driver_stats:rate", "customer:age", "pair:affinity", "customer:vip"],
        {"driver_id": [1, 2, 1], "customer_id": ["ü", "", "ü"]},
    ),
    "a service": ("ranking", {"driver_id": [1, 2, 4], "customer_id": ["ü", "", "nobody"]}),
    "a service of aliases": ("aliased", {"driver_id": [1, 2], "customer_id": ["ü", ""]}),
    "a view under two aliases": (
        "trip",
        {"driver_id": [1, 2, 1], "origin_id": [1, 2, 3], "destination_id": [2, 3, 1]},
    ),
    "computed": (
        ["boosted:rate_plus", "request_lengths:length", "joined:sum", "stored:stored_rate"],
        {"driver_id": [1, 2], "customer_id": ["ü", ""], "bonus": [1, 2], "word": ["a", "b"]},
    ),
    "a service of computed ones": (
        "everything",
        {"driver_id": [1, 2], "customer_id": ["ü", ""], "bonus": [1, 2], "word": ["a", "b"]},
    ),
}
COMPUTED = {"rate_plus", "shout", "sum", "cities", "length"}


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(REQUESTS)),
    full_feature_names=st.booleans(),
    asynchronous=st.booleans(),
    cut=st.integers(0, 500),
)
def test_no_wrong_value_is_present(
    world: tuple[FeatureStore, FeatureStore, Proxy],
    name: str,
    full_feature_names: bool,
    asynchronous: bool,
    cut: int,
) -> None:
    raising, store, proxy = world
    features, columns = REQUESTS[name]
    # Of two columns of one name Feast wants to know which.
    full_feature_names = full_feature_names or "two aliases" in name
    if isinstance(features, str):
        features = raising.get_feature_service(features)
    options = {"full_feature_names": full_feature_names}
    expected = raising.get_online_features(features, columns, **options)
    proxy.meddle = cutting(cut, None)
    if asynchronous:
        answer = asyncio.run(store.get_online_features_async(features, columns, **options))
    else:
        answer = store.get_online_features(features, columns, **options)
    proxy.meddle = None
    right, values = expected.to_dict(True), answer.to_dict(True)
    assert list(right) == list(values)
    lost = 0
    for column, statuses in answer.statuses.items():
        view, _, feature = column.rpartition("__")
        for at, status in enumerate(statuses.tolist()):
            if status == PRESENT:
                assert_same(right[column][at], values[column][at])
                assert right[f"{column}__ts"][at] == values[f"{column}__ts"][at]
                continue
            assert status == INVALID
            lost += 1
            if feature not in COMPUTED:
                assert values[column][at] == default_of(view, feature)
                assert values[f"{column}__ts"][at] == 0
    # Feast leaves outputs out under full names, and with them what could not be read.
    computed = name == "computed" and full_feature_names
    assert answer.degraded == (lost > 0) or (computed and answer.degraded)
    if name == "computed" and "length" in answer.statuses:
        # It has no input from Redis.
        assert answer.statuses["length"].tolist() == [PRESENT] * 2


ALIASES = {"one": "driver_stats", "two": "customer", "origin": "weather", "destination": "weather"}


def default_of(view: str, feature: str) -> Any:
    """The default of a feature, by the full name of its column or by the plain one."""
    if view:
        return WORLD_VALUES.get(f"{ALIASES.get(view, view)}:{feature}")
    found = [value for name, value in WORLD_VALUES.items() if name.endswith(f":{feature}")]
    return found[0] if found else None


def test_computed_features_have_the_defaults_as_inputs(
    world: tuple[FeatureStore, FeatureStore, Proxy],
) -> None:
    _, store, proxy = world
    proxy.meddle = lambda chunk: [None]
    columns = {"driver_id": [1, 2], "customer_id": ["ü", ""], "bonus": [1, 2], "word": ["a", "b"]}
    features = ["boosted:rate_plus", "boosted:shout", "joined:sum", "joined:cities"]
    answer = store.get_online_features(features, columns)
    proxy.meddle = None
    values = answer.to_dict()
    assert values["rate_plus"] == [-0.5, 0.5]
    assert values["shout"] == ["A", "B"]
    assert values["sum"] == [-2.5, -2.5]
    assert values["cities"] == [["nowhere"], ["nowhere"]]
    for name in ("rate_plus", "shout", "sum", "cities"):
        assert answer.statuses[name].tolist() == [INVALID] * 2


def test_reads_while_the_server_dies_and_comes_back(tmp_path: Path) -> None:
    with closing(RedisServer()) as server:
        store = filled_store(tmp_path, server.address, request_timeout_ms=1_000, **FALLBACK)
        redis.Redis(port=server.port).save()
        drivers = list(range(STORED))
        ended = threading.Event()
        seen: list[bool] = []

        def work(read: Read) -> None:
            while not ended.is_set():
                answer = read(store, drivers)
                statuses = answer.statuses["rate"].tolist()
                lost = [status == INVALID for status in statuses]
                assert values_of(drivers, lost) == answer.to_dict()
                assert answer.degraded == any(lost)
                seen.append(answer.degraded)

        def kill() -> None:
            for _ in range(5):
                time.sleep(0.15)
                server.kill()
                time.sleep(0.05)
                server.start()
            time.sleep(0.15)
            ended.set()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            assert in_threads(2, work, read_blocking) == [None] * 2
            assert in_threads(2, work, read_on_new_loop) == [None] * 2
        finally:
            killer.join()
        assert {True, False} == set(seen)


# What always raises


@both_forms
def test_what_is_no_outage_raises(server: RedisServer, tmp_path: Path, read: Read) -> None:
    store = filled_store(tmp_path, server.address, **FALLBACK)
    admin = redis.Redis(port=server.port)
    admin.delete(redis_key(4))
    admin.set(redis_key(4), "no hash")
    with pytest.raises(feast_rs.ServerError, match="WRONGTYPE"):
        read(store, range(9))
    with pytest.raises(feast_rs.MissingJoinKeyError):
        store.get_online_features(FEATURES, [{"nobody": 1}])
    small = open_store(tmp_path, server.address, max_reply_bytes=20_000, **FALLBACK)
    with pytest.raises(feast_rs.ProtocolError, match="max_reply_bytes"):
        read(small, range(10, STORED))
    admin.acl_setuser("reader", enabled=True, passwords=["+pw"], commands=["+get"])
    try:
        login = {"username": "reader", "password": "pw"}
        limited = open_store(tmp_path, server.address, **login, **FALLBACK)
        with pytest.raises(feast_rs.ServerError, match="NOPERM"):
            read(limited, range(3))
    finally:
        admin.acl_deluser("reader")


@both_forms
def test_a_refusal_beside_an_outage_raises(server: RedisServer, tmp_path: Path, read: Read) -> None:
    fill(open_store(tmp_path, server.address))
    with closing(Proxy(server.port)) as proxy:
        store = open_store(tmp_path, proxy.address, **FALLBACK)
        proxy.meddle = lambda chunk: [b"-WRONGTYPE no hash\r\n", None]
        with pytest.raises(feast_rs.ServerError, match="WRONGTYPE"):
            read(store, range(9))


@both_forms
def test_bytes_that_are_no_reply_raise(server: RedisServer, tmp_path: Path, read: Read) -> None:
    with closing(Proxy(server.port)) as proxy:
        store = open_store(tmp_path, proxy.address, **FALLBACK)
        proxy.meddle = lambda chunk: [b"HTTP/1.1 400 Bad Request\r\n\r\n", None]
        with pytest.raises(feast_rs.ProtocolError, match="not RESP"):
            read(store, range(9))


def test_interfaces_without_statuses_raise(own_server: RedisServer, tmp_path: Path) -> None:
    store = feature_store(OURS, tmp_path, own_server.address, on_error="defaults")
    service = FeatureService(
        name="vectors", features=[views()["driver_more"]], precompute_online=True
    )
    World(store, [service])
    table = store.get_feature_view("driver_more")
    key = world_row(table, {"driver_id": 1})[0]
    online = store._get_provider().online_store
    own_server.kill()
    with pytest.raises(feast_rs.ConnectionError):
        online.online_read(store.config, table, [key])
    with pytest.raises(feast_rs.ConnectionError):
        asyncio.run(online.online_read_async(store.config, table, [key]))
    service = store.get_feature_service("vectors")
    with pytest.raises(feast_rs.ConnectionError):
        store.get_online_features(service, [{"driver_id": 1}], full_feature_names=True)


def test_a_signal_is_raised_in_an_outage(own_server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, own_server.address, request_timeout_ms=20_000, **FALLBACK)
    check_whole(store, read_blocking)
    own_server.pause()
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        read_blocking(store, DRIVERS)
    assert time.monotonic() - start < 5
    timer.join()


# The log


def test_the_log_is_told_once_a_second(
    own_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled_store(tmp_path, own_server.address, **FALLBACK)
    check_whole(store, read_blocking)
    assert not caplog.records
    own_server.kill()
    calls = 0
    start = time.monotonic()
    while time.monotonic() - start < 2.2:
        assert read_blocking(store, DRIVERS).degraded
        calls += 1
    told = [r.getMessage() for r in caplog.records if r.name == "feast_rs.fallback"]
    assert 2 <= len(told) <= 4
    assert calls > 20
    assert "default values were answered for 4 entity keys in 1 requests" in told[0]
    assert all(own_server.address in text for text in told)
    counts = [[int(word) for word in text.split() if word.isdigit()] for text in told]
    assert all(entities == 4 * requests for entities, requests in counts)
    assert sum(requests for _, requests in counts) <= calls


def test_nothing_stands_in_unless_asked(own_server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, own_server.address, on_error="raise", default_values=VALUES)
    own_server.kill()
    with pytest.raises(feast_rs.ConnectionError):
        store.get_online_features(FEATURES, entity_rows(DRIVERS))
