"""Where default values come from: the setting, the features' tags; their types and their errors."""

from __future__ import annotations

import json
import warnings
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import FeatureService, FeatureStore, FeatureView, Field
from feast.on_demand_feature_view import on_demand_feature_view
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Map,
    ScalarMap,
    Set,
    String,
    Struct,
    TimeUuid,
    UnixTimestamp,
    Uuid,
    ZonedTimestamp,
)

import feast_rs
from feast_rs.fallback import TAG, default_value
from tests.support.server import free_port
from tests.support.stores import OURS, feature_store
from tests.support.world import ENTITIES, source

MOMENT = datetime(2024, 5, 17, 12, 30, tzinfo=timezone.utc)
IDENT = "5a2f0a4e-6c0f-4d57-8a5a-4f5f0b8f1d11"

# A type, a default as JSON, and the value that Feast's own conversion is given.
TYPED: list[tuple[Any, Any, Any]] = [
    (Int32, -7, -7),
    (Int64, 2**63 - 1, 2**63 - 1),
    (Float32, 0.1, 0.1),
    (Float64, 3, 3.0),
    (Bool, False, False),
    (String, "Zürich", "Zürich"),
    (String, "", ""),
    (Bytes, {"$bytes": "/wA="}, b"\xff\x00"),
    (UnixTimestamp, int(MOMENT.timestamp()), MOMENT),
    (UnixTimestamp, "2024-05-17T12:30:00Z", MOMENT),
    (UnixTimestamp, "2024-05-17T14:30:00+02:00", MOMENT),
    (Uuid, IDENT, IDENT),
    (TimeUuid, IDENT, IDENT),
    (Decimal, "12.50", "12.50"),
    (Array(Float32), [1, -0.5], [1.0, -0.5]),
    (Array(String), ["a", ""], ["a", ""]),
    (Array(Int64), [], []),
    (Array(UnixTimestamp), [5, "1970-01-01T00:00:07+00:00"], [5, 7]),
    (Array(Bool), [True, False], [True, False]),
    (Set(Int64), [3], {3}),
    (Array(Array(Int64)), [[1, 2], []], [[1, 2], []]),
    (Map, {"a": 1, "b": [0.5], "c": "x"}, {"a": 1, "b": [0.5], "c": "x"}),
    (Struct({"a": Int64, "b": String}), {"a": 1, "b": "x"}, {"a": 1, "b": "x"}),
]

WRONG: list[tuple[Any, Any, str]] = [
    (Int64, "5", "'5' is a str"),
    (Int64, 1.5, "1.5 is a float"),
    (Int64, True, "True is a bool"),
    (Int64, 2**63, "too large"),
    (Int32, 2**31, "too large"),
    (Float64, "0.5", "'0.5' is a str"),
    (Float64, False, "False is a bool"),
    (Float32, 1e300, "too large"),
    (Bool, 1, "1 is a int"),
    (Bytes, {"$bytes": "?"}, "base64"),
    (UnixTimestamp, "yesterday", "yesterday"),
    (UnixTimestamp, True, "True is a bool"),
    (Uuid, "no", "UUID"),
    (Decimal, "no", "Decimal"),
    (Decimal, 0.5, "0.5 is a float"),
    (Array(Int64), 5, "5 is a int"),
    (Array(Int64), [1, "x"], "'x' is a str"),
    (Array(Int64), [1, None], "None is a NoneType"),
    (Struct({"a": Int64}), {"a": "x"}, "'x' is a str"),
    (Struct({"a": Int64}), {"b": 1}, "no field 'b'"),
    (Map, [1], "[1] is a list"),
]


def settings_of(**settings: Any) -> feast_rs.RedisOnlineStoreConfig:
    return feast_rs.RedisOnlineStoreConfig(on_error="defaults", **settings)


@pytest.mark.parametrize(("dtype", "value", "python"), TYPED, ids=str)
def test_a_default_is_stored_as_feast_stores_it(dtype: Any, value: Any, python: Any) -> None:
    field = Field(name="f", dtype=dtype)
    cell = default_value(settings_of(default_values={"v:f": value}), "v", field)
    value_type = field.dtype.to_value_type()
    expected = python_values_to_proto_values([python], value_type)[0]
    assert Value.FromString(cell or b"") == expected
    tagged = Field(name="f", dtype=dtype, tags={TAG: json.dumps(value)})
    assert default_value(settings_of(), "v", tagged) == cell


