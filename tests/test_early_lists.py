"""Lists that are begun while the replies still come: the same answers, whatever becomes of them."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feast import FeatureStore
from feast.protos.feast.types.Value_pb2 import Value

import feast_rs
from tests.support.cells import Pair
from tests.support.compare import assert_same
from tests.support.early import (
    ALL,
    LESSONS,
    ROWS,
    STATS,
    check_defaults_in_an_outage,
    columns,
    early_values,
    fill,
    read,
)
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store


@pytest.fixture(scope="module")
def server(module_server: RedisServer) -> RedisServer:
    return module_server


@pytest.fixture(scope="module")
def directory(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("early")
    fill(directory, server.address)
    return directory


@pytest.fixture
def stores(directory: Path, server: RedisServer) -> tuple[FeatureStore, FeatureStore]:
    return tuple(feature_store(kind, directory, server.address) for kind in (STOCK, OURS))


def taught(store: FeatureStore, features: list[str] = ALL, rows: Any = None) -> Any:
    """An answer to a read after some whose answers became lists."""
    for _ in range(LESSONS):
        read(store, features, rows).to_dict()
    return read(store, features, rows)


def begun(store: FeatureStore, features: list[str] = ALL, rows: Any = None) -> Any:
    """An answer whose lists were begun. Where this thread was kept from a core or from the
    interpreter, the next reads do without."""
    answer = taught(store, features, rows)
    for _ in range(100):
        if early_values(answer):
            break
        answer.to_dict()
        answer = read(store, features, rows)
    assert early_values(answer) > 0
    return answer


@pytest.mark.parametrize("features", [ALL, STATS, ["driver_stats:rate", *ALL[5:]]])
def test_they_are_stocks(stores: tuple[FeatureStore, FeatureStore], features: list[str]) -> None:
    stock, ours = stores
    rows = columns(4 * ROWS)
    expected = read(stock, features, rows).to_dict()
    answer = begun(ours, features, rows)
    first = answer.to_dict()
    assert_same(expected, first)
    assert early_values(answer) == 0
    # A second dict has lists of its own.
    second = answer.to_dict(include_event_timestamps=True)
    assert all(second[name] is not column for name, column in first.items())
    assert_same(read(stock, features, rows).to_dict(True), second)
    assert_same(expected, {name: second[name] for name in expected})
    assert all(gc.is_tracked(column) for column in first.values())
    lists = [value for column in first.values() for value in column if isinstance(value, list)]
    assert all(gc.is_tracked(value) for value in lists)


def test_numbers_are_given_out_again(stores: tuple[FeatureStore, FeatureStore]) -> None:
    """Those of an answer that nobody has any more; what is still in use stays."""
    stock, ours = stores
    expected = read(stock).to_dict()
    held = begun(ours).to_dict()

    def numbers() -> set[int]:
        answer = begun(ours).to_dict()
        assert_same(expected, answer)
        vectors = [number for vector in answer["vector"] if vector for number in vector]
        return {id(number) for number in [*answer["rate"], *vectors] if number is not None}

    first = numbers()
    again = numbers()
    assert len(first & again) > len(first) / 2
    assert_same(expected, held)
    assert not again & {id(number) for number in held["rate"] if number is not None}


def test_the_columns_of_on_demand_views(stores: tuple[FeatureStore, FeatureStore]) -> None:
    """Their inputs are read, and are not in the answer."""
    stock, ours = stores
    features = ["joined:sum", "boosted:rate_plus", "driver_stats:city", "driver_stats:tags"]
    rows = columns() | {"bonus": [1] * ROWS, "word": ["x"] * ROWS}
    answer = taught(ours, features, rows)
    assert_same(read(stock, features, rows).to_dict(), answer.to_dict())


def test_only_where_answers_become_lists(stores: tuple[FeatureStore, FeatureStore]) -> None:
    ours = stores[1]
    assert early_values(read(ours)) == 0
    begun(ours)
    # That one became nothing; nor do the next ones become lists before it is sure again.
    for _ in range(10):
        answer = read(ours)
        assert early_values(answer) == 0
        answer.to_dict()
    begun(ours).to_dict()
    # Other forms are right beside them.
    answer = read(ours)
    table = answer.to_arrow()
    assert table.column("rate").to_pylist() == answer.to_dict()["rate"]
    small = {name: values[:50] for name, values in columns().items()}
    assert early_values(taught(ours, ALL, small)) == 0


def test_strict_statuses(directory: Path, server: RedisServer) -> None:
    strict = feature_store(OURS, directory, server.address, strict_status=True)
    answer = taught(strict)
    assert early_values(answer) == 0
    # Outdated rows are null.
    assert set(answer.to_dict()["rate"]) == {None}


def test_default_values_in_an_outage(directory: Path, server: RedisServer) -> None:
    check_defaults_in_an_outage(directory, server, lambda answer: answer.to_dict()["rate"])


def test_a_malformed_cell_is_told(shared_server: RedisServer, tmp_path: Path) -> None:
    pair = Pair(tmp_path, shared_server)
    pair.put({})
    features = ["stats:double", "stats:texts", "stats:text"]
    rows = [{"driver_id": 7}] * 1000 + [{"driver_id": 1000 + row} for row in range(3000)]
    right = begun(pair.ours, features, rows)
    assert_same([1.5] * 1000 + [None] * 3000, right.to_dict()["double"])
    pair.put({"texts": b"\x6a\x05\x0a\x03a"})
    for _ in range(2):
        answer = read(pair.ours, features, rows)
        with pytest.raises(feast_rs.DecodeError, match=r"stats:texts.*driver_id=7"):
            answer.to_dict()
    # A value for Feast's own Python, which is not run in the middle of a read.
    pair.put({"text": Value(json_val='{"a": 1}').SerializeToString()})
    answer = begun(pair.ours, features, rows)
    assert_same(read(pair.stock, features, rows).to_dict(), answer.to_dict())


def test_threads_that_want_the_interpreter(stores: tuple[FeatureStore, FeatureStore]) -> None:
    """Neither waits for the other for long, and all answers are right."""
    stock, ours = stores
    expected = read(stock, ALL).to_dict()
    taught(ours).to_dict()
    stop = time.monotonic() + 3
    wrong: list[str] = []

    def reads() -> None:
        while time.monotonic() < stop:
            answer = read(ours)
            if answer.to_dict() != expected:
                wrong.append("another answer")

    def computes() -> None:
        while time.monotonic() < stop:
            sum(range(10_000))

    threads = [threading.Thread(target=reads) for _ in range(4)]
    threads += [threading.Thread(target=computes) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert not wrong


def test_the_wait_for_the_interpreter_is_not_the_servers(
    directory: Path, server: RedisServer
) -> None:
    """A thread that keeps the GIL for longer than the time limit makes reads late, and no more."""
    store = feature_store(OURS, directory, server.address, request_timeout_ms=250)
    begun(store).to_dict()
    numbers = list(np.random.default_rng(1).normal(size=1_500_000))
    done = threading.Event()

    def sorts() -> None:
        while not done.is_set():
            start = time.monotonic()
            sorted(numbers)
            assert time.monotonic() - start > 0.25

    thread = threading.Thread(target=sorts)
    thread.start()
    try:
        for _ in range(6):
            assert len(read(store).to_dict()["rate"]) == ROWS
    finally:
        done.set()
        thread.join()
