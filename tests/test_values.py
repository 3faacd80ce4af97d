"""Values against Feast itself: decoding, encoding and the Python objects of ``to_dict``."""

from __future__ import annotations

import json
import math
import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal as PyDecimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast import types as ft
from feast.protos.feast.types.Value_pb2 import (
    Int64List,
    MapKey,
    RepeatedValue,
    ScalarMapEntry,
    Value,
)
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from feast.value_type import ValueType
from hypothesis import given, settings
from hypothesis import strategies as st

import feast_rs
from feast_rs import _core, dtypes

UTC = timezone.utc
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
DOUBLE = st.floats()
FLOAT = st.floats(width=32)
TEXT = st.text(max_size=8)
BYTES = st.binary(max_size=8)
DATETIME = st.datetimes(
    datetime(1700, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC), allow_imaginary=False
).map(lambda moment: moment.replace(microsecond=0))
UUID = st.uuids().map(str)
DECIMAL = st.decimals(allow_nan=False, allow_infinity=False).map(str)
JSON = st.recursive(
    st.none() | st.booleans() | INT64 | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
).map(json.dumps)

SCALARS: dict[Any, tuple[Any, pa.DataType]] = {
    ft.Int32: (INT32, pa.int32()),
    ft.Int64: (INT64, pa.int64()),
    ft.Float64: (DOUBLE, pa.float64()),
    ft.Float32: (FLOAT, pa.float32()),
    ft.Bool: (st.booleans(), pa.bool_()),
    ft.String: (TEXT, pa.string()),
    ft.Bytes: (BYTES, pa.binary()),
    ft.UnixTimestamp: (DATETIME, pa.timestamp("us", "UTC")),
    ft.Uuid: (UUID, pa.string()),
    ft.TimeUuid: (UUID, pa.string()),
    ft.Decimal: (DECIMAL, pa.string()),
    ft.Json: (JSON, pa.large_string()),
}
LISTED = [dtype for dtype in SCALARS if dtype not in (ft.PdfBytes, ft.ImageBytes)]
SET_TYPES = [dtype for dtype in LISTED if dtype is not ft.Json]


