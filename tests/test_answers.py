"""The forms of an answer: those of stock, and those that stock does not have."""

from __future__ import annotations

import copy
import importlib.util
import pickle
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast import FeatureStore
from feast.online_response import OnlineResponse
from feast.types import Array, Float32, Float64, Int32, Int64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import feast_rs
from tests.support.compare import ask, assert_same, assert_same_answer
from tests.support.rows import client_of
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import ENTITIES, NOON, World, view, write

Stores = tuple[FeatureStore, FeatureStore]

NUMBERS = ["driver_stats:rate", "driver_stats:trips", "driver_more:score", "account:balance"]
ALL = [*NUMBERS, "driver_stats:city", "driver_stats:tags", "driver_stats:since", "customer:vip"]
COLUMNS = {
    "driver_id": [1, 2, 3, 1],
    "account_id": [5, 6, 5, 5],
    "customer_id": ["a", "b", "", "a"],
}


@pytest.fixture(scope="module")
def stores(module_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Stores:
    directory = tmp_path_factory.mktemp("answers")
    stock = feature_store(STOCK, directory, module_server.address)
    ours = feature_store(OURS, directory, module_server.address)
    World(stock)
    stats = [
        {"driver_id": 1, "rate": 0.5, "trips": 2**53 + 1, "city": "Zürich", "tags": ["a"]},
        {"driver_id": 2, "rate": None, "trips": -7, "tags": [], "since": NOON},
    ]
    write(ours, "driver_stats", stats, NOON + timedelta(microseconds=123_456))
    write(stock, "driver_more", [{"driver_id": 1, "score": 0.1}], NOON - timedelta(days=90_000))
    write(stock, "account", [{"account_id": 5, "balance": 1e300}])
    write(ours, "customer", [{"customer_id": "a", "vip": True}])
    return stock, ours


@pytest.fixture
def answer(stores: Stores) -> Any:
    return ask(*stores, ALL, COLUMNS)


def test_it_is_feasts_response(answer: Any) -> None:
    assert isinstance(answer, OnlineResponse)
    assert isinstance(answer, feast_rs.OnlineResponse)
    assert "4 rows x 11 columns" in repr(answer)


def test_to_arrow_has_the_declared_types(answer: Any) -> None:
    table = answer.to_arrow()
    assert isinstance(table, pa.Table)
    assert table.schema.names == list(answer.to_dict())
    assert {name: table.schema.field(name).type for name in table.schema.names} == {
        "driver_id": pa.int64(),
        "account_id": pa.int32(),
        "customer_id": pa.string(),
        "rate": pa.float64(),
        "trips": pa.int64(),
        "score": pa.float32(),
        "balance": pa.float64(),
        "city": pa.string(),
        "tags": pa.list_(pa.string()),
        "since": pa.timestamp("us", "UTC"),
        "vip": pa.bool_(),
    }
    assert_same(answer.to_dict(), _plain(table))


def test_to_arrow_of_no_hit_has_the_same_types(stores: Stores, answer: Any) -> None:
    nobody = {"driver_id": [-1], "account_id": [-1], "customer_id": ["-"]}
    missing = ask(*stores, ALL, nobody)
    assert missing.to_arrow().schema == answer.to_arrow().schema


def test_to_arrow_has_event_timestamps_beside_each_column(answer: Any) -> None:
    table = answer.to_arrow(include_event_timestamps=True)
    assert_same(answer.to_dict(True), _plain(table))
    assert table.schema.field("rate__ts").type == pa.int64()


def test_to_arrow_has_stocks_values(stores: Stores) -> None:
    """Of columns whose type stock infers right it is stock's table."""
    features = ["driver_stats:trips", "driver_stats:rate", "driver_stats:city", "customer:vip"]
    rows = [{"driver_id": 1, "customer_id": "a"}, {"driver_id": 2, "customer_id": "z"}]
    expected = stores[0].get_online_features(features, rows).to_arrow()
    assert stores[1].get_online_features(features, rows).to_arrow() == expected


def test_arrow_capsules(answer: Any) -> None:
    assert pa.table(answer) == answer.to_arrow()
    assert pa.record_batch(answer) == answer.to_arrow().to_batches()[0]
    reader = pa.RecordBatchReader.from_stream(answer)
    assert reader.read_all() == answer.to_arrow()


def test_to_numpy(answer: Any) -> None:
    arrays = answer.to_numpy()
    values = answer.to_dict()
    assert list(arrays) == list(values)
    assert {len(array) for array in arrays.values()} == {4}
    assert arrays["driver_id"].dtype == np.int64
    assert arrays["driver_id"].tolist() == COLUMNS["driver_id"]
    assert not arrays["driver_id"].flags.writeable, "no null, so it was not copied"
    assert arrays["score"].dtype == np.float32
    expected = np.array([np.nan if v is None else v for v in values["rate"]])
    np.testing.assert_array_equal(arrays["rate"], expected)
    assert arrays["city"].tolist() == values["city"]


def test_to_matrix(answer: Any) -> None:
    values = answer.to_dict()
    # The order is the request's, whichever order Feast's response has in this process.
    matrix = answer.to_matrix()
    names = ["rate", "trips", "score", "balance", "vip"]
    assert matrix.shape == (4, 5)
    assert matrix.dtype == np.float32
    assert matrix.flags["C_CONTIGUOUS"]
    with np.errstate(over="ignore"):
        columns = [np.array(values[name], dtype=np.float64).astype(np.float32) for name in names]
    np.testing.assert_array_equal(matrix, np.column_stack(columns))

    chosen = answer.to_matrix(["trips", "since", "driver_id"], dtype=np.float64, null_value=-1.0)
    since = [-1.0 if v is None else v.timestamp() for v in values["since"]]
    trips = [-1.0 if v is None else float(v) for v in values["trips"]]
    np.testing.assert_array_equal(
        chosen, np.column_stack([trips, since, np.array(COLUMNS["driver_id"], float)])
    )
    assert answer.to_matrix([]).shape == (4, 0)


def test_a_matrix_has_what_was_asked_for_and_nothing_else(stores: Stores) -> None:
    """No join keys, no request data, in the order of the request; also after pickling."""
    columns = {**COLUMNS, "bonus": [1, 2, 3, 4], "word": ["a", "b", "c", "d"]}
    features = ["customer:age", "boosted:rate_plus", "boosted:shout", "driver_stats:trips"]
    features += ["joined:sum", "customer:vip", "driver_stats:rate"]
    numbers = ["age", "rate_plus", "trips", "sum", "vip", "rate"]
    answer = ask(*stores, features, columns)
    expected = answer.to_matrix(numbers)
    np.testing.assert_array_equal(answer.to_matrix(), expected)
    again = pickle.loads(pickle.dumps(answer))
    np.testing.assert_array_equal(again.to_matrix(), expected)


def test_a_matrix_of_what_is_no_number(answer: Any) -> None:
    with pytest.raises(feast_rs.DecodeError, match="driver_stats:city"):
        answer.to_matrix(["city"])
    with pytest.raises(feast_rs.ArgumentError, match="no column 'nope'"):
        answer.to_matrix(["nope"])
    with pytest.raises(ValueError, match="float32 or float64"):
        answer.to_matrix(dtype="int64")


def test_event_timestamps_and_statuses(answer: Any) -> None:
    names = list(answer.to_dict())
    assert list(answer.event_timestamps) == names
    assert list(answer.statuses) == names
    for name, vector in zip(names, answer.proto.results, strict=True):
        nanos = [time.ToNanoseconds() for time in vector.event_timestamps]
        times = answer.event_timestamps[name]
        assert times.dtype == np.dtype("datetime64[ns]")
        assert times.astype(np.int64).tolist() == nanos
        assert answer.statuses[name].dtype == np.uint8
        assert answer.statuses[name].tolist() == list(vector.statuses)
    assert str(answer.event_timestamps["rate"][0]) == "2024-05-17T12:00:00.123456000"


def test_it_pickles(stores: Stores) -> None:
    for features in (ALL, ["globals:fee", "driver_stats:rate"]):
        answer = ask(*stores, features, COLUMNS)
        for again in (pickle.loads(pickle.dumps(answer)), copy.deepcopy(answer)):
            assert type(again) is feast_rs.OnlineResponse
            assert_same_answer(answer, again)
            assert again.to_arrow() == answer.to_arrow()
            np.testing.assert_array_equal(again.to_matrix(["rate"]), answer.to_matrix(["rate"]))


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_to_tensor(stores: Stores, answer: Any) -> None:
    expected = stores[0].get_online_features(ALL, COLUMNS).to_tensor(default_value=0)
    tensors = answer.to_tensor(default_value=0)
    assert list(expected) == list(tensors)
    for name, tensor in expected.items():
        assert str(tensor) == str(tensors[name])


def test_to_tensor_knows_only_torch(answer: Any) -> None:
    with pytest.raises(ValueError, match="Unsupported tensor kind"):
        answer.to_tensor(kind="jax")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.none() | st.floats(allow_nan=False),
            st.none() | st.integers(-(2**63), 2**63 - 1),
        ),
        min_size=1,
        max_size=6,
    ),
    asked=st.lists(st.integers(0, 4), min_size=1, max_size=70),
)
def test_all_forms_agree(
    stores: Stores,
    rows: list[tuple[int, float | None, int | None]],
    asked: list[int],
) -> None:
    client_of(stores[0]).flushall()
    for at, (driver, rate, trips) in enumerate(rows):
        values = {"driver_id": driver, "rate": rate, "trips": trips}
        write(stores[at % 2], "driver_stats", [values], NOON + timedelta(seconds=at))
    answer = ask(*stores, ["driver_stats:rate", "driver_stats:trips"], {"driver_id": asked})
    values = answer.to_dict()
    assert_same(values, _plain(answer.to_arrow()))
    columns = [values["rate"], values["trips"]]
    expected = np.array([[np.nan if v is None else float(v) for v in c] for c in columns]).T
    matrix = answer.to_matrix(["rate", "trips"], dtype="float64")
    np.testing.assert_array_equal(matrix, expected)


