"""The Python objects of an answer, where they are made in bulk: datetimes, texts and lists."""

from __future__ import annotations

import gc
import sys
from datetime import datetime, timezone
from typing import Any

import pytest
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type
from hypothesis import given, settings
from hypothesis import strategies as st

from feast_rs import DecodeError, _core
from feast_rs.response import OnlineResponse

# The years 1 and 9999.
EARLIEST, LATEST = -62_135_596_800, 253_402_300_799


def objects(values: list[Value], dtype: str) -> list[Any]:
    column = _core.Column("value", dtype, [value.SerializeToString() for value in values])
    answer = OnlineResponse(_core.Answer.of_columns(len(values), [column]))
    listed: list[Any] = answer.to_dict()["value"]
    return listed


def assert_stocks(values: list[Value], dtype: str) -> None:
    stock = [feast_value_type_to_python_type(value) for value in values]
    ours = objects(values, dtype)
    assert ours == stock
    assert list(map(repr, ours)) == list(map(repr, stock))


def of_seconds(seconds: list[int]) -> list[Value]:
    return [Value(unix_timestamp_val=second) for second in seconds]


@given(st.lists(st.integers(EARLIEST, LATEST), max_size=50))
@settings(max_examples=200, deadline=None)
def test_datetimes(seconds: list[int]) -> None:
    assert_stocks(of_seconds(seconds + seconds), "UnixTimestamp")


def test_every_kind_of_year_has_its_days() -> None:
    years = [1, 4, 100, 399, 400, 1599, 1600, 1899, 1900, 1969, 1970, 1999, 2000, 2023, 2024, 9999]
    days = [(1, 1), (1, 31), (2, 1), (2, 28), (3, 1), (5, 31), (6, 30), (8, 31), (12, 31)]
    moments = [datetime(y, m, d, 23, 59, 58, tzinfo=timezone.utc) for y in years for m, d in days]
    moments += [datetime(y, 2, 29, tzinfo=timezone.utc) for y in (4, 400, 1600, 2000, 2024)]
    seconds = [
        int((m - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()) for m in moments
    ]
    assert objects(of_seconds(seconds), "UnixTimestamp") == moments
    assert_stocks(of_seconds([*seconds, EARLIEST, LATEST, -1, 0, 1]), "UnixTimestamp")


@pytest.mark.parametrize("seconds", [EARLIEST - 1, LATEST + 1, 2**62])
def test_a_time_beyond_datetime_is_told_with_its_row(seconds: int) -> None:
    with pytest.raises(DecodeError, match="row 1: "):
        objects(of_seconds([0, seconds]), "UnixTimestamp")
    listed = Value()
    listed.unix_timestamp_list_val.val.extend([0, seconds])
    with pytest.raises(DecodeError, match="row 0: "):
        objects([listed], "Array(UnixTimestamp)")


@pytest.mark.parametrize("different", [1, 10, 1000, 10_000])
def test_texts_that_come_again(different: int) -> None:
    words = [f"café {number}" if number % 3 else f"w{number}" for number in range(different)]
    values = [Value(string_val=words[(row * 7919) % different]) for row in range(6_000)]
    assert_stocks([*values, Value(string_val=""), Value(string_val="x" * 200)], "String")


def test_a_text_that_is_not_utf8_is_told_with_its_row() -> None:
    good = Value(string_val="ok").SerializeToString()
    cells = [good] * 300 + [b"\x12\x02\xc3\x28"]
    answer = _core.Answer.of_columns(301, [_core.Column("value", "String", cells)])
    with pytest.raises(DecodeError, match=r"row 300: .*UTF-8"):
        answer.to_dict(False)


@given(
    st.lists(
        st.sampled_from(["int32", "int64", "bool", "float", "double", "string", "unix_timestamp"])
        .flatmap(lambda kind: st.tuples(st.just(kind), st.integers(0, 300), st.randoms()))
        .map(lambda drawn: _listed(*drawn)),
        max_size=5,
    )
)
@settings(max_examples=200, deadline=None)
def test_lists(values: list[Value]) -> None:
    assert_stocks(values, "Array(Int64)")


def _listed(kind: str, length: int, random: Any) -> Value:
    makers = {
        "int32": lambda: random.randint(-(2**31), 2**31 - 1),
        "int64": lambda: random.choice([0, -1, 127, 128, random.randint(-(2**63), 2**63 - 1)]),
        "bool": lambda: random.random() < 0.5,
        "float": lambda: random.uniform(-1e30, 1e30),
        "double": lambda: random.uniform(-1e300, 1e300),
        "string": lambda: "é" * random.randint(0, 70),
        "unix_timestamp": lambda: random.randint(EARLIEST, LATEST),
    }
    value = Value()
    getattr(value, f"{kind}_list_val").val.extend(makers[kind]() for _ in range(length))
    getattr(value, f"{kind}_list_val").SetInParent()
    return value


@pytest.mark.parametrize(
    "body",
    [
        b"\x72\x03\x0a\x01\x80",  # a varint that does not end
        b"\x72\x0d\x0a\x0b" + b"\x80" * 10 + b"\x01",  # one of eleven bytes
        b"\x7a\x05\x0a\x03abc",  # three bytes are no double
        b"\x72\x05\x0a\x02\x01\x02",  # fewer bytes than announced
    ],
)
def test_malformed_lists_are_refused(body: bytes) -> None:
    answer = _core.Answer.of_columns(1, [_core.Column("value", "Array(Int64)", [body])])
    with pytest.raises(DecodeError, match="row 0: "):
        answer.to_dict(False)


def test_lists_in_other_forms_of_the_wire() -> None:
    for cell in [
        b"\x72\x04\x08\x01\x08\x02",  # not packed
        b"\x72\x07\x0a\x01\x05\x0a\x02\x06\x07",  # packed in two runs
        b"\x72\x03\x0a\x01\x05\x72\x03\x0a\x01\x06",  # in two messages
        b"\x72\x82\x00\x08\x01",  # a length in more bytes than it needs
        b"\x72\x00",
        b"\x8a\x01\x04\x0a\x02\x80\x00",  # false in two bytes
    ]:
        column = _core.Column("value", "Array(Int64)", [cell])
        answer = _core.Answer.of_columns(1, [column]).to_dict(False)
        assert answer["value"] == [feast_value_type_to_python_type(Value.FromString(cell))]


def test_lists_are_the_collectors_business_and_nobodys_before_they_are_whole() -> None:
    values = [Value(int64_val=2**40 + row) for row in range(1000)]
    listed = objects(values, "Int64")
    assert gc.is_tracked(listed)
    references = sys.getrefcount(listed[0])
    # The list's, the one for which it is kept, and where it is passed on, the call's.
    assert references <= 3
    gc.collect()
    listed.append(listed)  # a cycle that only the collector can free
    del listed
    assert gc.collect() > 0


def test_each_answer_is_a_dict_of_its_own() -> None:
    column = _core.Column("value", "Int64", [Value(int64_val=1).SerializeToString()])
    other = _core.Column("other", "Int64", [Value(int64_val=2).SerializeToString()])
    answer = _core.Answer.of_columns(1, [column])
    first, second = answer.to_dict(False), answer.to_dict(False)
    first["value"].append(5)
    first["more"] = []
    assert second == answer.to_dict(False) == {"value": [1]}
    answer.surround([other], [column])
    assert list(answer.to_dict(False).items()) == [("other", [2]), ("value", [1])]
    answer.retain(["value"])
    assert answer.to_dict(False) == {"value": [1]}