def same(left: Any, right: Any) -> bool:
    """Equal in value and type; NaN is NaN, and the sign of zero counts."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return (math.isnan(left) and math.isnan(right)) or (
            left == right and math.copysign(1, left) == math.copysign(1, right)
        )
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, datetime):
        return left == right and left.tzinfo == right.tzinfo
    return bool(left == right)


def stock_cells(values: Any, dtype: Any) -> list[bytes]:
    """What stock writes of Python objects; of Arrow columns see ``test_stored_bytes.py``."""
    messages = python_values_to_proto_values(values, dtype.to_value_type())
    return [message.SerializeToString() for message in messages]


def stock_objects(cells: list[bytes], dtype: Any) -> list[Any]:
    value_type = dtype.to_value_type()
    return [feast_value_type_to_python_type(Value.FromString(c), value_type) for c in cells]


def objects(cells: list[bytes | None], dtype: Any) -> list[Any]:
    return _core.values_to_objects(cells, dtypes.spell(dtype))


def assert_objects_are_stocks(cells: list[bytes], dtype: Any) -> None:
    assert same(objects(list(cells), dtype), stock_objects(cells, dtype))


@pytest.mark.parametrize("dtype", SCALARS, ids=str)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_scalars(dtype: Any, data: st.DataObject) -> None:
    strategy, arrow_type = SCALARS[dtype]
    values = data.draw(st.lists(st.none() | strategy, max_size=6))
    array = pa.array(values, arrow_type)
    encoded = feast_rs.encode_values(array, dtype)
    assert encoded.type == pa.binary()
    decoded = feast_rs.decode_values(encoded, dtype)
    assert decoded.type == arrow_type
    # A scalar NaN is written as null.
    expected = [None if isinstance(v, float) and math.isnan(v) else v for v in array.to_pylist()]
    assert same(decoded.to_pylist(), expected)
    cells = stock_cells(array.to_pylist(), dtype)
    if not any(array.to_pylist()) and dtype == ft.Bytes:
        # And by stock a column of nothing but empty bytes.
        expected = [None] * len(expected)
    assert same(feast_rs.decode_values(cells, dtypes.spell(dtype)).to_pylist(), expected)
    assert_objects_are_stocks(cells, dtype)


@pytest.mark.parametrize("dtype", LISTED, ids=str)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_lists(dtype: Any, data: st.DataObject) -> None:
    strategy, arrow_type = SCALARS[dtype]
    values = data.draw(st.lists(st.none() | st.lists(strategy, max_size=4), max_size=4))
    array = pa.array(values, pa.list_(arrow_type))
    listed = ft.Array(dtype)
    cells = feast_rs.encode_values(array, listed).to_pylist()
    decoded = feast_rs.decode_values(cells, listed)
    assert decoded.type == pa.list_(arrow_type)
    assert same(decoded.to_pylist(), array.to_pylist())
    assert_objects_are_stocks(cells, listed)


@pytest.mark.parametrize("dtype", SET_TYPES, ids=str)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_sets(dtype: Any, data: st.DataObject) -> None:
    strategy, arrow_type = SCALARS[dtype]
    values = data.draw(st.lists(st.lists(strategy, max_size=4), max_size=3))
    array = pa.array(values, pa.list_(arrow_type))
    values = array.to_numpy(zero_copy_only=False)
    stock = [Value.FromString(c) for c in stock_cells(values, ft.Set(dtype))]
    encoded = feast_rs.encode_values(array, ft.Set(dtype)).to_pylist()

    def elements(message: Value) -> list[str]:
        # The order of a set is arbitrary.
        return sorted(repr(v) for v in getattr(message, message.WhichOneof("val")).val)

    for ours, theirs in zip(encoded, stock, strict=True):
        message = Value.FromString(ours)
        assert message.WhichOneof("val") == theirs.WhichOneof("val")
        ours_listed, theirs_listed = elements(message), elements(theirs)
        zeros = {"-0.0", "0.0"}
        assert [e for e in ours_listed if e not in zeros] == [
            e for e in theirs_listed if e not in zeros
        ]
        assert len(ours_listed) == len(theirs_listed)
    decoded = feast_rs.decode_values(encoded, ft.Set(dtype))
    assert decoded.type == pa.list_(arrow_type)
    cells = [message.SerializeToString() for message in stock]
    stock_sets, our_sets = stock_objects(cells, ft.Set(dtype)), objects(cells, ft.Set(dtype))
    assert [sorted(map(repr, s)) for s in our_sets] == [sorted(map(repr, s)) for s in stock_sets]
    assert {type(s) for s in our_sets} <= {set}


def test_null_timestamps() -> None:
    cell = Value(unix_timestamp_val=-(2**63)).SerializeToString()
    assert feast_rs.decode_values([cell], ft.UnixTimestamp).to_pylist() == [None]
    cells = [Value(unix_timestamp_list_val=Int64List(val=[-(2**63), 5])).SerializeToString()]
    decoded = feast_rs.decode_values(cells, ft.Array(ft.UnixTimestamp)).to_pylist()
    assert decoded == [[None, datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)]]
    assert_objects_are_stocks([cell, *cells], ft.UnixTimestamp)


SOME_BYTES = st.binary(min_size=1, max_size=8)  # Of a lone b"" stock cannot tell the type.
INFERRED = st.none() | st.booleans() | INT64 | st.floats(allow_nan=False) | TEXT | SOME_BYTES
PLAIN_LISTS = (
    st.lists(INT64, min_size=1, max_size=3)
    | st.lists(st.floats(allow_nan=False), min_size=1, max_size=3)  # NaN equals nothing.
    | st.lists(TEXT, min_size=1, max_size=3)
    | st.lists(st.booleans(), min_size=1, max_size=3)
    | st.lists(BYTES, min_size=1, max_size=3)
)
DICTS = st.recursive(
    st.dictionaries(TEXT, INFERRED | PLAIN_LISTS, max_size=3),
    lambda inner: st.dictionaries(
        TEXT, inner | st.lists(inner, min_size=1, max_size=2), max_size=2
    ),
    max_leaves=4,
)


def messages(cells: list[bytes]) -> list[Value]:
    return [Value.FromString(cell) for cell in cells]


@given(values=st.lists(st.none() | DICTS, max_size=3))
@settings(max_examples=100, deadline=None)
def test_maps_through_arrow_and_back(values: list[Any]) -> None:
    for dtype in (ft.Map, ft.Struct({"no such field": ft.Int64})):
        cells = stock_cells(values, dtype)
        assert repr(objects(cells, dtype)) == repr(stock_objects(cells, dtype))
    cells = stock_cells(values, ft.Map)
    decoded = feast_rs.decode_values(cells, ft.Map)
    assert decoded.type == pa.map_(pa.string(), pa.string())
    assert messages(feast_rs.encode_values(decoded, ft.Map).to_pylist()) == messages(cells)
    listed = [[v for v in values if v is not None]]
    cells = stock_cells(listed, ft.Array(ft.Map))
    decoded = feast_rs.decode_values(cells, ft.Array(ft.Map))
    assert messages(feast_rs.encode_values(decoded, ft.Array(ft.Map)).to_pylist()) == messages(
        cells
    )
    undeclared = feast_rs.decode_values(cells, "Invalid")
    assert messages(feast_rs.encode_values(undeclared, "Invalid").to_pylist()) == messages(cells)


def test_maps_from_json_and_structs() -> None:
    texts = ['{"a": 1, "b": [1.5, 2.5], "c": {"$bytes": "x"}, "d": null, "e": [{"f": "g"}]}', None]
    assert messages(feast_rs.encode_values(pa.array(texts), ft.Map).to_pylist()) == messages(
        stock_cells(texts, ft.Map)
    )
    rows = [
        {"a": 1, "b": "x", "c": [1.5], "d": {"e": datetime(2020, 1, 1, tzinfo=UTC)}, "f": b"g"},
        {"a": None, "b": "", "c": [0.5, math.inf], "d": None, "f": None},
        None,
    ]
    array = pa.array(rows)
    dtype = ft.Struct(
        {"a": ft.Int32, "b": ft.String, "c": ft.Array(ft.Float32), "d": ft.Map, "f": ft.Bytes}
    )
    cells = feast_rs.encode_values(array, dtype).to_pylist()
    assert messages(cells) == messages(stock_cells(rows, dtype))
    decoded = feast_rs.decode_values(cells, dtype).to_pylist()
    assert decoded[0]["a"] == 1
    assert decoded[0]["c"] == [1.5]
    assert decoded[0]["d"] == [("e", '{"$unix_timestamp":1577836800}')]
    assert decoded[2] is None
    listed = ft.Array(dtype)
    lists = [rows[:2], [], None]
    cells = feast_rs.encode_values(pa.array(lists), listed).to_pylist()
    assert messages(cells) == messages(stock_cells(lists, listed))
    assert feast_rs.decode_values(cells, listed).to_pylist()[0][1]["b"] == ""


def test_scalar_maps() -> None:
    key = uuid.UUID(int=5)
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    values = [
        {1: "a", False: None}, {2.5: 1}, {b"k": 1.5}, {key: True}, {PyDecimal("1.50"): "x"},
        {moment: [1, 2]}, {}, None,
    ]  # fmt: skip
    cells = stock_cells(values, ft.ScalarMap)
    assert repr(objects(cells, ft.ScalarMap)) == repr(stock_objects(cells, ft.ScalarMap))
    decoded = feast_rs.decode_values(cells, ft.ScalarMap)
    assert decoded.to_pylist()[4] == [('{"$decimal":"1.50"}', '"x"')]
    assert feast_rs.encode_values(decoded, ft.ScalarMap).to_pylist() == cells
    array = pa.array([[(1, "a"), (2, None)]], pa.map_(pa.int64(), pa.string()))
    expected = stock_cells([{1: "a", 2: None}], ft.ScalarMap)
    assert feast_rs.encode_values(array, ft.ScalarMap).to_pylist() == expected
    repeated = Value()
    for number in (1, 2):
        entry = ScalarMapEntry(key=MapKey(int64_key=7), value=Value(int64_val=number))
        repeated.scalar_map_val.val.append(entry)
    cell = repeated.SerializeToString()
    assert feast_rs.decode_values([cell], ft.ScalarMap).to_pylist() == [[("7", "2")]]
    assert objects([cell], ft.ScalarMap) == [{7: 2}]


def test_zoned_timestamps() -> None:
    from zoneinfo import ZoneInfo

    values = [
        datetime(2020, 1, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(1960, 1, 1, tzinfo=timezone(timedelta(hours=-7))),
        datetime(1970, 1, 1),
        None,
    ]
    cells = stock_cells(values, ft.ZonedTimestamp)
    decoded = feast_rs.decode_values(cells, ft.ZonedTimestamp)
    assert [row and row["zone"] for row in decoded.to_pylist()] == [
        "Europe/Berlin", "UTC-07:00", "", None,
    ]  # fmt: skip
    assert feast_rs.encode_values(decoded, ft.ZonedTimestamp).to_pylist() == cells
    assert_objects_are_stocks(cells, ft.ZonedTimestamp)
    array = pa.array(values[:1], pa.timestamp("us", "Europe/Berlin"))
    assert feast_rs.encode_values(array, ft.ZonedTimestamp).to_pylist() == cells[:1]


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (ft.Array(ft.Array(ft.Int64)), [[[1, 2], [], None], [], None, [[-1]]]),
        (ft.Array(ft.Array(ft.Float64)), [[[1.5], [math.nan, -0.0]]]),
        (ft.Array(ft.Set(ft.String)), [[["a", "é"], []]]),
        (ft.Set(ft.Array(ft.Bool)), [[[True], [False]]]),
        (ft.Array(ft.Array(ft.Array(ft.Int64))), [[[[1], [2, 3]], [[4]]], [[]]]),
    ],
    ids=str,
)
def test_nested_lists(dtype: Any, values: list[Any]) -> None:
    cells = stock_cells(values, dtype)
    decoded = feast_rs.decode_values(cells, dtype)
    # Stock writes an empty inner list as null.
    flattened = json.loads(json.dumps(values).replace("[]", "null"))
    shown = json.loads(json.dumps(decoded.to_pylist()).replace("[]", "null"))
    assert str(shown) == str(flattened)
    assert feast_rs.encode_values(decoded, dtype).to_pylist() == cells
    assert feast_rs.encode_values(pa.array(values), dtype).to_pylist() == cells
    assert repr(objects(cells, dtype)) == repr(stock_objects(cells, dtype))


def test_nested_floats_of_the_declared_width() -> None:
    dtype = ft.Array(ft.Array(ft.Float32))
    cells = stock_cells([[[0.1]]], dtype)
    decoded = feast_rs.decode_values(cells, dtype).to_pylist()
    assert decoded == [[[float(np.float32(0.1))]]]


def test_uuids() -> None:
    values = [uuid.UUID(int=n) for n in (1, 2**127)]
    array = pa.array([value.bytes for value in values], pa.binary(16))
    cells = stock_cells(values, ft.Uuid)
    assert feast_rs.encode_values(array, ft.Uuid).to_pylist() == cells
    assert_objects_are_stocks(cells, ft.Uuid)
    # UUIDs that an older Feast stored as strings.
    old = [Value(string_val=str(value)).SerializeToString() for value in values]
    assert objects(old, ft.Uuid) == values
    assert objects(old, ft.String) == [str(value) for value in values]
    assert feast_rs.decode_values(old, ft.Uuid).to_pylist() == [str(value) for value in values]
    listed = Value()
    listed.string_list_val.val.extend(str(value) for value in values)
    assert objects([listed.SerializeToString()], ft.Array(ft.Uuid)) == [values]
    assert_objects_are_stocks([listed.SerializeToString()], ft.Array(ft.TimeUuid))
    broken = Value(uuid_val="no uuid").SerializeToString()
    with pytest.raises(feast_rs.DecodeError, match="cell 1: badly formed") as caught:
        objects([None, broken], ft.Uuid)
    assert isinstance(caught.value, ValueError)


def test_stored_type_decides_the_object() -> None:
    stored = [
        Value(), Value(int64_val=3), Value(float_val=0.1), Value(bool_val=True), Value(null_val=0),
        Value(string_val="x"), Value(json_val='{"a": [1]}'), Value(json_val="no json"),
        Value(decimal_val="1.50"), Value(bytes_val=b"x"), Value(unix_timestamp_val=-1),
        Value(int64_set_val={"val": [1, 1]}), Value(list_val=RepeatedValue(val=[Value()])),
    ]  # fmt: skip
    cells = [message.SerializeToString() for message in stored]
    for dtype in (ft.Float64, ft.Array(ft.String), ft.Map):
        assert_objects_are_stocks(cells, dtype)


def test_changed_schemas() -> None:
    cells = [Value(int64_val=3).SerializeToString(), Value(double_val=4).SerializeToString()]
    assert feast_rs.decode_values(cells, ft.Float64).to_pylist() == [3.0, 4.0]
    assert feast_rs.decode_values(cells, ValueType.INT32).to_pylist() == [3, 4]
    with pytest.raises(feast_rs.DecodeError, match=r"cell 1: .*double_val.* Int64"):
        feast_rs.decode_values([b"", Value(double_val=0.5).SerializeToString()], ft.Int64)
    with pytest.raises(feast_rs.DecodeError, match=r"cell 0: .*int64_val.* Array\(Int64\)"):
        feast_rs.decode_values(cells, ft.Array(ft.Int64))


def test_a_newer_feasts_value_is_never_null() -> None:
    newer = b"\x9a\x03\x01x"
    assert Value.FromString(newer).WhichOneof("val") is None
    with pytest.raises(feast_rs.DecodeError, match=r"cell 1: .*field 51"):
        feast_rs.decode_values([None, newer], ft.Int64)
    with pytest.raises(feast_rs.DecodeError, match=r"cell 1: .*field 51"):
        objects([None, newer], ft.Int64)


def test_what_cannot_be_encoded() -> None:
    for array, dtype, message in [
        (pa.array([1, 2**31]), ft.Int32, "row 1: 2147483648 does not fit"),
        (pa.array([2**63], pa.uint64()), ft.Int64, "."),
        (pa.array([0.5]), ft.Int64, "0.5 is not"),
        (pa.array(["x"]), ft.Float64, 'row 0: "x" is not a number'),
        (pa.array([[0.5]]), ft.Float64, "^a float cannot be made from"),
        (pa.array([1]), ft.Array(ft.Int64), "a list cannot be made from"),
        (pa.array(["{"]), ft.Json, "row 0: not a JSON text"),
        (pa.array(["[]"]), ft.Map, "row 0: a map's text is not"),
        (pa.array([[1, None]]), ft.Set(ft.Int64), "row 0: a set cannot"),
        (pa.array([[[None]]]), ft.Array(ft.Array(ft.Int64)), "row 0: a list of nulls"),
    ]:
        with pytest.raises(feast_rs.EncodeError, match=message):
            feast_rs.encode_values(array, dtype)
    for dtype in ("Int65", "Array(", "Set(Map)"):
        with pytest.raises(feast_rs.ArgumentError):
            feast_rs.decode_values([], dtype)
    with pytest.raises(TypeError, match="cell 1 is of type str"):
        feast_rs.decode_values([b"", "x"], ft.Int64)
    with pytest.raises(TypeError):
        feast_rs.decode_values([], 5)  # type: ignore[arg-type]


def test_forms_of_cells() -> None:
    cells = stock_cells([1, None, 3], ft.Int64)
    forms: list[Any] = [
        cells, tuple(cells), [cells[0], None, bytearray(cells[2])], pa.array(cells),
        pa.array(cells, pa.large_binary()), pa.array(cells, pa.binary_view()),
        pa.chunked_array([pa.array(cells[:1]), pa.array(cells[1:])]),
        pa.array([b"", *cells]).slice(1), pa.array(cells).dictionary_encode(),
    ]  # fmt: skip
    for form in forms:
        assert feast_rs.decode_values(form, ft.Int64).to_pylist() == [1, None, 3]
    assert feast_rs.decode_values(pa.array([None, None]), ft.Int64).to_pylist() == [None, None]
    assert feast_rs.decode_values([], ft.Int64).type == pa.int64()


@pytest.mark.parametrize("value_type", [v for v in ValueType if v is not ValueType.NULL])
def test_every_value_type_has_an_arrow_type(value_type: ValueType) -> None:
    decoded = feast_rs.decode_values([b"", None], value_type)
    assert decoded.null_count == 2
    # A null in a column of timestamps is the null timestamp.
    null = b""
    if value_type is ValueType.UNIX_TIMESTAMP:
        null = Value(unix_timestamp_val=-(2**63)).SerializeToString()
    assert feast_rs.encode_values(decoded, value_type).to_pylist() == [null, null]


def test_types_have_one_spelling() -> None:
    nested = ft.Array(ft.Struct({'a "b': ft.Int64, "c:": ft.Set(ft.Array(ft.Float32))}))
    assert dtypes.spell(nested) == r'Array(Struct({"a \"b": Int64, "c:": Set(Array(Float32))}))'
    assert dtypes.spell(ft.Float64) == "Float64"
    assert dtypes.spell(ValueType.DOUBLE_LIST) == "DOUBLE_LIST"
    decoded = feast_rs.decode_values([None], nested)
    assert decoded.type.value_type.field(0).name == 'a "b'
    assert dtypes.of_messages([Value(), Value(zoned_timestamp_val={})]) == "ZONED_TIMESTAMP"


SAMPLES = [
    Value(), Value(int64_val=-5), Value(double_val=0.5), Value(float_val=1), Value(bool_val=True),
    Value(string_val="héllo"), Value(bytes_val=b"\xff\x00"), Value(unix_timestamp_val=1700000000),
    Value(int64_list_val=Int64List(val=[1, 2**62, -1])), Value(json_val='{"a": 1}'),
    Value(string_list_val={"val": ["a", "é"]}), Value(float_list_val={"val": [0.5, 1]}),
    Value(map_val={"val": {"k": Value(double_val=1), "l": Value(string_val="é")}}),
    Value(list_val=RepeatedValue(val=[Value(int64_list_val=Int64List(val=[1])), Value()])),
    Value(decimal_set_val={"val": ["1.5"]}), Value(zoned_timestamp_val={"zone": "UTC"}),
    Value(scalar_map_val={"val": [ScalarMapEntry(key=MapKey(uuid_key="u"), value=Value())]}),
]  # fmt: skip


@given(
    sample=st.sampled_from([message.SerializeToString() for message in SAMPLES]),
    edits=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3),
    cut=st.integers(0, 60) | st.none(),
    tail=st.sampled_from([message.SerializeToString() for message in SAMPLES]) | BYTES,
)
@settings(max_examples=3000, deadline=None)
def test_damaged_cells_are_judged_as_upb_judges_them(
    sample: bytes, edits: list[tuple[int, int]], cut: int | None, tail: bytes
) -> None:
    damaged = bytearray(sample[:cut] + tail)
    for position, byte in edits:
        if damaged:
            damaged[position % len(damaged)] = byte
    cell = bytes(damaged)
    try:
        message: Value | None = Value.FromString(cell)
    except Exception:
        message = None
    try:
        decoded = feast_rs.decode_values([cell], "Invalid").to_pylist()[0]
    except feast_rs.DecodeError as error:
        unknown = "may be written by a newer Feast" in str(error)
        assert message is None or unknown, error  # noqa: PT017 - either outcome may be right
    else:
        assert message is not None
        kind = message.WhichOneof("val")
        if decoded is None:
            assert kind is None or message.unix_timestamp_val == -(2**63)
            return
        # The JSON text says all that upb saw.
        again = Value.FromString(feast_rs.encode_values(pa.array([decoded]), "Invalid")[0].as_py())
        message.DiscardUnknownFields()
        assert repr(again) == repr(message) or says_less(message)


def says_less(message: Value) -> bool:
    """Whether a JSON text does not say all of a message: a null timestamp is null, NaN has no
    payload, and what a scalar map's entry lacks is written as empty."""
    shown = repr(message)
    return "nan" in shown or "-9223372036854775808" in shown or "scalar_map_val" in shown