def _plain(table: pa.Table) -> dict[str, Any]:
    """As `to_dict`, whose times are datetime's own UTC."""
    columns = table.to_pydict()
    return {
        name: [v.astimezone(timezone.utc) if isinstance(v, datetime) else v for v in values]
        for name, values in columns.items()
    }


class TestStrictStatus:
    """`strict_status: true` tells what is not there, and what is older than its view's ttl."""

    @pytest.fixture
    def pair(self, server: RedisServer, tmp_path: Path) -> tuple[FeatureStore, FeatureStore]:
        lax = feature_store(OURS, tmp_path, server.address)
        strict = feature_store(OURS, tmp_path, server.address, strict_status=True)
        lax.apply(
            [
                ENTITIES["driver"],
                view("aging", ["driver"], {"a": Int64, "b": Int64}, ttl=timedelta(hours=1)),
                view("ageless", ["driver"], {"c": Int64}, ttl=timedelta(0)),
            ]
        )
        now = datetime.now(timezone.utc)
        write(lax, "aging", [{"driver_id": 1, "a": 1, "b": None}], now - timedelta(minutes=59))
        write(lax, "aging", [{"driver_id": 2, "a": 2, "b": 3}], now - timedelta(minutes=61))
        write(lax, "aging", [{"driver_id": 3, "a": 4}], now)
        write(lax, "ageless", [{"driver_id": 2, "c": 5}], now - timedelta(days=9000))
        return lax, strict

    def test_statuses_and_nulls(self, pair: tuple[FeatureStore, FeatureStore]) -> None:
        lax, strict = pair
        rows = [{"driver_id": driver} for driver in (1, 2, 3, 4, 2)]
        features = ["aging:a", "aging:b", "ageless:c"]
        answer = strict.get_online_features(features, rows)
        present, missing, outdated = 1, 3, 4
        assert {name: status.tolist() for name, status in answer.statuses.items()} == {
            "driver_id": [present] * 5,
            "a": [present, outdated, present, missing, outdated],
            "b": [present, outdated, missing, missing, outdated],
            "c": [missing, present, missing, missing, present],
        }
        expected = {
            "driver_id": [1, 2, 3, 4, 2],
            "a": [1, None, 4, None, None],
            "b": [None] * 5,
            "c": [None, 5, None, None, 5],
        }
        assert answer.to_dict() == expected
        assert answer.to_arrow().to_pydict() == expected
        assert np.isnan(answer.to_matrix(["a"])[:, 0]).tolist() == [False, True, False, True, True]
        names = list(answer.proto.metadata.feature_names.val)
        for name, vector in zip(names, answer.proto.results, strict=True):
            assert list(vector.statuses) == answer.statuses[name].tolist()
        plain = lax.get_online_features(features, rows)
        assert plain.to_dict()["a"] == [1, 2, 4, None, 2]
        assert set(plain.statuses["a"].tolist()) == {present}
        # When it was, is told all the same.
        assert answer.to_dict(True)["a__ts"] == plain.to_dict(True)["a__ts"]


