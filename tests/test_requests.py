"""Every form of a request is answered as stock Feast answers it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.compare import ask, assert_same
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import NOON, World, row, write

pytestmark = pytest.mark.filterwarnings("ignore:Using entity name is deprecated")


class Setting:
    """Both stores over one registry, and the rows that are stored."""

    def __init__(self, directory: Path, server: RedisServer) -> None:
        self.server = server
        self.stock = feature_store(STOCK, directory, server.address)
        self.ours = feature_store(OURS, directory, server.address)
        self.world = World(self.stock)

    def ask(self, features: Any, rows: Any, **options: Any) -> Any:
        return ask(self.stock, self.ours, features, rows, **options)


def fill(stock: FeatureStore, ours: FeatureStore) -> None:
    """Rows of every view, some written by stock and some by feast-rs."""
    hour = NOON.replace(minute=0)
    stats = [
        {"driver_id": 1, "rate": 0.5, "trips": 7, "city": "Zürich", "tags": ["a", ""]},
        {"driver_id": 2, "rate": None, "trips": None, "city": "", "tags": []},
        {"driver_id": -3, "rate": 1e300, "trips": -(2**63), "since": NOON},
    ]
    write(stock, "driver_stats", stats[:2])
    write(ours, "driver_stats", stats[2:], NOON + timedelta(microseconds=1))
    ident = "5a2f0a4e-6c0f-4d57-8a5a-4f5f0b8f1d11"
    write(ours, "driver_more", [{"driver_id": 1, "trips": 9, "score": 0.1, "ident": ident}])
    write(stock, "driver_more", [{"driver_id": 2, "trips": 0, "score": -0.0}])
    write(stock, "customer", [{"customer_id": "ü", "age": 41, "vip": False, "vector": [0.5, 1.5]}])
    write(ours, "customer", [{"customer_id": "", "age": 0, "vip": True}])
    write(ours, "account", [{"account_id": 5, "balance": 1.25, "driver_id": 77, "photo": b"\xff"}])
    write(stock, "device", [{"device_id": b"\x00\xff", "model": "x", "specs": {"a": [1, None]}}])
    write(ours, "hour", [{"hour_id": hour, "holiday": True}])
    write(stock, "pair", [{"driver_id": 1, "customer_id": "ü", "affinity": 0.25, "meetings": 2}])
    write(ours, "pair", [{"driver_id": 2, "customer_id": "", "affinity": 0.75, "meetings": 0}])
    triple = {"hour_id": hour, "customer_id": "ü", "account_id": 5, "weight": 2.5}
    write(ours, "triple", [triple])
    write(ours, "globals", [{"fee": 2.5, "slogan": "go"}])
    write(stock, "weather", [{"place_id": 1, "celsius": 20.5}, {"place_id": 2, "celsius": -1.0}])
    write(ours, "stored", [{"driver_id": 1, "stored_rate": 5.0}])


@pytest.fixture(scope="module")
def setting(module_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    setting = Setting(tmp_path_factory.mktemp("world"), module_server)
    fill(setting.stock, setting.ours)
    return setting


HOUR = NOON.replace(minute=0)
# Values of the join keys and of request data: stored, missing, and extreme ones.
POOLS: dict[str, list[Any]] = {
    "driver_id": [1, 2, -3, 4, 0, 2**63 - 1, -(2**63)],
    "customer_id": ["ü", "", "nobody", "\x00", "x" * 70],
    "account_id": [5, 6, -(2**31), 2**31 - 1],
    "device_id": [b"\x00\xff", b"?", b"\x00"],
    "hour_id": [HOUR, NOON - timedelta(days=40_000)],
    "place_id": [1, 2, 3],
    "origin_id": [1, 2, 3],
    "destination_id": [1, 2, 3],
    "bonus": [0, 1, -5],
    "word": ["", "abc", "ß"],
    "unknown": ["x", "y"],
}
VIEW_KEYS = {
    "driver_stats": ["driver_id"],
    "driver_more": ["driver_id"],
    "customer": ["customer_id"],
    "account": ["account_id"],
    "device": ["device_id"],
    "hour": ["hour_id"],
    "pair": ["driver_id", "customer_id"],
    "triple": ["hour_id", "customer_id", "account_id"],
    "globals": [],
    "weather": ["place_id"],
    "boosted": ["driver_id", "bonus", "word"],
    "joined": ["driver_id", "customer_id"],
    "only_request": ["bonus", "word"],
    "request_lengths": ["bonus", "word"],
    "stored": ["driver_id"],
}
FEATURES = {
    "driver_stats": ["rate", "trips", "city", "tags", "since"],
    "driver_more": ["trips", "score", "ident"],
    "customer": ["age", "vip", "vector"],
    "account": ["balance", "driver_id", "photo"],
    "device": ["model", "specs"],
    "hour": ["holiday"],
    "pair": ["affinity", "meetings"],
    "triple": ["weight"],
    "globals": ["fee", "slogan"],
    "weather": ["celsius"],
    "boosted": ["rate_plus", "shout"],
    "joined": ["sum", "cities"],
    "request_lengths": ["length"],
    "stored": ["stored_rate"],
}
REFS = [f"{view}:{feature}" for view, features in FEATURES.items() for feature in features]
SERVICE_KEYS = {
    "ranking": ["driver_id", "customer_id"],
    "aliased": ["driver_id", "customer_id"],
    "trip": ["origin_id", "destination_id", "driver_id"],
    "entityless": ["device_id"],
    "computed": ["driver_id", "customer_id", "bonus", "word"],
    "everything": ["driver_id", "customer_id", "bonus", "word"],
}
ON_DEMAND = ("boosted", "joined", "only_request", "request_lengths")
REQUEST_DATA = {"bonus", "word"}


@st.composite
def rows_with(draw: st.DrawFn, needed: list[str], extra: list[str]) -> dict[str, list[Any]]:
    """Columns with the needed names and some others, in any order."""
    others = st.lists(st.sampled_from(extra), max_size=2, unique=True)
    names = draw(st.permutations(list(dict.fromkeys([*needed, *draw(others)]))))
    if not names:
        names = ["driver_id"]
    count = draw(st.integers(1, 5))
    return {
        name: draw(st.lists(st.sampled_from(POOLS[name]), min_size=count, max_size=count))
        for name in names
    }


FORMS = ["rows", "columns", "tuples", "protos", "repeated"]
FIELDS = {
    "driver_id": "int64_val",
    "customer_id": "string_val",
    "account_id": "int32_val",
    "place_id": "int64_val",
    "origin_id": "int64_val",
    "destination_id": "int64_val",
}


def in_form(columns: dict[str, list[Any]], form: str) -> Any:
    """The columns as Feast accepts them."""
    if form == "rows":
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if form == "tuples":
        return {name: tuple(values) for name, values in columns.items()}
    if form in ("protos", "repeated"):
        # Stock takes messages for some types, and of declared join keys only.
        converted: dict[str, Any] = {}
        for name, values in columns.items():
            field = FIELDS.get(name)
            if field is None:
                converted[name] = values
                continue
            messages = [Value(**{field: value}) for value in values]
            converted[name] = RepeatedValue(val=messages) if form == "repeated" else messages
        return converted
    return columns


FEW = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FEW
@given(data=st.data())
def test_any_list_of_features(setting: Setting, data: st.DataObject) -> None:
    full = data.draw(st.booleans(), label="full_feature_names")
    refs = data.draw(
        st.lists(
            st.sampled_from(REFS),
            min_size=1,
            max_size=8,
            unique_by=(lambda ref: ref) if full else (lambda ref: ref.partition(":")[2]),
        ),
        label="features",
    )
    asked = {ref.partition(":")[0] for ref in refs}
    needed = [key for view in VIEW_KEYS if view in asked for key in VIEW_KEYS[view]]
    extra = ["driver_id", "customer_id", "account_id"]
    if not asked & set(ON_DEMAND):
        extra += ["unknown", *REQUEST_DATA]
    columns = data.draw(rows_with(needed, extra), label="columns")
    form = data.draw(st.sampled_from(FORMS), label="form")
    if form in ("protos", "repeated"):
        # Stock judges messages by the declared type, which only requested views' keys have.
        columns = {name: values for name, values in columns.items() if name in needed}
        columns = columns or {"unknown": ["x"]}
    with_versions = data.draw(st.booleans(), label="versions")
    setting.ask(
        refs,
        in_form(columns, form),
        full_feature_names=full,
        include_feature_view_version_metadata=with_versions,
    )


@FEW
@given(data=st.data())
def test_any_feature_service(setting: Setting, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(SERVICE_KEYS)), label="service")
    # The alias of one view is no key of the registry's, so nothing else fits into this one.
    extra = ["driver_id"] if name == "trip" else ["driver_id", "account_id"]
    columns = data.draw(rows_with(SERVICE_KEYS[name], extra), label="columns")
    form = data.draw(st.sampled_from(["rows", "columns", "tuples"]), label="form")
    # Both views of one name in "trip" collide without their full names, which is an error.
    full = name == "trip" or data.draw(st.booleans(), label="full_feature_names")
    if name == "everything" and not full:
        return  # and so do the sources of its on-demand views
    service = setting.stock.get_feature_service(name)
    setting.ask(service, in_form(columns, form), full_feature_names=full)


def test_the_same_view_twice_under_aliases(setting: Setting) -> None:
    rows = [
        {"origin_id": 1, "destination_id": 2, "driver_id": 1},
        {"origin_id": 3, "destination_id": 1, "driver_id": 9},
    ]
    service = setting.stock.get_feature_service("trip")
    answer = setting.ask(service, rows, full_feature_names=True)
    assert answer.to_dict()["origin__celsius"] == [20.5, None]
    assert answer.to_dict()["destination__celsius"] == [-1.0, 20.5]


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
