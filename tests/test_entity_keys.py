"""Entity keys are Feast's own, byte for byte."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast.infra.key_encoding_utils import deserialize_entity_key, serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType
from hypothesis import example, given, settings
from hypothesis import strategies as st

import feast_rs

pytestmark = pytest.mark.filterwarnings("ignore:.*entity key with version:UserWarning")

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
# Feast's text is UTF-8, so a lone surrogate is out; everything else may be in a name or a value.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SEVERAL_EXAMPLES = settings(max_examples=150, deadline=None)

# Per type: what a Python value may be, and the field of Feast's `Value` that holds it.
KINDS: dict[str, tuple[st.SearchStrategy[Any], str]] = {
    "INT32": (INT32, "int32_val"),
    "INT64": (INT64, "int64_val"),
    "STRING": (TEXT, "string_val"),
    "BYTES": (st.binary(max_size=40), "bytes_val"),
    "UNIX_TIMESTAMP": (INT64, "unix_timestamp_val"),
}
KIND_NAMES = list(KINDS)


def feast_key(names: list[str], values: list[Value], version: int = 3) -> bytes:
    message = EntityKey(join_keys=names, entity_values=values)
    return serialize_entity_key(message, entity_key_serialization_version=version)


def feast_keys(kind: str, values: list[Any], version: int = 3) -> list[bytes]:
    """The keys of a single join key `id`."""
    field = KINDS[kind][1]
    return [feast_key(["id"], [Value(**{field: value})], version) for value in values]


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Columns of join-key values, and their types."""
    names = draw(st.lists(TEXT, min_size=1, max_size=5, unique=True))
    types = {name: draw(st.sampled_from(KIND_NAMES)) for name in names}
    rows = draw(st.integers(1, 6))
    exactly = {"min_size": rows, "max_size": rows}
    columns = {name: draw(st.lists(KINDS[types[name]][0], **exactly)) for name in names}
    return columns, types


@SEVERAL_EXAMPLES
@given(tables(), st.sampled_from([2, 3]), st.binary(max_size=12))
def test_any_columns_give_feasts_bytes_and_parse_back(
    table: tuple[dict[str, list[Any]], dict[str, str]], version: int, suffix: bytes
) -> None:
    columns, types = table
    rows = zip(*columns.values(), strict=True)
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row in rows:
            fields = [KINDS[types[name]][1] for name in columns]
            values = [Value(**{f: v}) for f, v in zip(fields, row, strict=True)]
            expected.append(feast_key(list(columns), values, version))
    keys = feast_rs.serialize_entity_keys(columns, types, version=version, suffix=suffix)
    assert keys.type == pa.large_binary()
    assert keys.to_pylist() == [key + suffix for key in expected]

    # A NUL cannot be in the name of an Arrow column, and a timestamp's microseconds reach less far
    # than Feast's seconds.
    if any("\x00" in name for name in columns):
        return
    far = [v for n, v in columns.items() if types[n] == "UNIX_TIMESTAMP"]
    if any(abs(value) > 2**63 // 1_000_000 for column in far for value in column):
        return
    parsed = feast_rs.deserialize_entity_keys(expected, list(columns), version=version)
    assert parsed.schema.names == sorted(columns)
    for name, values in columns.items():
        column = parsed[name]
        if types[name] == "UNIX_TIMESTAMP":
            assert column.type == pa.timestamp("us", "UTC")
            column = column.cast(pa.int64())
            values = [value * 1_000_000 for value in values]
        assert column.to_pylist() == values


@SEVERAL_EXAMPLES
@given(tables())
def test_feast_parses_what_is_serialized(
    table: tuple[dict[str, list[Any]], dict[str, str]],
) -> None:
    columns, types = table
    for index, key in enumerate(feast_rs.serialize_entity_keys(columns, types).to_pylist()):
        message = deserialize_entity_key(key)
        # Feast strips NULs from the ends of names that it parses.
        assert list(message.join_keys) == [name.rstrip("\x00") for name in sorted(columns)]
        for name, value in zip(sorted(columns), message.entity_values, strict=True):
            assert value == Value(**{KINDS[types[name]][1]: columns[name][index]})


@SEVERAL_EXAMPLES
@given(st.sampled_from([n for n in KIND_NAMES if n != "UNIX_TIMESTAMP"]), st.data())
def test_every_container_gives_the_same_keys(kind: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(KINDS[kind][0], min_size=1, max_size=8))
    expected = feast_keys(kind, values)
    arrow_type = {
        "INT32": pa.int32(),
        "INT64": pa.int64(),
        "STRING": pa.string(),
        "BYTES": pa.binary(),
    }[kind]
    array = pa.array(values, arrow_type)
    cut = data.draw(st.integers(0, len(values)))
    field = KINDS[kind][1]
    forms: list[Any] = [
        values,
        tuple(values),
        np.array(values, dtype=object),
        pd.Series(values, dtype=object),
        array,
        pa.concat_arrays([array, array]).slice(len(values)),
        pa.chunked_array([array.slice(0, cut), array.slice(cut)]),
        pa.chunked_array([array.slice(0, 0), array]),
        array.dictionary_encode(),
        [Value(**{field: value}) for value in values],
        RepeatedValue(val=[Value(**{field: value}) for value in values]),
    ]
    if kind == "INT32":
        forms += [np.array(values, np.int32), np.array(values, np.int64)]
    if kind == "INT64":
        wide = np.array(values, np.int64)
        forms += [wide, np.repeat(wide, 2)[::2], np.asfortranarray(wide), list(wide)]
    if kind == "STRING":
        forms += [array.cast(pa.large_string()), array.cast(pa.string_view())]
        forms.append(array.cast(pa.large_string()).dictionary_encode())
        if not any(value.endswith("\x00") for value in values):
            forms.append(np.array(values))
    if kind == "BYTES":
        forms += [array.cast(pa.large_binary()), array.cast(pa.binary_view())]
    for form in forms:
        if kind == "BYTES" and not any(values) and isinstance(form, (np.ndarray, pd.Series)):
            continue  # Feast takes an object column of empty bytes for one of nulls
        keys = feast_rs.serialize_entity_keys({"id": form}, {"id": kind}).to_pylist()
        assert keys == expected, f"{type(form)}: {form!r}"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "INT64"),
        (np.array([1, 2], np.int64), "INT64"),
        (np.array([1, 2], np.int32), "INT32"),
        (np.array([1, 2], np.int16), "INT32"),
        (np.array([1, 2], np.uint32), "INT64"),
        (pa.array([1, 2], pa.int64()), "INT64"),
        (pa.array([1, 2], pa.int32()), "INT32"),
        (pa.array([1, 2], pa.int8()), "INT32"),
        (pa.array([1, 2], pa.uint32()), "INT64"),
    ],
)
def test_without_a_declared_type_the_values_decide(values: Any, kind: str) -> None:
    keys = feast_rs.serialize_entity_keys({"id": values})
    assert keys.to_pylist() == feast_keys(kind, [1, 2])


