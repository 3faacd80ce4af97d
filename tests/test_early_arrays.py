"""Arrays that are begun while the replies still come: the same tables, whatever becomes of them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import FeatureStore

import feast_rs
from tests.support.cells import Pair
from tests.support.early import (
    ALL,
    LESSONS,
    STATS,
    check_defaults_in_an_outage,
    columns,
    early_values,
    fill,
    read,
)
from tests.support.server import RedisServer
from tests.support.stores import OURS, feature_store

# After an answer that became nothing it takes more.
MOST_LESSONS = 30


@pytest.fixture(scope="module")
def server(module_server: RedisServer) -> RedisServer:
    return module_server


@pytest.fixture(scope="module")
def directory(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("early_arrays")
    fill(directory, server.address)
    return directory


@pytest.fixture
def store(directory: Path, server: RedisServer) -> FeatureStore:
    return feature_store(OURS, directory, server.address)


def begun(store: FeatureStore, features: list[str] = ALL, rows: Any = None) -> Any:
    """An answer whose arrays were begun."""
    for _ in range(MOST_LESSONS):
        answer = read(store, features, rows)
        if early_values(answer):
            return answer
        answer.to_arrow()
    raise AssertionError("nothing was begun")


@pytest.mark.parametrize("features", [ALL, STATS, ["customer:vector", *STATS]])
@pytest.mark.parametrize("times", [False, True])
def test_they_are_the_same(
    directory: Path, server: RedisServer, features: list[str], times: bool
) -> None:
    # The first answer of a store is decoded when it is asked for.
    first = read(feature_store(OURS, directory, server.address), features)
    assert early_values(first) == 0
    expected = first.to_arrow(include_event_timestamps=times)
    answer = begun(feature_store(OURS, directory, server.address), features)
    table = answer.to_arrow(include_event_timestamps=times)
    table.validate(full=True)
    assert table.equals(expected)
    assert table.schema.equals(expected.schema)
    # What was begun is used up; another table is the same.
    assert early_values(answer) == 0
    assert answer.to_arrow(include_event_timestamps=times).equals(expected)


def test_all_forms_of_an_answer(store: FeatureStore) -> None:
    expected = read(store).to_dict()
    assert begun(store).to_dict() == expected
    numbers = begun(store).to_numpy()
    assert numbers["rate"].tolist() == pytest.approx(
        [float("nan") if rate is None else rate for rate in expected["rate"]], nan_ok=True
    )
    batch = pa.record_batch(begun(store))
    assert batch.column("city").to_pylist() == expected["city"]


def test_only_where_answers_become_arrays(store: FeatureStore) -> None:
    begun(store)
    # That one became nothing, so for a while none is begun.
    for _ in range(LESSONS):
        assert early_values(read(store)) == 0
    begun(store).to_arrow()
    few = {name: values[:50] for name, values in columns().items()}
    assert early_values(read(store, ALL, few)) == 0


def test_strict_statuses(directory: Path, server: RedisServer) -> None:
    """Missing rows are null, which is decided when all is there."""
    strict = feature_store(OURS, directory, server.address, strict_status=True)
    for _ in range(LESSONS):
        read(strict).to_arrow()
    assert early_values(read(strict)) == 0


def test_a_malformed_cell_is_told(shared_server: RedisServer, tmp_path: Path) -> None:
    pair = Pair(tmp_path, shared_server)
    pair.put({})
    features = ["stats:double", "stats:texts", "stats:text"]
    rows = [{"driver_id": 7}] * 1000 + [{"driver_id": 1000 + row} for row in range(3000)]
    assert begun(pair.ours, features, rows).to_arrow().num_rows == 4000
    pair.put({"texts": b"\x6a\x05\x0a\x03a"})
    for _ in range(2):
        answer = read(pair.ours, features, rows)
        assert early_values(answer) == 0
        with pytest.raises(feast_rs.DecodeError, match=r"stats:texts.*driver_id=7"):
            answer.to_arrow()
    pair.put({})
    assert begun(pair.ours, features, rows).to_arrow().num_rows == 4000


def test_default_values_in_an_outage(directory: Path, server: RedisServer) -> None:
    check_defaults_in_an_outage(
        directory, server, lambda answer: answer.to_arrow().column("rate").to_pylist()
    )


def test_threads(store: FeatureStore) -> None:
    expected = read(store).to_arrow()
    begun(store).to_arrow()
    wrong: list[str] = []
    early = 0

    def reads() -> None:
        nonlocal early
        for _ in range(30):
            answer = read(store)
            early += early_values(answer)
            if not answer.to_arrow().equals(expected):
                wrong.append("differs")

    threads = [threading.Thread(target=reads) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert early > 0
