"""The cells of Arrow columns against those of stock's Arrow write path, which materialization and
push take: ``_convert_arrow_to_proto`` and, in it, ``_columns_to_proto_values``."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal as PyDecimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast import Entity, FeatureView, Field, FileSource
from feast import types as ft
from feast.protos.feast.types.Value_pb2 import Value
from feast.utils import _columns_to_proto_values, _convert_arrow_to_proto
from feast.value_type import ValueType
from hypothesis import given, settings
from hypothesis import strategies as st

import feast_rs

NULL_TIMESTAMP = Value(unix_timestamp_val=-(2**63)).SerializeToString()


def stock_cells(array: pa.Array, dtype: Any) -> list[bytes]:
    batch = pa.RecordBatch.from_arrays([array], ["x"])
    columns = _columns_to_proto_values(batch, [("x", dtype.to_value_type())])
    return [message.SerializeToString() for message in columns["x"]]


def our_cells(array: Any, dtype: Any) -> list[bytes]:
    cells: list[bytes] = feast_rs.encode_values(array, dtype).to_pylist()
    return cells


def assert_same_cells(ours: list[bytes], stocks: list[bytes], dtype: Any) -> None:
    """The same bytes; of maps and sets, whose order stock leaves to chance, the same messages."""
    name = dtype.to_value_type().name
    if "SET" in name and name != "VALUE_SET":
        assert list(map(elements, ours)) == list(map(elements, stocks))
    elif "MAP" in name or "STRUCT" in name:
        assert list(map(Value.FromString, ours)) == list(map(Value.FromString, stocks))
    else:
        assert ours == stocks


def elements(cell: bytes) -> Any:
    message = Value.FromString(cell)
    field = message.WhichOneof("val")
    if field is None:
        return None
    values = getattr(message, field).val
    return field, {"0.0" if value == 0 else repr(value) for value in values}


# What a column of each Arrow type may hold, as `pa.array` takes it.
def ints(bits: int, *, signed: bool = True) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    # Beside nulls numpy has floats, which is tested apart.
    return st.integers(max(low, -(2**53)), min(high, 2**53))


# Below these numpy overflows.
TICKS = st.integers(-(2**63) + 10**9, 2**63 - 1)
TEXT = st.text(max_size=20)
SOME_BYTES = st.binary(min_size=1, max_size=20)
DECIMALS = st.decimals(-9999, 9999, places=3)
DATES = st.dates()
JSON_TEXTS = st.sampled_from(["null", '{"a": [1, 2.5]}', '"é"', "[]", " 7 "])
# Of the fractions many are in the middle of two numbers of as many digits.
FLOATS = st.floats() | st.integers(2**52, 2**53).map(lambda digits: digits / 8)
FLOATS32 = st.floats(width=32) | st.integers(2**23, 2**24).map(lambda digits: digits / 32)
# Before numpy 2.3 a float of 32 bits had a power of ten from 1e16 on, as one of 64 bits has.
SPELLS_FLOATS32 = str(np.float32(2e6)) == "2e+06"
# A half float that is not a number has a payload, which numpy keeps; and for a null an odd one.
HALVES = (st.floats(width=16, allow_nan=False) | st.just(math.nan)).map(np.float16)
UUIDS = st.uuids().map(str)
UNITS = ("s", "ms", "us", "ns")
ZONES = (None, "UTC", "America/New_York", "+05:30")

Case = tuple[Any, pa.DataType, st.SearchStrategy[Any]]
INTEGERS = [
    (pa.int8(), ints(8)), (pa.int16(), ints(16)), (pa.int32(), ints(32)),
    (pa.uint8(), ints(8, signed=False)), (pa.uint16(), ints(16, signed=False)),
]  # fmt: skip
WIDE = [(pa.int64(), ints(64)), (pa.uint32(), ints(32, signed=False)), (pa.uint64(), ints(64))]
WIDE[2] = (pa.uint64(), ints(63, signed=False))
TEXTS = [(pa.string(), TEXT), (pa.large_string(), TEXT), (pa.string_view(), TEXT)]
BINARIES = [(pa.binary(), SOME_BYTES), (pa.large_binary(), SOME_BYTES)]
BINARIES += [(pa.binary_view(), SOME_BYTES), (pa.binary(3), st.binary(min_size=3, max_size=3))]
DECIMAL_TYPES = [pa.decimal32(7, 3), pa.decimal64(12, 3), pa.decimal128(20, 3)]
DECIMAL_TYPES += [pa.decimal128(20, 9), pa.decimal256(60, 3)]
SMALL_DECIMALS = st.integers(-(10**12), 10**12).map(lambda digits: PyDecimal(digits).scaleb(-9))
TIMES = [(pa.timestamp(unit, zone), TICKS) for unit in UNITS for zone in ZONES]

# Feast type, Arrow type, values: with nulls in any place.
NULLABLE: list[Case] = [
    *((ft.Int32, *kind) for kind in INTEGERS),
    *((ft.Int64, *kind) for kind in (*INTEGERS, *WIDE)),
    (ft.Int64, pa.float64(), ints(64).map(float)),
    (ft.Int64, pa.string(), ints(64).map(str)),
    *((ft.Int32, kind, st.integers(-999, 999).map(PyDecimal)) for kind in DECIMAL_TYPES),
    (ft.Int32, pa.bool_(), st.booleans()),
    (ft.Int64, pa.decimal128(38, 0), ints(64).map(PyDecimal)),
    *((ft.Float32, *kind) for kind in (*INTEGERS, *WIDE)),
    (ft.Float32, pa.float16(), HALVES),
    (ft.Float32, pa.float32(), FLOATS32),
    (ft.Float32, pa.float64(), FLOATS),
    (ft.Float32, pa.bool_(), st.booleans()),
    (ft.Float32, pa.string(), st.floats(allow_nan=False).map(str)),
    *((ft.Float32, kind, DECIMALS) for kind in DECIMAL_TYPES),
    (ft.Float64, pa.float64(), FLOATS),
    *((ft.Float64, kind, DECIMALS) for kind in DECIMAL_TYPES),
    (ft.Float64, pa.decimal128(20, 9), SMALL_DECIMALS),
    (ft.Bool, pa.bool_(), st.booleans()),
    *((ft.String, *kind) for kind in TEXTS),
    (ft.String, pa.float64(), FLOATS),
    *([(ft.String, pa.float32(), FLOATS32)] if SPELLS_FLOATS32 else []),
    (ft.String, pa.bool_(), st.booleans()),
    *((ft.String, kind, DECIMALS) for kind in DECIMAL_TYPES),
    *((ft.String, *kind) for kind in TIMES),
    (ft.String, pa.date32(), DATES),
    (ft.String, pa.date64(), DATES),
    *((dtype, *kind) for kind in BINARIES for dtype in (ft.Bytes, ft.PdfBytes, ft.ImageBytes)),
    *((ft.UnixTimestamp, *kind) for kind in TIMES),
    (ft.UnixTimestamp, pa.date32(), DATES),
    (ft.UnixTimestamp, pa.date64(), DATES),
    (ft.UnixTimestamp, pa.string(), ints(64).map(str)),
    (ft.Uuid, pa.string(), UUIDS),
    (ft.TimeUuid, pa.large_string(), UUIDS),
    *((ft.Decimal, kind, DECIMALS) for kind in DECIMAL_TYPES),
    (ft.Decimal, pa.decimal128(20, 9), SMALL_DECIMALS),
    (ft.Decimal, pa.string(), DECIMALS.map(str)),
    (ft.Json, pa.string(), JSON_TEXTS),
    (ft.Map, pa.string(), st.sampled_from(['{"a": 1, "b": {"c": [true]}}', "{}"])),
    (ft.Struct({"a": ft.Int64}), pa.string(), st.sampled_from(['{"a": 1, "b": null}', "{}"])),
    (ft.Array(ft.Map), pa.string(), st.sampled_from(['[{"a": 1.5}, {}]', "[]"])),
]

# The same without nulls: with them numpy has floats, or stock takes them for no values.
FULL: list[Case] = [
    (ft.Int64, pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (ft.Int64, pa.uint64(), st.integers(0, 2**63 - 1)),
    (ft.Int32, pa.int64(), ints(32)),
    (ft.Float64, pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (ft.Bool, pa.int64(), st.integers(-2, 2)),
    *((ft.String, *kind) for kind in (*INTEGERS, *WIDE)),
    *((ft.UnixTimestamp, *kind) for kind in (*INTEGERS, *WIDE)),
    (ft.Json, pa.float64(), FLOATS),
]


def identity(case: Any) -> str | None:
    return str(case).replace(" ", "") if not isinstance(case, st.SearchStrategy) else ""


@st.composite
def columns(
    draw: st.DrawFn, arrow_type: pa.DataType, values: st.SearchStrategy[Any], *, nulls: bool
) -> pa.Array:
    """A column as it may come: nulls nowhere, anywhere, everywhere, in front; whole or a slice."""
    drawn = draw(st.lists(values, min_size=1, max_size=8))
    pattern = draw(st.sampled_from(["none", "some", "all", "first"])) if nulls else "none"
    for row in range(len(drawn)):
        some = pattern == "some" and draw(st.booleans())
        if some or pattern == "all" or (pattern == "first" and row == 0):
            drawn[row] = None
    array = pa.array(drawn, arrow_type)
    start = draw(st.integers(0, len(drawn) - 1))
    return array if draw(st.booleans()) else array.slice(start, draw(st.integers(0, 8)))


def cut(array: pa.Array, start: int, end: int) -> pa.Array:
    if pa.types.is_struct(array.type):
        # Arrow's Rust cannot import a slice of structs in structs.
        return array.take(pa.array(range(start, min(end, len(array))), pa.int64()))
    return array.slice(start, max(end - start, 0))


def assert_stored_as_stock(array: pa.Array, dtype: Any) -> None:
    stocks = stock_cells(array, dtype)
    assert_same_cells(our_cells(array, dtype), stocks, dtype)
    # However it is cut into chunks, which stock does not read beyond the first.
    chunks = pa.chunked_array([cut(array, 0, 1), cut(array, 1, len(array))])
    assert_same_cells(our_cells(chunks, dtype), stocks, dtype)


@pytest.mark.parametrize(("dtype", "arrow_type", "values"), NULLABLE, ids=identity)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_scalars(dtype: Any, arrow_type: pa.DataType, values: Any, data: st.DataObject) -> None:
    assert_stored_as_stock(data.draw(columns(arrow_type, values, nulls=True)), dtype)


@pytest.mark.parametrize(("dtype", "arrow_type", "values"), FULL, ids=identity)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_scalars_without_nulls(
    dtype: Any, arrow_type: pa.DataType, values: Any, data: st.DataObject
) -> None:
    assert_stored_as_stock(data.draw(columns(arrow_type, values, nulls=False)), dtype)


@pytest.mark.parametrize(
    ("dtype", "arrow_type", "values"),
    [
        (ft.String, pa.string(), TEXT),
        (ft.String, pa.large_string(), TEXT),
        (ft.Int64, pa.int64(), ints(64)),
        (ft.UnixTimestamp, pa.timestamp("us", "UTC"), TICKS),
        (ft.Bytes, pa.binary(), SOME_BYTES),
    ],
    ids=identity,
)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_dictionaries(
    dtype: Any, arrow_type: pa.DataType, values: Any, data: st.DataObject
) -> None:
    array = data.draw(columns(arrow_type, values, nulls=arrow_type != pa.int64()))
    assert_stored_as_stock(array.dictionary_encode(), dtype)


# In lists Python's datetime is what stock goes through.
LIST_TICKS = {"s": 1, "ms": 10**3, "us": 10**6}
LIST_TIMES = [
    (pa.timestamp(unit, zone), st.integers(-(10**10) * scale, 10**10 * scale))
    for unit, scale in LIST_TICKS.items()
    for zone in ZONES
]
# Feast type of the elements, Arrow type, values, and whether an element may be null.
LISTED: list[tuple[Any, pa.DataType, Any, bool]] = [
    *((ft.Int32, *kind, False) for kind in INTEGERS),
    *((ft.Int64, *kind, False) for kind in (*INTEGERS, *WIDE)),
    (ft.Float32, pa.float32(), FLOATS32, True),
    (ft.Float32, pa.float64(), FLOATS, True),
    (ft.Float32, pa.float16(), HALVES, False),
    (ft.Float64, pa.float32(), FLOATS32, True),
    (ft.Float64, pa.float64(), FLOATS, True),
    (ft.Float64, pa.float16(), HALVES, False),
    (ft.Bool, pa.bool_(), st.booleans(), True),
    (ft.String, pa.string(), TEXT, True),
    (ft.String, pa.large_string(), TEXT, True),
    (ft.String, pa.dictionary(pa.int32(), pa.string()), TEXT, False),
    (ft.Bytes, pa.binary(), SOME_BYTES, True),
    (ft.Bytes, pa.large_binary(), SOME_BYTES, True),
    *((ft.UnixTimestamp, *kind, True) for kind in LIST_TIMES),
    (ft.Uuid, pa.string(), UUIDS, True),
    (ft.TimeUuid, pa.string(), UUIDS, True),
    (ft.Decimal, pa.decimal128(20, 3), DECIMALS, True),
    (ft.Decimal, pa.decimal256(60, 3), DECIMALS, True),
    (ft.Decimal, pa.string(), DECIMALS.map(str), True),
    (ft.Json, pa.string(), JSON_TEXTS, True),
]  # fmt: skip
LIST_TYPES: list[Callable[[pa.DataType], pa.DataType]] = [
    pa.list_, pa.large_list, lambda item: pa.list_(item, 2),
]  # fmt: skip


@pytest.mark.parametrize("list_type", LIST_TYPES, ids=["list", "large", "fixed"])
@pytest.mark.parametrize(("item", "arrow_type", "values", "nulls"), LISTED, ids=identity)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_lists(
    item: Any, arrow_type: pa.DataType, values: Any, nulls: bool, list_type: Any,
    data: st.DataObject,
) -> None:  # fmt: skip
    full = list_type(arrow_type)
    inner = st.none() | values if nulls else values
    sizes = (2, 2) if pa.types.is_fixed_size_list(full) else (0, 4)
    rows = st.lists(inner, min_size=sizes[0], max_size=sizes[1])
    # Numpy has floats of all integers if fixed-size lists are null.
    array = data.draw(columns(full, rows, nulls=nulls or sizes[0] == 0))
    assert_stored_as_stock(array, ft.Array(item))


@pytest.mark.parametrize(
    ("item", "arrow_type", "values"),
    [
        (ft.Int32, pa.int32(), ints(32)),
        (ft.Int64, pa.int64(), ints(64)),
        (ft.Float32, pa.float32(), FLOATS32),
        (ft.Float32, pa.float64(), FLOATS),
        (ft.Float64, pa.float64(), FLOATS),
        (ft.Bool, pa.bool_(), st.booleans()),
        (ft.String, pa.string(), TEXT),
        (ft.Bytes, pa.binary(), SOME_BYTES),
        *((ft.UnixTimestamp, pa.timestamp(unit, "UTC"), TICKS) for unit in UNITS),
        (ft.UnixTimestamp, pa.date32(), DATES),
        (ft.Uuid, pa.string(), UUIDS),
        (ft.TimeUuid, pa.string(), UUIDS),
        (ft.Decimal, pa.decimal128(20, 3), DECIMALS),
    ],
    ids=identity,
)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_sets(item: Any, arrow_type: pa.DataType, values: Any, data: st.DataObject) -> None:
    nullable = pa.types.is_floating(arrow_type) or pa.types.is_timestamp(arrow_type)
    rows = st.lists(st.none() | values if nullable else values, max_size=4)
    array = data.draw(columns(pa.list_(arrow_type), rows, nulls=True))
    assert_stored_as_stock(array, ft.Set(item))


@pytest.mark.parametrize(
    ("arrow_type", "values"),
    [
        (pa.int64(), ints(64)),
        (pa.int32(), ints(32)),
        (pa.float64(), st.none() | FLOATS),
        (pa.float32(), st.none() | FLOATS32),
        (pa.bool_(), st.booleans()),
        (pa.string(), TEXT),
        (pa.binary(), SOME_BYTES),
        *((kind, st.none() | ticks) for kind, ticks in LIST_TIMES),
        (pa.timestamp("ns", "UTC"), st.none() | st.integers(-(10**18), 10**18)),
        (pa.date32(), DATES),
        (pa.decimal128(20, 3), DECIMALS),
    ],
    ids=identity,
)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_nested_lists(arrow_type: pa.DataType, values: Any, data: st.DataObject) -> None:
    # The stored type follows from Arrow's, whatever is declared.
    inner = st.none() | st.lists(values, max_size=3)
    array = data.draw(
        columns(pa.list_(pa.list_(arrow_type)), st.lists(inner, max_size=3), nulls=True)
    )
    for dtype in (
        ft.Array(ft.Array(ft.Int64)), ft.Array(ft.Set(ft.Float32)), ft.Set(ft.Array(ft.String)),
    ):  # fmt: skip
        assert_stored_as_stock(array, dtype)
    # Three levels; a list of nothing but null lists stock cannot tell the type of.
    full = [[inner or [] for inner in row] for row in array.to_pylist() if row]
    deep = pa.array([full, None, []], pa.list_(array.type))
    assert_stored_as_stock(deep, ft.Array(ft.Array(ft.Array(ft.Int64))))


MOMENTS = st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1))
STRUCT = pa.struct(
    [
        pa.field("int8", pa.int8()), pa.field("int64", pa.int64()), pa.field("text", pa.string()),
        pa.field("float", pa.float32()), pa.field("double", pa.float64()),
        pa.field("bool", pa.bool_()), pa.field("bytes", pa.binary()),
        pa.field("time", pa.timestamp("us", "UTC")), pa.field("seconds", pa.timestamp("s")),
        pa.field("decimal", pa.decimal128(20, 3)),
        pa.field("int32s", pa.list_(pa.int32())), pa.field("floats", pa.list_(pa.float32())),
        pa.field("uint64s", pa.list_(pa.uint64())), pa.field("bools", pa.list_(pa.bool_())),
        pa.field("inner", pa.struct([pa.field("text", pa.string())])),
    ]
)  # fmt: skip
STRUCTS = st.fixed_dictionaries(
    {
        "int8": ints(8), "int64": st.integers(-(2**63), 2**63 - 1), "text": st.none() | TEXT,
        "float": st.none() | st.floats(width=32, allow_nan=False),
        "double": st.none() | st.floats(allow_nan=False),
        "bool": st.none() | st.booleans(), "bytes": st.none() | SOME_BYTES,
        "time": st.none() | MOMENTS, "seconds": st.none() | MOMENTS,
        "decimal": st.none() | DECIMALS, "int32s": st.none() | st.lists(ints(32), min_size=1),
        "floats": st.none() | st.lists(FLOATS32.filter(lambda f: f == f), min_size=1),
        "uint64s": st.lists(ints(63, signed=False), min_size=1),
        "bools": st.lists(st.booleans(), min_size=1),
        "inner": st.none() | st.fixed_dictionaries({"text": st.none() | TEXT}),
    }
)  # fmt: skip


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_structs(data: st.DataObject) -> None:
    array = pa.array(data.draw(st.lists(STRUCTS, min_size=1, max_size=3)), STRUCT)
    # A null struct makes numpy's floats of the integers inside; see the differences.
    for dtype in (ft.Map, ft.Struct({"text": ft.String, "int8": ft.Int64})):
        assert_stored_as_stock(array, dtype)
    listed = pa.array([array.to_pylist(), None, []], pa.list_(STRUCT))
    assert_stored_as_stock(listed, ft.Array(ft.Struct({"text": ft.String})))


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_structs_as_json(data: st.DataObject) -> None:
    arrow_type = pa.struct([("é", pa.float64()), ("t", pa.string()), ("b", pa.bool_())])
    rows = st.fixed_dictionaries(
        {"é": FLOATS, "t": st.none() | TEXT, "b": st.none() | st.booleans()}
    )
    array = data.draw(columns(arrow_type, rows, nulls=True))
    assert_stored_as_stock(array, ft.Json)
    listed = pa.array([array.to_pylist(), [], None], pa.list_(arrow_type))
    assert_stored_as_stock(listed, ft.Array(ft.Json))


@pytest.mark.parametrize(
    ("item", "texts"),
    [
        (ft.Int64, [b"[1, -2]", b"[]", b"[3]"]),
        (ft.Int32, [b"[1]"]),
        (ft.Float32, [b"[1, 2.5]", b"[]"]),
        (ft.Float64, [b"[1e300, -0.0]"]),
        (ft.String, [b'["a", "\\u00e9"]']),
        (ft.Bool, [b"[true, 0, 1.5]"]),
    ],
    ids=str,
)
def test_json_lists(item: Any, texts: list[bytes]) -> None:
    for arrow_type in (pa.binary(), pa.large_binary()):
        array = pa.array(texts, arrow_type)
        assert_stored_as_stock(array, ft.Array(item))
        assert_stored_as_stock(array, ft.Set(item))


def test_all_of_a_view_at_once() -> None:
    source = FileSource(path="x.parquet", timestamp_field="at")
    fields = {
        "int32": (ft.Int32, pa.array([1, -1, 2**31 - 1], pa.int32())),
        "int64": (ft.Int64, pa.array([None, -1, 2**53])),
        "float": (ft.Float32, pa.array([0.1, None, float("nan")], pa.float32())),
        "double": (ft.Float64, pa.array([0.1, None, -0.0])),
        "text": (ft.String, pa.array(["a", None, ""]).dictionary_encode()),
        "time": (ft.UnixTimestamp, pa.array([-1_500, None, 5], pa.timestamp("ms", "UTC"))),
        "bool": (ft.Bool, pa.array([None, True, False])),
        "vector": (ft.Array(ft.Float32), pa.array([[1, 2], None, []], pa.list_(pa.float32()))),
    }
    view = FeatureView(
        name="view",
        entities=[Entity(name="id", join_keys=["id"], value_type=ValueType.INT64)],
        schema=[Field(name=name, dtype=dtype) for name, (dtype, _) in fields.items()],
        source=source,
    )
    columns = {name: array for name, (_, array) in fields.items()}
    columns["id"] = pa.array([1, 2, 3])
    columns["at"] = pa.array([0, 1, 2], pa.timestamp("us", "UTC"))
    table = pa.table(columns)
    rows = _convert_arrow_to_proto(table, view, {"id": ValueType.INT64})
    for name, (dtype, array) in fields.items():
        stocks = [features[name].SerializeToString() for _, features, _, _ in rows]
        assert our_cells(array, dtype) == stocks, name


def cells_of(*messages: Value) -> list[bytes]:
    return [message.SerializeToString() for message in messages]


def listed(field: str, *values: Any) -> Value:
    message = Value()
    getattr(message, field).val.extend(values)
    return message


BIG = 2**53 + 1
DIFFERENCES: dict[str, tuple[pa.Array, Any, list[bytes], list[bytes]]] = {
    "integers beside a null": (
        pa.array([BIG, None]), ft.Int64,
        cells_of(Value(int64_val=BIG - 1), Value()), cells_of(Value(int64_val=BIG), Value()),
    ),
    "texts of integers beside a null": (
        pa.array([5, None]), ft.String,
        cells_of(Value(string_val="5.0"), Value()), cells_of(Value(string_val="5"), Value()),
    ),
    "JSON of integers beside a null": (
        pa.array([5, None]), ft.Json,
        cells_of(Value(json_val="5.0"), Value(json_val="NaN")),
        cells_of(Value(json_val="5"), Value()),
    ),
    "seconds beside a null": (
        pa.array([5, None]), ft.UnixTimestamp,
        [NULL_TIMESTAMP, NULL_TIMESTAMP], [*cells_of(Value(unix_timestamp_val=5)), NULL_TIMESTAMP],
    ),
    "seconds as doubles": (
        pa.array([5.5]), ft.UnixTimestamp,
        [NULL_TIMESTAMP], cells_of(Value(unix_timestamp_val=5)),
    ),
    "nanoseconds in a list": (
        pa.array([[1_500_000_000]], pa.list_(pa.timestamp("ns"))), ft.Array(ft.UnixTimestamp),
        cells_of(listed("unix_timestamp_list_val", 1_500_000_000)),
        cells_of(listed("unix_timestamp_list_val", 1)),
    ),
    "nanoseconds in a struct": (
        pa.array([{"a": 1_500_000_000}], pa.struct([("a", pa.timestamp("ns"))])), ft.Map,
        cells_of(Value(map_val={"val": {"a": Value(int64_val=1_500_000_000)}})),
        cells_of(Value(map_val={"val": {"a": Value(unix_timestamp_val=1)}})),
    ),
    "integers beside a null in structs": (
        pa.array([{"a": BIG}, {"a": None}]), ft.Map,
        cells_of(
            Value(map_val={"val": {"a": Value(double_val=BIG - 1)}}),
            Value(map_val={"val": {"a": Value()}}),
        ),
        cells_of(
            Value(map_val={"val": {"a": Value(int64_val=BIG)}}),
            Value(map_val={"val": {"a": Value()}}),
        ),
    ),
    "integers beside a null in nested lists": (
        pa.array([[[BIG]], [[1, None]]]), ft.Array(ft.Array(ft.Int64)),
        cells_of(
            Value(list_val={"val": [listed("double_list_val", BIG - 1)]}),
            Value(list_val={"val": [listed("double_list_val", 1, float("nan"))]}),
        ),
        cells_of(
            Value(list_val={"val": [listed("int64_list_val", BIG)]}),
            Value(list_val={"val": [listed("int64_list_val", 1, 0)]}),
        ),
    ),
    "nothing but empty bytes": (
        pa.array([b"", None]), ft.Bytes,
        cells_of(Value(), Value()), cells_of(Value(bytes_val=b""), Value()),
    ),
    "null integers as JSON": (
        pa.array([None], pa.int64()), ft.Json,
        cells_of(Value(json_val="NaN")), cells_of(Value()),
    ),
    "a map as a struct": (
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), ft.Struct({"a": ft.Int64}),
        cells_of(Value(struct_val={"val": {"_value": Value(string_val="[('a', 1)]")}})),
        cells_of(Value(struct_val={"val": {"a": Value(int64_val=1)}})),
    ),
    "JSON texts of lists of timestamps": (
        pa.array([b"[5]"]), ft.Array(ft.UnixTimestamp),
        cells_of(listed("int64_list_val", 5)), cells_of(listed("unix_timestamp_list_val", 5)),
    ),
    "maps as JSON": (
        pa.array([[[("a", 1)]]], pa.list_(pa.map_(pa.string(), pa.int64()))), ft.Array(ft.Json),
        cells_of(listed("json_list_val", '[["a", 1]]')),
        cells_of(listed("json_list_val", '{"a": 1}')),
    ),
    "the same second twice in a set": (
        pa.array([[1_000, 1_500]], pa.list_(pa.timestamp("ms"))), ft.Set(ft.UnixTimestamp),
        cells_of(listed("unix_timestamp_set_val", 1, 1)),
        cells_of(listed("unix_timestamp_set_val", 1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENCES)
def test_right_where_stock_is_wrong(name: str) -> None:
    array, dtype, stocks, ours = DIFFERENCES[name]
    assert [elements_or_message(cell) for cell in stock_cells(array, dtype)] == [
        elements_or_message(cell) for cell in stocks
    ]
    assert [elements_or_message(cell) for cell in our_cells(array, dtype)] == [
        elements_or_message(cell) for cell in ours
    ]


def elements_or_message(cell: bytes) -> str:
    return repr(Value.FromString(cell))


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (pa.array([1.5]), ft.Int64),
        (pa.array([PyDecimal("1.5")]), ft.Int32),
        (pa.array([5], pa.timestamp("ns")), ft.Int64),
        (pa.array([[1]]), ft.Int64),
        (pa.array([["a"]]), ft.String),
        (pa.array([{"a": 1}]), ft.String),
        (pa.array([[1.0]]), ft.Float32),
        (pa.array([[5]], pa.list_(pa.timestamp("us"))), ft.UnixTimestamp),
        (pa.array([True]), ft.UnixTimestamp),
        (pa.array([b"x"]), ft.String),
        (pa.array(["ab"]), ft.Array(ft.String)),
        (pa.array([{"a": "b"}]), ft.Array(ft.String)),
        (pa.array([["ab"]]), ft.Array(ft.Array(ft.String))),
        (pa.array([[True, None]]), ft.Set(ft.Bool)),
        (pa.array([[PyDecimal(1), None]]), ft.Set(ft.Decimal)),
        (pa.array([1]), ft.Struct({"a": ft.Int64})),
        (pa.array([[5]], pa.list_(pa.timestamp("ns"))), ft.Array(ft.Int64)),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_an_error_where_stock_stores_something_else(array: pa.Array, dtype: Any) -> None:
    stock_cells(array, dtype)
    with pytest.raises(feast_rs.EncodeError):
        feast_rs.encode_values(array, dtype)


MOMENT = datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))
KEY = uuid.UUID(int=5)
# Arrays that stock raises for, and others whose stored cells they have here.
NATURAL: dict[str, tuple[pa.Array, pa.Array | list[bytes], Any]] = {
    "floats as doubles": (pa.array([0.5], pa.float32()), pa.array([0.5]), ft.Float64),
    "narrow integers as doubles": (pa.array([5], pa.int32()), pa.array([5.0]), ft.Float64),
    "UUIDs of sixteen bytes": (
        pa.array([KEY.bytes], pa.binary(16)), pa.array([str(KEY)]), ft.Uuid,
    ),
    "lists of such": (
        pa.array([[KEY.bytes]], pa.list_(pa.binary(16))), pa.array([[str(KEY)]]),
        ft.Array(ft.Uuid),
    ),
    "nulls in lists of integers": (
        pa.array([[5, None]]), pa.array([[5, 0]]), ft.Array(ft.Int64),
    ),
    "nulls in nested lists of texts": (
        pa.array([[["a", None]]]), pa.array([[["a", ""]]]), ft.Array(ft.Array(ft.String)),
    ),
    "integers as lists of doubles": (
        pa.array([[5]]), pa.array([[5.0]]), ft.Array(ft.Float64),
    ),
    "dates in lists": (
        pa.array([[date(2020, 1, 1)]]),
        cells_of(listed("unix_timestamp_list_val", 1_577_836_800)), ft.Array(ft.UnixTimestamp),
    ),
    "dates in structs": (
        pa.array([{"a": date(2020, 1, 1)}]),
        cells_of(Value(map_val={"val": {"a": Value(unix_timestamp_val=1_577_836_800)}})), ft.Map,
    ),
    "views in lists": (
        pa.array([["a", None]], pa.list_(pa.string_view())), pa.array([["a", None]]),
        ft.Array(ft.String),
    ),
    "bools as JSON": (
        pa.array([True]), pa.array(["true"]), ft.Json,
    ),
    "lists of several texts in structs": (
        pa.array([{"a": ["b", "c"]}]),
        cells_of(Value(map_val={"val": {"a": listed("string_list_val", "b", "c")}})), ft.Map,
    ),
    "unsigned integers in nested lists": (
        pa.array([[[1]]], pa.list_(pa.list_(pa.uint64()))), pa.array([[[1]]]),
        ft.Array(ft.Array(ft.Int64)),
    ),
    "small integers in nested lists": (
        pa.array([[[1]]], pa.list_(pa.list_(pa.int8()))),
        pa.array([[[1]]], pa.list_(pa.list_(pa.int32()))), ft.Array(ft.Array(ft.Int32)),
    ),
    "maps": (
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), pa.array([{"a": 1}]), ft.Map,
    ),
    "lists of structs as lists of maps": (
        pa.array([[{"a": 1}]]), pa.array(['[{"a": 1}]']), ft.Array(ft.Map),
    ),
    "zoned timestamps": (
        pa.array([MOMENT], pa.timestamp("us", "+05:30")),
        cells_of(
            Value(zoned_timestamp_val={"unix_timestamp": 1577817000, "zone": "UTC+05:30"})
        ), ft.ZonedTimestamp,
    ),
    "texts of JSON lists": (pa.array(["[1]", None]), pa.array([[1], None]), ft.Array(ft.Int64)),
    "structs of integers as JSON": (
        pa.array([{"a": [1, None], "b": {"c": "é\n"}}]),
        pa.array(['{"a": [1, null], "b": {"c": "\\u00e9\\n"}}']), ft.Json,
    ),
    "nulls run-end encoded": (
        pa.RunEndEncodedArray.from_arrays([2, 3], pa.array(["a", None])),
        pa.array(["a", "a", None]), ft.String,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NATURAL)
def test_the_natural_thing_where_stock_raises(name: str) -> None:
    array, other, dtype = NATURAL[name]
    if name != "nulls run-end encoded":
        with pytest.raises(Exception, match=r"."):
            stock_cells(array, dtype)
    expected = other if isinstance(other, list) else stock_cells(other, dtype)
    assert our_cells(array, dtype) == expected


def test_a_text_that_is_not_utf8() -> None:
    # As readers of Parquet hand them on, unchecked.
    buffers = pa.array([b"ab", b"\xff"], pa.binary()).buffers()
    broken = pa.Array.from_buffers(pa.string(), 2, buffers)
    for array in (broken, broken.dictionary_encode()):
        with pytest.raises((UnicodeDecodeError, pa.ArrowException)):
            stock_cells(array, ft.String)
        with pytest.raises(feast_rs.EncodeError, match=r"row 1: .*not UTF-8"):
            feast_rs.encode_values(array, ft.String)


@given(values=st.lists(st.none() | FLOATS32, max_size=5))
@settings(max_examples=100, deadline=None)
def test_texts_of_floats_are_the_same_numbers(values: list[float | None]) -> None:
    # Numpy spells them with exponents from 1e6 on since 2.4, and from 1e16 on before.
    array = pa.array(values, pa.float32())
    for ours, theirs in zip(
        our_cells(array, ft.String), stock_cells(array, ft.String), strict=True
    ):
        left, right = Value.FromString(ours), Value.FromString(theirs)
        assert left.WhichOneof("val") == right.WhichOneof("val")
        if ours:
            assert np.float32(left.string_val) == np.float32(right.string_val)


@pytest.mark.parametrize("value_type", [v for v in ValueType if v.name not in ("NULL", "UNKNOWN")])
def test_columns_of_nulls(value_type: ValueType) -> None:
    batch = pa.RecordBatch.from_arrays([pa.nulls(2)], ["x"])
    stocks = _columns_to_proto_values(batch, [("x", value_type)])["x"]
    cells = feast_rs.encode_values(pa.nulls(2), value_type).to_pylist()
    assert cells == [message.SerializeToString() for message in stocks]
    assert feast_rs.encode_values(pa.nulls(0), value_type).to_pylist() == []


@pytest.mark.parametrize("item", [ft.Int64, ft.Float32, ft.Float64, ft.String, ft.Bool], ids=str)
def test_lists_of_nothing_but_nulls(item: Any) -> None:
    assert_stored_as_stock(pa.array([[None], [], None]), ft.Array(item))


def test_rows_are_named_in_columns_of_many() -> None:
    array = pa.array([*range(5000), 2**31, 5])
    with pytest.raises(feast_rs.EncodeError, match=r"^row 5000: 2147483648 does not fit in Int32"):
        feast_rs.encode_values(array, ft.Int32)
