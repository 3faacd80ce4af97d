"""Every form of a request is answered as stock Feast answers it."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import Field
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.types import Float64

import feast_rs
from tests.support.compare import assert_same
from tests.support.server import RedisServer
from tests.support.setting import FEATURES, HOUR, VIEW_KEYS, Setting, fill
from tests.support.world import NOON, row

pytestmark = pytest.mark.filterwarnings("ignore:Using entity name is deprecated")


@pytest.fixture(scope="module")
def setting(module_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    setting = Setting(tmp_path_factory.mktemp("world"), module_server)
    fill(setting.stock, setting.ours)
    return setting


def test_the_same_view_twice_under_aliases(setting: Setting) -> None:
    rows = [
        {"origin_id": 1, "destination_id": 2, "driver_id": 1},
        {"origin_id": 3, "destination_id": 1, "driver_id": 9},
    ]
    service = setting.stock.get_feature_service("trip")
    answer = setting.ask(service, rows, full_feature_names=True)
    assert answer.to_dict()["origin__celsius"] == [20.5, None]
    assert answer.to_dict()["destination__celsius"] == [-1.0, 20.5]


@pytest.mark.parametrize("names", [["place_id", "origin_id"], ["origin_id", "place_id"]])
def test_a_join_key_beside_its_alias(setting: Setting, names: list[str]) -> None:
    """Stock gives the aliased view whichever of the two columns comes last."""
    values = {"place_id": [1], "origin_id": [2]}
    columns = {name: values[name] for name in names}
    service = setting.stock.get_feature_service("here_and_there")
    answer = setting.ours.get_online_features(service, columns, full_feature_names=True)
    expected = {"place_id": [1], "origin_id": [2], "here__celsius": [20.5]}
    assert answer.to_dict() == {**expected, "origin__celsius": [-1.0]}
    stocks = setting.stock.get_online_features(service, columns, full_feature_names=True)
    wrong = 20.5 if names[-1] == "place_id" else -1.0
    assert stocks.to_dict() == {**expected, "origin__celsius": [wrong]}


def test_an_entitys_name_stands_for_its_join_key(setting: Setting) -> None:
    features = ["driver_stats:rate", "pair:affinity"]
    rows = {"customer": ["ü", "nobody"], "driver": [1, 2]}
    assert list(setting.ask(features, rows).to_dict()) == [
        "customer_id",
        "driver_id",
        "rate",
        "affinity",
    ]
    with pytest.warns(UserWarning, match="entity name is deprecated"):
        setting.ours.get_online_features(["driver_stats:trips"], {"driver": [1]})


def test_an_entitys_name_has_the_join_keys_type(setting: Setting) -> None:
    """Stock takes the integer for an int64, and finds nothing."""
    columns = {"account": [5]}
    assert setting.stock.get_online_features(["account:balance"], columns).to_dict() == {
        "account_id": [5],
        "balance": [None],
    }
    answer = setting.ours.get_online_features(["account:balance"], columns)
    assert answer.to_dict() == {"account_id": [5], "balance": [1.25]}


@pytest.mark.parametrize("repeat", [1, 40])
def test_repeated_and_missing_entities(setting: Setting, repeat: int) -> None:
    rows = [{"driver_id": driver} for driver in (2, 1, 99, 1, 2, 99, -3)] * repeat
    answer = setting.ask(["driver_stats:trips", "driver_stats:city"], rows)
    assert answer.to_dict()["trips"] == [None, 7, None, 7, None, None, -(2**63)] * repeat


def test_a_join_key_that_is_a_feature_as_well(setting: Setting) -> None:
    rows = [{"driver_id": 1, "account_id": 5}, {"driver_id": 2, "account_id": 6}]
    features = ["account:driver_id", "driver_stats:rate"]
    # As in a dict of stock's, the last column of a name counts, at the place of the first.
    answer = setting.ask(features, rows)
    assert list(answer.to_dict()) == ["driver_id", "account_id", "rate"]
    assert answer.to_arrow().to_pydict() == answer.to_dict()
    setting.ask(features, rows, full_feature_names=True)


def test_a_name_of_two_views_is_told_apart_by_full_names(setting: Setting) -> None:
    answer = setting.ask(
        ["driver_stats:trips", "driver_more:trips"], [{"driver_id": 1}], full_feature_names=True
    )
    names = ["driver_id", "driver_stats__trips", "driver_more__trips"]
    assert list(answer.to_dict()) == names


def test_forms_of_rows_beyond_stocks(setting: Setting) -> None:
    features = ["driver_stats:rate", "pair:affinity", "account:balance"]
    columns = {"driver_id": [1, 2, 9], "customer_id": ["ü", "", "x"], "account_id": [5, 5, 6]}
    expected = setting.ask(features, columns).to_dict(True)
    frame = pd.DataFrame(columns)
    table = pa.table(columns)
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    for rows in (
        frame,
        frame.astype({"driver_id": "int32", "account_id": "int64"}),
        frame.astype({"customer_id": "string"}),
        frame.set_index(pd.Index([7, 8, 9])),
        table,
        chunked,
        table.to_batches()[0],
        {name: np.array(values) for name, values in columns.items()},
        {name: pa.array(values) for name, values in columns.items()},
        {name: frame[name] for name in frame},
        {"driver_id": np.array([1, 2, 9], np.int32), **{n: columns[n] for n in list(columns)[1:]}},
    ):
        assert_same(expected, setting.ours.get_online_features(features, rows).to_dict(True))
        awaited = asyncio.run(setting.ours.get_online_features_async(features, rows))
        assert_same(expected, awaited.to_dict(True))


def test_messages_of_every_type_as_rows(setting: Setting) -> None:
    """Stock's conversion refuses messages of bytes and timestamps, and those of another width."""
    seconds = int(HOUR.timestamp())
    rows = {
        "device_id": [Value(bytes_val=b"\x00\xff")],
        "hour_id": RepeatedValue(val=[Value(unix_timestamp_val=seconds)]),
        "account_id": [Value(int64_val=5)],
    }
    answer = setting.ours.get_online_features(
        ["device:model", "hour:holiday", "account:balance"], rows
    )
    assert answer.to_dict() == {
        "device_id": [b"\x00\xff"],
        "hour_id": [HOUR],
        "account_id": [5],
        "model": ["x"],
        "holiday": [True],
        "balance": [1.25],
    }