def test_defaults_of_types_that_json_lacks() -> None:
    def arrow(dtype: Any, value: Any) -> Any:
        cell = default_value(
            settings_of(default_values={"v:f": value}), "v", Field(name="f", dtype=dtype)
        )
        return feast_rs.decode_values([cell], dtype)[0].as_py()

    assert arrow(Bytes, b"\xff") == b"\xff"
    assert arrow(UnixTimestamp, MOMENT) == MOMENT
    assert arrow(UnixTimestamp, MOMENT.date()) == MOMENT.replace(hour=0, minute=0)
    assert arrow(UnixTimestamp, MOMENT.replace(tzinfo=None)) == MOMENT
    zoned = {"timestamp": "2024-05-17T12:30:00Z", "zone": "Europe/Zurich"}
    assert arrow(ZonedTimestamp, zoned) == {"timestamp": MOMENT, "zone": "Europe/Zurich"}
    assert arrow(ScalarMap, {1: "x"}) == arrow(ScalarMap, {"1": "x"}) == [("1", '"x"')]
    assert json.loads(arrow(Json, {"a": [1, None]})) == {"a": [1, None]}
    assert json.loads(arrow(Json, '{"a": 1}')) == {"a": 1}
    # Feast stores null for a float that is not a number.
    assert arrow(Float64, float("nan")) is None


def test_texts_of_tags() -> None:
    def tagged(dtype: Any, text: str) -> Value:
        cell = default_value(settings_of(), "v", Field(name="f", dtype=dtype, tags={TAG: text}))
        return Value.FromString(cell or b"")

    for text in ("plain text", "5", "[1]", "", "true", '"'):
        assert tagged(String, text).string_val == text
    assert tagged(String, '"5"').string_val == "5"
    assert tagged(String, "null") == Value()
    assert tagged(Int64, "null") == Value()
    assert tagged(Json, '"x"').json_val == '"x"'
    assert tagged(Json, '{"a": 1}').json_val == '{"a": 1}'


@pytest.mark.parametrize(("dtype", "value", "words"), WRONG, ids=str)
def test_a_default_of_another_type_is_told(dtype: Any, value: Any, words: str) -> None:
    fields = {
        "default_values": Field(name="f", dtype=dtype),
        f"its tag '{TAG}'": Field(name="f", dtype=dtype, tags={TAG: json.dumps(value)}),
    }
    for place, field in fields.items():
        values = {"v:f": value} if place == "default_values" else None
        with pytest.raises(feast_rs.EncodeError) as raised:
            default_value(settings_of(default_values=values), "v", field)
        text = str(raised.value)
        assert f"'v:f' in {place} is not of its type" in text
        assert words in text


def test_a_tag_that_is_no_json_is_told() -> None:
    field = Field(name="f", dtype=Int64, tags={TAG: "none"})
    with pytest.raises(feast_rs.EncodeError, match=r"'v:f' in its tag 'feast_rs.default'.*Int64"):
        default_value(settings_of(), "v", field)


