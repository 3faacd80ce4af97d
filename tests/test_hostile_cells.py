"""Bytes in Redis that no Feast wrote: an error that says where they are, or stock's answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet

import feast_rs
from tests.support.cells import (
    DRIVER,
    FEATURES,
    FIELDS,
    NEWER,
    Pair,
    names_the_cell,
    outcome,
)
from tests.support.server import RedisServer


@pytest.fixture(scope="module")
def pair(shared_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("hostile"), shared_server)


FORMS: dict[str, Callable[[Any], Any]] = {
    "to_dict": lambda answer: answer.to_dict(),
    "to_df": lambda answer: answer.to_df(),
    "to_arrow": lambda answer: answer.to_arrow(),
    "to_numpy": lambda answer: answer.to_numpy(),
    "proto": lambda answer: answer.proto,
}

TRUNCATED = {name: right.SerializeToString()[:-1] for name, (_, right) in FIELDS.items()}


@pytest.mark.parametrize("name", FIELDS)
def test_a_truncated_cell_is_named(pair: Pair, name: str) -> None:
    pair.put({name: TRUNCATED[name]})
    with pytest.raises(ProtobufDecodeError):
        pair.read(pair.stock, FEATURES)
    for form in FORMS.values():
        with pytest.raises(feast_rs.DecodeError) as raised:
            form(pair.read(pair.ours, FEATURES))
        names_the_cell(raised.value, name)
        assert isinstance(raised.value, ProtobufDecodeError)
        assert isinstance(raised.value, ValueError)
    others = [feature for feature in FEATURES if feature != f"stats:{name}"]
    assert pair.read(pair.ours, others).to_dict() == pair.read(pair.stock, others).to_dict()


@pytest.mark.parametrize("name", ["double", "float", "long", "int", "flag"])
def test_a_truncated_cell_in_a_matrix(pair: Pair, name: str) -> None:
    pair.put({name: TRUNCATED[name]})
    with pytest.raises(feast_rs.DecodeError) as raised:
        pair.read(pair.ours, FEATURES).to_matrix()
    names_the_cell(raised.value, name)


def test_a_truncated_cell_in_a_read_of_a_view(pair: Pair) -> None:
    pair.put({"vector": TRUNCATED["vector"]})
    store = pair.ours
    view = store.get_feature_view("stats")
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey

    keys = [EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=DRIVER)])]
    provider = store._get_provider()
    with pytest.raises(feast_rs.DecodeError, match="'stats:vector' of row 0"):
        provider.online_read(store.config, view, keys, ["double", "vector"])


@pytest.mark.parametrize("cell", NEWER)
def test_a_newer_feasts_value_is_never_null(pair: Pair, cell: bytes) -> None:
    value = Value.FromString(cell)
    assert value.WhichOneof("val") is None
    number = UnknownFieldSet(value)[0].field_number
    for name in ("double", "text", "vector", "map"):
        pair.put({name: cell})
        answer = pair.read(pair.ours, [f"stats:{name}"])
        for form in (answer.to_dict, answer.to_arrow, answer.to_df):
            with pytest.raises(feast_rs.DecodeError, match=f"field {number}") as raised:
                form()
            names_the_cell(raised.value, name)
        # The message has the bytes as they are, for a client that knows them.
        assert answer.proto.results[1].values[1].SerializeToString() == cell


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seen", Value(unix_timestamp_val=1 << 60)),
        ("seen", Value(unix_timestamp_val=300_000_000_000)),
        ("times", Value(unix_timestamp_list_val={"val": [1, -(1 << 62)]})),
        ("uuid", Value(uuid_val="no uuid")),
        ("money", Value(decimal_val="much")),
        ("zoned", Value(zoned_timestamp_val={"unix_timestamp": 1 << 60, "zone": "UTC"})),
    ],
)
def test_a_value_that_python_cannot_hold(pair: Pair, name: str, value: Value) -> None:
    pair.put({name: value.SerializeToString()})
    with pytest.raises(Exception) as stock:  # noqa: PT011 - whatever it is
        pair.read(pair.stock, FEATURES).to_dict()
    with pytest.raises(feast_rs.DecodeError) as raised:
        pair.read(pair.ours, FEATURES).to_dict()
    names_the_cell(raised.value, name)
    assert type(raised.value.__cause__) is type(stock.value)


@pytest.mark.parametrize(
    "time", [b"\x08", b"\x08\xff", b"\x0a\x05ab", b"\xff", b"\x08\x01\x10", b"\x00", b"\x0b"]
)
def test_a_malformed_event_timestamp(pair: Pair, time: bytes) -> None:
    with pytest.raises(ProtobufDecodeError):
        Timestamp.FromString(time)
    pair.put({}, time)
    answer = pair.read(pair.ours, FEATURES)
    for form in (
        lambda: answer.to_dict(include_event_timestamps=True),
        lambda: answer.to_arrow(include_event_timestamps=True),
        lambda: answer.event_timestamps,
        lambda: answer.proto,
    ):
        with pytest.raises(feast_rs.DecodeError) as raised:
            form()
        assert "event timestamp of feature view 'stats'" in str(raised.value)
        assert f"driver_id={DRIVER}" in str(raised.value)
    assert answer.to_dict()["double"] == [None, 1.5]


@pytest.mark.parametrize(
    "time",
    [
        b"",
        b"\x08\x01\x10\xff\xff\xff\xff\x0f",
        Timestamp(seconds=1 << 50).SerializeToString(),
        Timestamp(seconds=-(1 << 62)).SerializeToString(),
        Timestamp(seconds=1, nanos=-5).SerializeToString(),
        Timestamp(seconds=1, nanos=2_000_000_000).SerializeToString(),
        b"\x08\x01\x08\x02\x18\x07",
    ],
)
def test_a_strange_event_timestamp(pair: Pair, time: bytes) -> None:
    """Stock's answer where stock has one; an error, or a time, where it has none."""
    pair.put({}, time)
    right, refusal = outcome(lambda: pair.read(pair.stock, FEATURES).to_dict(True), Exception)
    ours, error = outcome(lambda: pair.read(pair.ours, FEATURES).to_dict(True))
    if refusal is None:
        assert error is None
        assert ours == right
