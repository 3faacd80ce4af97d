"""Every type of feature, written by one store and read by the other."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal as Dec
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    Float32,
    Float64,
    ImageBytes,
    Int32,
    Int64,
    Json,
    Map,
    PdfBytes,
    ScalarMap,
    Set,
    String,
    Struct,
    TimeUuid,
    UnixTimestamp,
    Uuid,
    ZonedTimestamp,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.compare import ask
from tests.support.rows import client_of
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import ENTITIES, NOON, view, write

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
BYTES = st.binary(max_size=12)
UUIDS = st.uuids()
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=4)
MOMENTS = st.datetimes(
    datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(timezone.utc)
).map(lambda moment: moment.replace(microsecond=0))
ZONES = ["UTC", "America/New_York", "Asia/Kathmandu"]
ZONED = st.builds(
    lambda moment, zone: moment.astimezone(zone),
    MOMENTS,
    st.sampled_from([ZoneInfo(zone) for zone in ZONES] + [timezone(timedelta(hours=-7))]),
)
SCALARS = st.none() | st.booleans() | INT64 | st.floats(allow_nan=False) | TEXT
JSONS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
MAPS = st.dictionaries(TEXT, st.booleans() | INT64 | st.floats(allow_nan=False) | TEXT, max_size=3)
JSON_OBJECTS = st.dictionaries(TEXT, JSONS, max_size=3)


def lists(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(items, max_size=4)


def sets(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.sets(items, min_size=1, max_size=4)


# The type of each feature and the values that Feast takes for it.
TYPES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int32": (Int32, INT32),
    "int64": (Int64, INT64),
    "float32": (Float32, FLOAT32),
    "float64": (Float64, st.floats()),
    "bool": (Bool, st.booleans()),
    "string": (String, TEXT),
    "bytes": (Bytes, BYTES),
    "pdf": (PdfBytes, BYTES),
    "image": (ImageBytes, BYTES),
    "moment": (UnixTimestamp, MOMENTS),
    "zoned": (ZonedTimestamp, ZONED),
    "uuid": (Uuid, UUIDS),
    "time_uuid": (TimeUuid, st.just(uuid.uuid1())),
    "decimal": (Decimal, DECIMALS),
    "json": (Json, JSON_OBJECTS),
    "map": (Map, MAPS),
    "scalar_map": (ScalarMap, st.dictionaries(INT64, INT64 | TEXT, min_size=1, max_size=3)),
    "struct": (Struct({"a": Int64, "b": String}), st.fixed_dictionaries({"a": INT64, "b": TEXT})),
    "int32s": (Array(Int32), lists(INT32)),
    "int64s": (Array(Int64), lists(INT64)),
    "float32s": (Array(Float32), lists(FLOAT32)),
    "float64s": (Array(Float64), lists(st.floats())),
    "bools": (Array(Bool), lists(st.booleans())),
    "strings": (Array(String), lists(TEXT)),
    "bytess": (Array(Bytes), lists(BYTES)),
    "moments": (Array(UnixTimestamp), lists(MOMENTS)),
    "uuids": (Array(Uuid), lists(UUIDS)),
    "decimals": (Array(Decimal), lists(DECIMALS)),
    "jsons": (Array(Json), lists(JSON_OBJECTS)),
    "maps": (Array(Map), lists(MAPS)),
    "structs": (Array(Struct({"a": Int64})), lists(st.fixed_dictionaries({"a": INT64}))),
    "int32_set": (Set(Int32), sets(INT32)),
    "int64_set": (Set(Int64), sets(INT64)),
    "float32_set": (Set(Float32), sets(st.floats(width=32, allow_nan=False))),
    "time_uuids": (Array(TimeUuid), lists(UUIDS)),
    "time_uuid_set": (Set(TimeUuid), sets(UUIDS)),
    "set_lists": (Array(Set(Int64)), lists(sets(INT64))),
    "list_sets": (Set(Array(String)), lists(lists(TEXT))),
    "float64_set": (Set(Float64), sets(st.floats(allow_nan=False))),
    "bool_set": (Set(Bool), sets(st.booleans())),
    "string_set": (Set(String), sets(TEXT)),
    "bytes_set": (Set(Bytes), sets(BYTES)),
    "moment_set": (Set(UnixTimestamp), sets(MOMENTS)),
    "uuid_set": (Set(Uuid), sets(UUIDS)),
    "decimal_set": (Set(Decimal), sets(DECIMALS)),
    "int_lists": (Array(Array(Int64)), lists(lists(INT64))),
    "text_lists": (Array(Array(String)), lists(lists(TEXT))),
    "float_lists": (Array(Array(Array(Float64))), lists(lists(lists(st.floats(width=32))))),
}


class Types:
    """A view with a feature of each type."""

    def __init__(self, stock: FeatureStore, ours: FeatureStore) -> None:
        self.stores = (stock, ours)
        declared = {name: dtype for name, (dtype, _) in TYPES.items()}
        stock.apply([ENTITIES["driver"], view("types", ["driver"], declared)])

    def exchange(
        self, writer: int, rows: list[dict[str, Any]], write_with: Callable[..., None] = write
    ) -> Any:
        """Writes rows, replacing what there is, and asks for them and for one more."""
        client_of(self.stores[0]).flushall()
        write_with(self.stores[writer], "types", rows)
        features = [f"types:{name}" for name in rows[0] if name != "driver_id"]
        entities = [row["driver_id"] for row in rows] + [-1]
        return ask(*self.stores, features, {"driver_id": entities})


@pytest.fixture(scope="module")
def types(module_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Types:
    directory = tmp_path_factory.mktemp("types")
    return Types(*(feature_store(s, directory, module_server.address) for s in (STOCK, OURS)))


WRITERS = pytest.mark.parametrize("writer", [0, 1], ids=["by_stock", "by_feast_rs"])


@WRITERS
@pytest.mark.parametrize("name", TYPES)
def test_values_of_a_type(types: Types, name: str, writer: int) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(values=st.lists(st.none() | TYPES[name][1], min_size=1, max_size=4))
    def check(values: list[Any]) -> None:
        rows = [{"driver_id": at, name: value} for at, value in enumerate(values)]
        answer = types.exchange(writer, rows)
        assert len(answer.to_dict()[name]) == len(values) + 1
        check_arrow(answer.to_arrow()[name], answer.to_dict()[name])

    check()


def check_arrow(column: pa.ChunkedArray, values: list[Any]) -> None:
    """The column has Python's values, in Arrow's forms of them."""
    for actual, value in zip(column.to_pylist(), values, strict=True):
        found = comparable(actual, column.type)
        if isinstance(value, set):
            found = sorted(found, key=repr)
        assert as_in_arrow(value, column.type) == found


def as_in_arrow(value: Any, dtype: pa.DataType) -> Any:
    """A value of `to_dict` in the form in which `comparable` has it."""
    if value is None:
        return None
    if pa.types.is_map(dtype):
        # Keys that are no text, and values, are JSON texts.
        keys = value if all(isinstance(key, str) for key in value) else map(json.dumps, value)
        return sorted(keys)
    if pa.types.is_struct(dtype):
        if isinstance(value, datetime):
            return value.timestamp()
        return {field.name: as_in_arrow(value.get(field.name), field.type) for field in dtype}
    if pa.types.is_list(dtype):
        items = [as_in_arrow(item, dtype.value_type) for item in value]
        return sorted(items, key=repr) if isinstance(value, set) else items
    if pa.types.is_large_string(dtype):
        return json.dumps(value, sort_keys=True)
    if isinstance(value, datetime):
        return value.timestamp()
    return repr(str(value) if isinstance(value, (uuid.UUID, Dec)) else value)


def comparable(value: Any, dtype: pa.DataType) -> Any:
    """A value of Arrow's, such that NaN equals itself and zones do not matter."""
    if value is None:
        return None
    if pa.types.is_map(dtype):
        return sorted(key for key, _ in value)
    if pa.types.is_struct(dtype):
        if "zone" in dtype.names:
            return value["timestamp"].timestamp()
        return {field.name: comparable(value[field.name], field.type) for field in dtype}
    if pa.types.is_list(dtype):
        return [comparable(item, dtype.value_type) for item in value]
    if pa.types.is_large_string(dtype):
        return json.dumps(json.loads(value), sort_keys=True)
    if isinstance(value, datetime):
        return value.timestamp()
    return repr(value)


