"""Bad requests: what stock Feast raises is raised here too, as that type or one derived from it."""

from __future__ import annotations

import asyncio
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from feast import FeatureService, FeatureStore
from feast.protos.feast.types.Value_pb2 import Value

import feast_rs
from tests.support.compare import ask
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import ENTITIES, Float64, World, view, write

Stores = tuple[FeatureStore, FeatureStore]


@pytest.fixture(scope="module")
def stores(module_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Stores:
    directory = tmp_path_factory.mktemp("errors")
    stock = feature_store(STOCK, directory, module_server.address)
    ours = feature_store(OURS, directory, module_server.address)
    World(stock)
    write(stock, "driver_stats", [{"driver_id": 1, "rate": 0.5}])
    return stock, ours


RATE = ["driver_stats:rate"]
ONE = [{"driver_id": 1}]
REQUEST = {"driver_id": [1], "bonus": [1], "word": ["a"]}

# The request, and a word that the message has.
REFUSED: dict[str, tuple[Any, Any, str]] = {
    "unknown view": (["nope:rate"], ONE, "nope"),
    "unknown feature": (["driver_stats:nope"], ONE, "nope"),
    "unknown feature of an on-demand view": (["boosted:nope"], REQUEST, "nope"),
    "no feature": ([], ONE, "features"),
    "no list of features": (None, ONE, ""),
    "a text for a list": ("driver_stats:rate", ONE, ""),
    "a reference without a view": (["rate"], ONE, "rate"),
    "an empty reference": ([""], ONE, ""),
    "a number for a reference": ([7], ONE, ""),
    "one name of two views": (["driver_stats:trips", "driver_more:trips"], ONE, "trips"),
    "the same feature twice": (["driver_stats:rate", "driver_stats:rate"], ONE, "rate"),
    "a version without versioning": (["driver_stats@v1:rate"], ONE, "versioning"),
    "no row": (RATE, [], ""),
    "rows without columns": (RATE, [{}], ""),
    "columns without rows": (RATE, {"driver_id": []}, ""),
    "no column": (RATE, {}, ""),
    "no rows at all": (RATE, None, ""),
    "a row that is no dict": (RATE, [1], ""),
    "another join key": (RATE, [{"customer_id": "x"}], "driver_id"),
    "an unknown column": (RATE, [{"nope": 1}], "driver_id"),
    "no join key of a composite key": (["pair:affinity"], [{"account_id": 1}], "customer_id"),
    "no join key of one view of two": ([*RATE, "customer:age"], ONE, "customer_id"),
    "no join key of an on-demand view's source": (
        ["boosted:rate_plus"],
        {"bonus": [1], "word": ["a"]},
        "driver_id",
    ),
    "a null": (RATE, [{"driver_id": None}], ""),
    "a null among values": (RATE, {"driver_id": [1, None]}, ""),
    "a null text": (["customer:age"], {"customer_id": ["a", None]}, ""),
    "a null in a composite key": (
        ["pair:affinity"],
        {"driver_id": [1, 2], "customer_id": ["a", None]},
        "",
    ),
    "not a number": (RATE, {"driver_id": [1, float("nan")]}, ""),
    "a null message": (RATE, {"driver_id": [Value(int64_val=1), Value()]}, ""),
    "a row with a column less": (RATE, [{"driver_id": 1, "x": 1}, {"driver_id": 2}], "same"),
    "a row with a column more": (RATE, [{"driver_id": 1}, {"driver_id": 2, "x": 1}], "same"),
    "a row with another column": (RATE, [{"driver_id": 1}, {"x": 1}], "same"),
    "columns of different lengths": (RATE, {"driver_id": [1, 2], "x": [1]}, "same"),
    "join keys of different lengths": (
        ["pair:affinity"],
        {"driver_id": [1, 2], "customer_id": ["a"]},
        "same",
    ),
    "no request data": (["boosted:rate_plus"], ONE, "bonus"),
    "half of the request data": (["boosted:shout"], {"driver_id": [1], "bonus": [1]}, "word"),
    "request data of another length": (
        ["boosted:shout"],
        {"driver_id": [1], "bonus": [1, 2], "word": ["a"]},
        "same",
    ),
    "a text for a number": (RATE, [{"driver_id": "x"}], ""),
    "a list for a number": (RATE, [{"driver_id": [1]}], ""),
    "a dict for a number": (RATE, [{"driver_id": {"a": 1}}], ""),
    "too large for int64": (RATE, [{"driver_id": 2**63}], ""),
    "too large for int32": (["account:balance"], [{"account_id": 2**31}], ""),
    "too small for int32": (["account:balance"], [{"account_id": -(2**31) - 1}], ""),
    "infinite": (RATE, [{"driver_id": float("inf")}], ""),
    "a number for bytes": (["device:model"], [{"device_id": 7}], ""),
    "a text for bytes": (["device:model"], [{"device_id": "x"}], ""),
    "a text for a timestamp": (["hour:holiday"], [{"hour_id": "noon"}], ""),
    "a lone surrogate": (["customer:age"], [{"customer_id": "\ud800"}], ""),
    "a value that Feast has no type for": (RATE, [{"driver_id": 1, "x": object()}], ""),
    "a column of a single value": (RATE, {"driver_id": 1}, ""),
}


def error_of(ask: Callable[[], Any]) -> BaseException | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ask()
        except Exception as error:
            return error
    return None


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_as_by_stock(stores: Stores, name: str) -> None:
    features, rows, word = REFUSED[name]
    expected = error_of(lambda: stores[0].get_online_features(features, rows))
    assert expected is not None, "stock accepts this"
    error = error_of(lambda: stores[1].get_online_features(features, rows))
    assert isinstance(error, type(expected)), f"{error!r} for {expected!r}"
    assert word in str(error)
    assert str(error).strip(), "it says nothing"
    awaited = error_of(lambda: asyncio.run(stores[1].get_online_features_async(features, rows)))
    assert type(awaited) is type(error)
    assert str(awaited) == str(error)
    # And the next request is answered.
    ask(*stores, RATE, ONE)


@pytest.mark.parametrize(
    ("features", "rows", "error", "words"),
    [
        (RATE, [], feast_rs.NoEntityRowsError, "at least one row"),
        (RATE, {"driver_id": []}, feast_rs.NoEntityRowsError, "driver_id"),
        (RATE, [{"customer_id": "x"}], feast_rs.MissingJoinKeyError, "'driver_stats' needs"),
        (RATE, [{"driver_id": None}], feast_rs.EntityKeyError, "'driver_id': the value of row 0"),
        (RATE, {"driver_id": [1, None]}, feast_rs.EntityKeyError, "row 1 is null"),
        (RATE, [{"driver_id": 1}, {"x": 1}], feast_rs.ArgumentError, "same keys"),
        (RATE, [{"driver_id": 1}, {"driver_id": 1, "x": 1}], feast_rs.ArgumentError, "same keys"),
        (RATE, [{"driver_id": 1}, defaultdict(int, x=1)], feast_rs.ArgumentError, "same keys"),
        (RATE, [{"driver_id": 1}, MappingProxyType({})], feast_rs.ArgumentError, "same keys"),
        (RATE, {"driver_id": [1, 2], "x": [1]}, feast_rs.ArgumentError, "columns of 1, 2 values"),
        (["account:balance"], [{"account_id": 2**31}], feast_rs.EntityKeyError, "INT32"),
        ("driver_stats:rate", ONE, feast_rs.FeatureListError, "not str"),
        (RATE, {"driver_id": 1}, feast_rs.EntityRowsError, "not int"),
        (RATE, 7, feast_rs.EntityRowsError, "not int"),
    ],
    ids=str,
)
def test_our_own_errors_say_what_is_wrong(
    stores: Stores, features: Any, rows: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as refusal:
        stores[1].get_online_features(features, rows)
    assert words in str(refusal.value)
    assert isinstance(refusal.value, feast_rs.FeastRsError)


def test_an_unknown_feature_service(stores: Stores) -> None:
    service = FeatureService(name="never applied", features=[view("v", ["driver"], {"a": Float64})])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = error_of(lambda: stores[0].get_online_features(service, ONE))
        error = error_of(lambda: stores[1].get_online_features(service, ONE))
    assert type(error) is type(expected)
    assert "never applied" in str(error)


def test_a_disabled_view(server: RedisServer, tmp_path: Path) -> None:
    pair = [feature_store(kind, tmp_path, server.address) for kind in (STOCK, OURS)]
    disabled = view("stats", ["driver"], {"rate": Float64}, enabled=False)
    pair[0].apply([ENTITIES["driver"], disabled])
    with pytest.raises(ValueError, match="disabled"):
        ask(*pair, ["stats:rate"], ONE)


class TestDeliberateDifferences:
    """Where stock answers something that nobody asked for, or refuses what is plain."""

    @pytest.mark.parametrize(
        "rows",
        [{"driver_id": [1]}, {"customer_id": ["x"]}, {"driver_id": [1], "account_id": [5]}],
        ids=str,
    )
    def test_a_part_of_a_composite_key(self, stores: Stores, rows: Any) -> None:
        """Stock reads the key of the part, which never has a row."""
        expected = stores[0].get_online_features(["pair:affinity"], rows)
        assert expected.to_dict()["affinity"] == [None]
        with pytest.raises(feast_rs.MissingJoinKeyError, match="'pair' needs") as refusal:
            stores[1].get_online_features(["pair:affinity"], rows)
        assert isinstance(refusal.value, KeyError)

    @pytest.mark.parametrize("values", [np.array([1, 2]), np.array([1, 2], np.int32)])
    def test_arrays(self, stores: Stores, values: Any) -> None:
        with pytest.raises(AttributeError):
            stores[0].get_online_features(RATE, {"driver_id": values})
        answer = stores[1].get_online_features(RATE, {"driver_id": values})
        assert answer.to_dict() == {"driver_id": [1, 2], "rate": [0.5, None]}

    def test_messages_of_another_width(self, stores: Stores) -> None:
        """Stock makes the key of an int32, which no row of an int64 join key has."""
        rows = {"driver_id": [Value(int32_val=1)]}
        assert stores[0].get_online_features(RATE, rows).to_dict()["rate"] == [None]
        assert stores[1].get_online_features(RATE, rows).to_dict()["rate"] == [0.5]

    def test_messages_without_a_declared_type(self, stores: Stores) -> None:
        rows = {"driver_id": [Value(int64_val=1)], "x": [Value(string_val="a")]}
        with pytest.raises(ValueError, match="cannot be converted"):
            stores[0].get_online_features(RATE, rows)
        assert stores[1].get_online_features(RATE, rows).to_dict()["rate"] == [0.5]

    def test_a_tuple_of_features(self, stores: Stores) -> None:
        """Stock takes it if the same list was asked for before, else it is an AssertionError."""
        answer = stores[1].get_online_features(("driver_stats:rate", "driver_stats:city"), ONE)
        assert answer.to_dict()["rate"] == [0.5]

    def test_empty_bytes_are_a_key(self, stores: Stores) -> None:
        """Stock takes a column of nothing but empty bytes for one of nulls."""
        with pytest.raises(TypeError):
            stores[0].get_online_features(["device:model"], {"device_id": [b""]})
        answer = stores[1].get_online_features(["device:model"], {"device_id": [b""]})
        assert answer.to_dict() == {"device_id": [b""], "model": [None]}