@pytest.mark.parametrize("kind", ["INT32", "INT64"])
@pytest.mark.parametrize(
    "values",
    [
        np.array([5, 6], np.int32),
        np.array([5, 6], np.int64),
        np.array([5, 6], np.uint8),
        pa.array([5, 6], pa.int32()),
        pa.array([5, 6], pa.uint64()),
        [Value(int32_val=5), Value(int32_val=6)],
        [Value(int64_val=5), Value(int64_val=6)],
        [np.int32(5), np.int64(6)],
        [5.0, 6.0],
        [True + 4, 6],
    ],
    ids=str,
)
def test_integers_become_the_declared_type(values: Any, kind: str) -> None:
    keys = feast_rs.serialize_entity_keys({"id": values}, {"id": ValueType[kind]})
    assert keys.to_pylist() == feast_keys(kind, [5, 6])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
@pytest.mark.parametrize("seconds", [1_700_000_000, 0, -1, -86_400 * 365])
def test_timestamps_are_cut_to_seconds(unit: str, zone: str | None, seconds: int) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    array = pa.array([seconds * per_second], pa.timestamp(unit, zone))
    expected = feast_keys("UNIX_TIMESTAMP", [seconds])
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    forms = [array, [moment], [moment.replace(tzinfo=None)], [pd.Timestamp(moment)], [seconds]]
    if zone is None:
        forms.append(np.array([seconds * per_second], f"datetime64[{unit}]"))
        forms.append(pd.Series([moment]))
    for form in forms:
        keys = feast_rs.serialize_entity_keys({"id": form}, {"id": "UNIX_TIMESTAMP"})
        assert keys.to_pylist() == expected, repr(form)


def test_fractions_of_seconds_are_cut_toward_zero_as_feast_cuts_them() -> None:
    for micros in (1_500_000, -1_500_000, -1):
        array = pa.array([micros], pa.timestamp("us", "UTC"))
        from_arrow = feast_rs.serialize_entity_keys({"id": array})
        from_feast = feast_rs.serialize_entity_keys({"id": array.to_pylist()})
        assert from_arrow.to_pylist() == from_feast.to_pylist()
        assert from_arrow.to_pylist() == feast_keys("UNIX_TIMESTAMP", [int(micros / 1e6)])