def define(store: FeatureStore, count_tag: str = "7") -> None:
    """A view with tags, and an on-demand view of it."""
    driver = ENTITIES["driver"]
    view = FeatureView(
        name="stats",
        entities=[driver],
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="count", dtype=Int64, tags={TAG: count_tag}),
            Field(name="city", dtype=String, tags={TAG: "nowhere", "owner": "me"}),
            Field(name="rate", dtype=Float64),
        ],
        source=source("stats"),
    )

    @on_demand_feature_view(sources=[view], schema=[Field(name="twice", dtype=Int64)])
    def computed(inputs: pd.DataFrame) -> pd.DataFrame:
        return inputs[["count"]].rename(columns={"count": "twice"}) * 2

    services = [
        FeatureService(name="plain", features=[view]),
        FeatureService(name="renamed", features=[view.with_name("other")]),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.apply([driver, view, computed, *services])


NAMES = ["count", "city", "rate"]
FEATURES = [f"stats:{name}" for name in NAMES]


def answer(store: FeatureStore, features: Any = FEATURES, **options: Any) -> list[Any]:
    values = store.get_online_features(features, [{"driver_id": 1}], **options).to_dict()
    return [values[name][0] for name in sorted(values) if name != "driver_id"]


@pytest.fixture
def address() -> str:
    """Where nobody listens: all that is answered are defaults."""
    return f"127.0.0.1:{free_port()}"


def test_the_setting_wins_over_the_tag(tmp_path: Path, address: str) -> None:
    tagged = feature_store(OURS, tmp_path, address, on_error="defaults")
    define(tagged)
    assert answer(tagged) == ["nowhere", 7, None]
    for service in ("plain", "renamed"):
        assert answer(tagged, tagged.get_feature_service(service)) == ["nowhere", 7, None]
    assert answer(tagged, full_feature_names=True) == ["nowhere", 7, None]
    values = {"stats:count": 8, "stats:city": None, "stats:rate": 0.5}
    set_too = feature_store(OURS, tmp_path, address, on_error="defaults", default_values=values)
    assert answer(set_too) == [None, 8, 0.5]
    service = set_too.get_feature_service("renamed")
    assert answer(set_too, service, full_feature_names=True) == [None, 8, 0.5]


def test_a_column_and_its_double_have_one_default(tmp_path: Path, address: str) -> None:
    store = feature_store(OURS, tmp_path, address, on_error="defaults")
    define(store)
    view = store.get_feature_view("stats")
    both = FeatureService(name="both", features=[view.with_name("one"), view.with_name("again")])
    store.apply([both])
    values = store.get_online_features(both, [{"driver_id": 1}], full_feature_names=True).to_dict()
    assert values["one__count"] == values["again__count"] == [7]


def test_plans_of_other_settings_are_others(tmp_path: Path, address: str) -> None:
    """One store object with one configuration after the other."""
    store = feature_store(OURS, tmp_path, address, on_error="defaults")
    define(store)
    assert answer(store) == ["nowhere", 7, None]
    settings = store.config.online_store
    settings.default_values = {"stats:count": 9}
    assert answer(store) == ["nowhere", 9, None]
    settings.default_values = {"stats:rate": True}
    with pytest.raises(feast_rs.EncodeError, match="stats:rate"):
        answer(store)
    settings.on_error = "raise"
    with pytest.raises(feast_rs.ConnectionError):
        answer(store)
    settings.on_error = "defaults"
    settings.default_values = None
    assert answer(store) == ["nowhere", 7, None]


def test_a_wrong_tag_is_told_when_the_feature_is_asked_for(tmp_path: Path, address: str) -> None:
    store = feature_store(OURS, tmp_path, address, on_error="defaults")
    define(store, count_tag="many")
    assert answer(store, ["stats:city"]) == ["nowhere"]
    with pytest.raises(feast_rs.EncodeError, match="'stats:count'"):
        answer(store)
    # Whoever wants no defaults is not bothered.
    raising = feature_store(OURS, tmp_path, address)
    with pytest.raises(feast_rs.ConnectionError):
        answer(raising)


def test_defaults_that_no_feature_has_are_told_once(
    tmp_path: Path, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    values = {"stats:cuont": 1, "stat:count": 1, "stats:count": 1, "computed:twice": 1}
    store = feature_store(OURS, tmp_path, address, on_error="defaults", default_values=values)
    define(store)
    for features in (["stats:count"], FEATURES, ["computed:twice"]):
        store.get_online_features(features, [{"driver_id": 1}])
    told = [r.getMessage() for r in caplog.records if "no stored feature" in r.getMessage()]
    assert [text.split("'")[1] for text in told] == ["stats:cuont", "stat:count", "computed:twice"]


def test_settings_that_cannot_be_used() -> None:
    for name in ("count", "stats:", ":count", ""):
        with pytest.raises(feast_rs.ConfigError, match="not written as view:feature"):
            settings_of(default_values={name: 1})
    with pytest.raises(feast_rs.ConfigError, match="on_error: defaults"):
        feast_rs.RedisOnlineStoreConfig(default_values={"v:f": 1})
    with pytest.raises(feast_rs.ConfigError, match="on_error"):
        feast_rs.RedisOnlineStoreConfig(on_error="ignore")


def test_the_settings_make_no_connections_of_their_own() -> None:
    raising = feast_rs.RedisOnlineStoreConfig()
    falling_back = settings_of(default_values={"v:f": datetime(2024, 1, 1)})
    assert raising.connection_key == falling_back.connection_key