def test_a_feature_that_was_never_written(setting: Setting) -> None:
    """A feature that a view got after its rows were written is absent from the hash."""
    answer = setting.ask(["driver_stats:since", "driver_stats:rate"], [{"driver_id": 1}])
    assert answer.to_dict()["since"] == [None]
    assert answer.to_dict(True)["since__ts"] == [int(NOON.timestamp())]


def test_only_request_data(setting: Setting) -> None:
    rows = [{"bonus": 3, "word": "abc"}, {"bonus": 4, "word": "de"}]
    assert setting.ask(["request_lengths:length"], rows).to_dict() == {"length": [3, 2]}
    # Feast gives a singleton all values at once: a list of two times two.
    setting.ask(["only_request:doubled"], rows[:1])


def test_what_only_an_on_demand_view_needs_is_left_out(setting: Setting) -> None:
    """Also where as many features are read as are asked for."""
    features = [f"driver_stats:{name}" for name in FEATURES["driver_stats"]]
    features += ["customer:age", "joined:sum", "joined:cities"]
    columns = {"driver_id": [1, 2], "customer_id": ["ü", ""]}
    answer = setting.ask(features, columns)
    names = {feature.partition(":")[2] for feature in features}
    assert set(answer.to_dict()) == names | set(columns)


@pytest.mark.parametrize("drivers", [[4], [1, 4], [1, 2, 4], [4, 1]])
def test_an_on_demand_view_with_values_too_few(
    setting: Setting, tmp_path: Path, module_server: RedisServer, drivers: list[int]
) -> None:
    own = Setting(tmp_path, module_server)
    stats = own.stock.get_feature_view("driver_stats")

    @on_demand_feature_view(
        sources=[stats], schema=[Field(name="known", dtype=Float64)], mode="python"
    )
    def few(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"known": [0.5] + [rate for rate in inputs["rate"] if rate is not None]}

    own.apply(few)
    features = ["driver_stats:trips", "few:known"]
    rows = [{"driver_id": driver} for driver in drivers]
    expected = own.stock.get_online_features(features, rows)
    answer = own.ours.get_online_features(features, rows)
    stored = sum(driver == 1 for driver in drivers)
    assert answer.to_dict()["known"] == [0.5] * (1 + stored)
    for ours in (answer, pickle.loads(pickle.dumps(answer))):
        assert_same(expected.to_dict(True), ours.to_dict(True))
        assert ours.proto == expected.proto
        columns = zip(
            expected.proto.metadata.feature_names.val, expected.proto.results, strict=True
        )
        statuses = {name: list(vector.statuses) for name, vector in columns}
        assert {name: column.tolist() for name, column in ours.statuses.items()} == statuses
        times = ours.event_timestamps
        assert {name: len(column) for name, column in times.items()} == {
            name: len(column) for name, column in statuses.items()
        }
        if 1 + stored == len(drivers):
            assert ours.to_arrow().num_rows == len(drivers)
            continue
        assert "known: " in repr(ours)
        with pytest.raises(ValueError, match="same length"):
            expected.to_df()
        with pytest.raises(ValueError, match="same length"):
            ours.to_df()
        for form in (ours.to_arrow, ours.to_numpy, ours.to_matrix, ours.__arrow_c_stream__):
            with pytest.raises(feast_rs.ArgumentError, match="known"):
                form()


def test_online_read_of_each_view(setting: Setting) -> None:
    """The store's own verb, which feature servers and Feast's other code use."""
    for name in ("driver_stats", "customer", "pair", "globals", "stored"):
        table = setting.stock.registry.get_any_feature_view(name, "proj")
        keys = VIEW_KEYS[name]
        examples = [dict(zip(keys, POOLS_OF[name][at], strict=True)) for at in range(2)]
        entities = [row(table, example)[0] for example in examples]
        entities.append(entities[0])
        stores = [s._get_provider().online_store for s in (setting.stock, setting.ours)]
        for requested in (None, FEATURES[name][:1], FEATURES[name]):
            read = [
                store.online_read(
                    setting.stock.config if store is stores[0] else setting.ours.config,
                    table,
                    entities,
                    list(requested) if requested else None,
                )
                for store in stores
            ]
            assert read[0] == read[1]
            awaited = asyncio.run(
                stores[1].online_read_async(setting.ours.config, table, entities, requested)
            )
            assert awaited == read[0]
        assert stores[1].online_read(setting.ours.config, table, []) == []


POOLS_OF: dict[str, list[tuple[Any, ...]]] = {
    "driver_stats": [(1,), (99,)],
    "customer": [("ü",), ("nobody",)],
    "pair": [(1, "ü"), (2, "ü")],
    "globals": [(), ()],
    "stored": [(1,), (2,)],
}