@WRITERS
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_rows_of_many_types(types: Types, writer: int, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(list(TYPES)), min_size=2, max_size=12, unique=True))
    rows = [
        {"driver_id": at, **{name: data.draw(st.none() | TYPES[name][1]) for name in names}}
        for at in range(data.draw(st.integers(1, 3)))
    ]
    types.exchange(writer, rows)


FRAME = {
    "int32": [1, -5],
    "int64": [2**62, -1],
    "float32": [0.5, None],
    "float64": [1e300, float("nan")],
    "bool": [True, False],
    "string": ["ä", ""],
    "bytes": [b"\x00", b""],
    "moment": [NOON, NOON - timedelta(days=30_000)],
    "uuid": [str(uuid.UUID(int=5)), None],
    "decimal": [Dec("1.50"), Dec("-3")],
    "json": [json.dumps({"a": [1, None]}), "[]"],
    "map": [{"a": 1}, {}],
    "struct": [{"a": 1, "b": "x"}, {"a": 2, "b": ""}],
    "int64s": [[1, 2], []],
    "float32s": [[0.5], [float("nan"), float("inf")]],
    "strings": [["a", ""], []],
    "moments": [[NOON], []],
    "string_set": [{"a"}, {"b", "c"}],
    "int_lists": [[[1], []], []],
}


@WRITERS
@pytest.mark.parametrize("name", FRAME)
def test_a_data_frame(types: Types, name: str, writer: int) -> None:
    """Feast's own way from a data frame to rows, as `push` and materialization go it."""
    rows = [{"driver_id": at, name: value} for at, value in enumerate(FRAME[name])]

    def write_one(store: FeatureStore, view_name: str, rows: list[dict[str, Any]]) -> None:
        # Other features would be nulls, which is another test's matter.
        frame = pd.DataFrame(rows)
        for other in TYPES:
            if other != name:
                frame[other] = pd.Series([None] * len(frame), dtype=object)
        frame["ts"] = NOON
        store.write_to_online_store(view_name, frame)

    answer = types.exchange(writer, rows, write_one)
    # Some of these Feast writes as null; both stores then read it so.
    assert len(answer.to_dict()[name]) == 3


@WRITERS
def test_nulls_of_every_type(types: Types, writer: int) -> None:
    rows = [{"driver_id": at, **dict.fromkeys(TYPES)} for at in range(2)]
    answer = types.exchange(writer, rows)
    for name in TYPES:
        assert answer.to_dict()[name] == [None] * 3
        assert answer.to_arrow()[name].to_pylist() == [None] * 3


def test_every_value_type_of_feast_is_here() -> None:
    from feast.value_type import ValueType

    # These two are no types of features.
    without = {"UNKNOWN", "NULL"}
    covered = {dtype.to_value_type().name for dtype, _ in TYPES.values()}
    assert {value_type.name for value_type in ValueType} - covered - without == set()