ZONES = st.one_of(
    st.timezones(),
    st.just(timezone.utc),
    st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@given(st.lists(st.datetimes(timezones=ZONES, allow_imaginary=True), min_size=1, max_size=4))
@example([datetime(9999, 12, 31, 23, 59, 59, 999_999, timezone.utc)])
@example([datetime(1, 1, 2, 0, 0, 0, 1, timezone.utc)])
@example([datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=timezone.utc)])
def test_datetimes_are_the_seconds_that_feast_makes_of_them(moments: list[datetime]) -> None:
    """Of any zone, also in a gap or at a repeated hour; with parts of seconds."""
    messages = python_values_to_proto_values(moments, ValueType.UNIX_TIMESTAMP)
    seconds = [message.unix_timestamp_val for message in messages]
    keys = feast_rs.serialize_entity_keys({"id": moments}, {"id": "UNIX_TIMESTAMP"})
    assert keys.to_pylist() == feast_keys("UNIX_TIMESTAMP", seconds)


def test_many_keys_of_one_join_key() -> None:
    values = np.arange(10_000) * 7919
    keys = feast_rs.serialize_entity_keys({"id": values}, suffix=b"proj")
    assert keys.to_pylist() == [key + b"proj" for key in feast_keys("INT64", values.tolist())]
    parsed = feast_rs.deserialize_entity_keys(feast_rs.serialize_entity_keys({"id": values}))
    assert (parsed["id"].to_numpy() == values).all()


@pytest.mark.parametrize(
    "values",
    [
        [1, None],
        [None, 1],
        ["a", None],
        pa.array([1, None]),
        pa.array(["a", None]).dictionary_encode(),
        pa.chunked_array([[1], [None]], pa.int64()),
        [Value(int64_val=1), Value()],
        RepeatedValue(val=[Value()]),
        [1, float("nan")],
        np.array(["a", None], dtype=object),
    ],
    ids=str,
)
def test_a_null_is_refused(values: Any) -> None:
    with pytest.raises(feast_rs.EntityKeyError, match="null") as refusal:
        feast_rs.serialize_entity_keys({"driver": values})
    assert "driver" in str(refusal.value)
    # What stock Feast raises for it.
    assert isinstance(refusal.value, TypeError)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([2**31], "INT32"),
        ([-(2**31) - 1], "INT32"),
        (np.array([2**40]), "INT32"),
        (pa.array([2**40]), "INT32"),
        ([Value(int64_val=2**40)], "INT32"),
        ([2**63], "INT64"),
        (np.array([2**63], np.uint64), "INT64"),
        (pa.array([2**63], pa.uint64()), "INT64"),
        (["x"], "INT64"),
        (pa.array(["x"]), "INT64"),
        (pa.array([b"\xff", b"a"]), "STRING"),
        ([Value(string_val="x")], "INT64"),
        ([Value(float_val=1.0)], None),
        ([Value(int64_val=1), Value(string_val="x")], None),
        ([1, "x"], None),
        (pa.array([1.5]), None),
        (pa.array([[1]]), None),
        ([1.5], None),
        ([[1]], None),
        (np.array([[1, 2]]), "INT64"),
    ],
    ids=str,
)
def test_a_value_of_a_wrong_type_or_size_is_refused(values: Any, kind: str | None) -> None:
    types = {"driver": kind} if kind else None
    with pytest.raises((ValueError, TypeError)) as refusal:
        feast_rs.serialize_entity_keys({"driver": values}, types)
    assert str(refusal.value)


def test_columns_have_one_length_and_names_are_told_apart() -> None:
    with pytest.raises(feast_rs.ArgumentError, match="'b' has 1 values, 'a' has 2"):
        feast_rs.serialize_entity_keys({"a": [1, 2], "b": [1]})
    with pytest.raises(feast_rs.ConfigError, match="entity_key_serialization_version 1"):
        feast_rs.serialize_entity_keys({"a": [1]}, version=1)


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_truncated_key_is_refused(cut: int) -> None:
    (key,) = feast_keys("INT64", [7])
    with pytest.raises(feast_rs.EntityKeyError, match="key 1 is not a serialized entity key"):
        feast_rs.deserialize_entity_keys([key, key[:-cut]])


def test_keys_of_other_join_keys_are_refused() -> None:
    keys = [*feast_keys("INT64", [7]), feast_key(["other"], [Value(int64_val=1)])]
    with pytest.raises(feast_rs.EntityKeyError, match="other"):
        feast_rs.deserialize_entity_keys(keys)
    with pytest.raises(feast_rs.EntityKeyError, match="its join keys are"):
        feast_rs.deserialize_entity_keys(keys[:1], ["other"])
    with pytest.raises(feast_rs.EntityKeyError, match="STRING"):
        feast_rs.deserialize_entity_keys(feast_keys("INT64", [7]) + feast_keys("STRING", ["x"]))
    with pytest.raises(feast_rs.EntityKeyError, match="names"):
        feast_rs.deserialize_entity_keys(keys[:1], version=2)