class TestChangedTypes:
    """Rows that were stored under another type of their feature."""

    @pytest.mark.parametrize(
        ("stored", "declared", "value", "arrow"),
        [
            (Int32, Int64, 7, 7),
            (Int64, Int32, 7, 7),
            (Int64, Float64, 7, 7.0),
            (Float32, Float64, 0.1, float(np.float32(0.1))),
            (Float64, Float32, 0.5, 0.5),
            (Float64, Int64, 3.0, 3),
            (Array(Int32), Array(Int64), [1, 2], [1, 2]),
            # What would lose something is an error, which names the feature.
            (Int64, Int32, 2**40, None),
            (Float64, Int64, 0.5, None),
            (String, Int64, "7", None),
            (Int64, String, 7, None),
            (Array(Int64), Int64, [1], None),
        ],
        ids=str,
    )
    def test_answers_are_stocks(
        self,
        server: RedisServer,
        tmp_path: Path,
        stored: Any,
        declared: Any,
        value: Any,
        arrow: Any,
    ) -> None:
        stores = [feature_store(kind, tmp_path, server.address) for kind in (STOCK, OURS)]
        stores[0].apply([ENTITIES["driver"], view("stats", ["driver"], {"x": stored})])
        write(stores[0], "stats", [{"driver_id": 1, "x": value}])
        stores[0].apply([view("stats", ["driver"], {"x": declared})])
        answer = ask(*stores, ["stats:x"], [{"driver_id": 1}, {"driver_id": 2}])
        if arrow is None:
            with pytest.raises(feast_rs.DecodeError, match=r"stats:x.*driver_id=1"):
                answer.to_arrow()
        else:
            assert_same([arrow, None], answer.to_arrow()["x"].to_pylist())
