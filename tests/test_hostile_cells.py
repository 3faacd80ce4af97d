"""Bytes in Redis that no Feast wrote: an error that says where they are, or stock's answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.protos.feast.types.Value_pb2 import Map, RepeatedValue, Value
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
    Set,
    String,
    Struct,
    UnixTimestamp,
    Uuid,
    ZonedTimestamp,
)
from feast.types import (
    Map as MapType,
)
from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import feast_rs
from tests.support.drivers import hash_field, redis_key
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store

FIELDS = {
    "double": (Float64, Value(double_val=1.5)),
    "float": (Float32, Value(float_val=-0.25)),
    "long": (Int64, Value(int64_val=-7_000_000_000)),
    "int": (Int32, Value(int32_val=-7)),
    "flag": (Bool, Value(bool_val=True)),
    "text": (String, Value(string_val="Zürich")),
    "blob": (Bytes, Value(bytes_val=b"\xff\x00")),
    "seen": (UnixTimestamp, Value(unix_timestamp_val=1_700_000_000)),
    "vector": (Array(Float32), Value(float_list_val={"val": [1.0, -2.0]})),
    "longs": (Array(Int64), Value(int64_list_val={"val": [1, -1, 1 << 40]})),
    "texts": (Array(String), Value(string_list_val={"val": ["a", "", "ü"]})),
    "times": (Array(UnixTimestamp), Value(unix_timestamp_list_val={"val": [1, 2]})),
    "numbers": (Set(Int64), Value(int64_set_val={"val": [3, 4]})),
    "uuid": (Uuid, Value(uuid_val="12345678-1234-5678-1234-567812345678")),
    "money": (Decimal, Value(decimal_val="12.50")),
    "document": (Json, Value(json_val='{"a": [1, null]}')),
    "map": (MapType, Value(map_val=Map(val={"k": Value(int64_val=1)}))),
    "struct": (
        Struct({"a": Int64, "b": String}),
        Value(struct_val=Map(val={"a": Value(int64_val=1), "b": Value(string_val="x")})),
    ),
    "nested": (
        Array(Array(Int64)),
        Value(list_val=RepeatedValue(val=[Value(int64_list_val={"val": [1, 2]})])),
    ),
    "zoned": (
        ZonedTimestamp,
        Value(zoned_timestamp_val={"unix_timestamp": 1_700_000_000, "zone": "Europe/Zurich"}),
    ),
}
FEATURES = [f"stats:{name}" for name in FIELDS]
DRIVER = 7

# Fields of the oneof that a Feast newer than this one may have.
NEWER = [b"\xca\x03\x02hi", b"\xc8\x03\x05", b"\xcd\x03abcd", b"\xc9\x03abcdefgh"]


class Pair:
    """Stock Feast and feast-rs on one Redis, and the hash of one driver in it."""

    def __init__(self, directory: Path, server: RedisServer) -> None:
        self.admin = redis.Redis(port=server.port)
        self.stock = feature_store(STOCK, directory, server.address)
        self.ours = feature_store(OURS, directory, server.address)
        driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
        path = str(directory / "stats.parquet")
        pd.DataFrame({"driver_id": [1], "ts": [datetime.now(timezone.utc)]}).to_parquet(path)
        schema = [Field(name=name, dtype=dtype) for name, (dtype, _) in FIELDS.items()]
        view = FeatureView(
            name="stats",
            entities=[driver],
            ttl=timedelta(days=1),
            source=FileSource(path=path, timestamp_field="ts"),
            schema=[Field(name="driver_id", dtype=Int64), *schema],
        )
        self.stock.apply([driver, view])
        self.ours.refresh_registry()

    def put(self, cells: dict[str, bytes], time: bytes = b"\x08\x80\xe2\xcf\xaa\x06") -> None:
        """Stores these cells, and right ones for the other features."""
        right = {name: value.SerializeToString() for name, (_, value) in FIELDS.items()}
        stored = {hash_field(name): cell for name, cell in {**right, **cells}.items()}
        self.admin.hset(redis_key(DRIVER), mapping={**stored, b"_ts:stats": time})

    def read(self, store: FeatureStore, features: list[str]) -> Any:
        return store.get_online_features(features, [{"driver_id": 1}, {"driver_id": DRIVER}])


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


def outcome(
    form: Callable[[], Any], refusal: type[Exception] = feast_rs.DecodeError
) -> tuple[Any, Exception | None]:
    """What a form of the answer gives, and the exception if it refuses."""
    try:
        return form(), None
    except refusal as error:
        return None, error


def names_the_cell(error: BaseException, name: str) -> None:
    assert f"'stats:{name}'" in str(error)
    assert f"driver_id={DRIVER}" in str(error)


# Generated bytes


@st.composite
def mutated_cells(draw: st.DrawFn) -> bytes:
    """A right cell with a few bytes changed, dropped, doubled or joined with another cell."""
    rights = st.sampled_from([right.SerializeToString() for _, right in FIELDS.values()])
    cell = bytearray(draw(rights))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(cell)))
        match draw(st.integers(0, 5)):
            case 0:
                cell[place:] = b""
            case 1:
                cell[place : place + 1] = draw(st.binary(max_size=2))
            case 2:
                cell[place:place] = draw(st.binary(min_size=1, max_size=3))
            case 3:
                cell += draw(rights)
            case 4:
                cell[place:place] = draw(st.sampled_from(NEWER))
            case 5 if place < len(cell):
                cell[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(cell)


HOSTILE = st.one_of(mutated_cells(), st.binary(max_size=24))


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(list(FIELDS)), cell=HOSTILE)
def test_generated_cells_as_stock_or_refused(pair: Pair, name: str, cell: bytes) -> None:
    pair.put({name: cell})
    features = [f"stats:{name}"]
    right, refusal = outcome(lambda: pair.read(pair.stock, features).to_dict()[name], Exception)
    answer = pair.read(pair.ours, features)
    value, malformed = outcome(lambda: Value.FromString(cell), ProtobufDecodeError)

    found, error = outcome(lambda: answer.to_dict()[name])
    if error is None:
        assert refusal is None, f"stock refuses what is answered as {found}"
        assert repr(found) == repr(right)
    else:
        names_the_cell(error, name)
        assert refusal is not None or has_unknown(cell), f"{error}, but stock answers {right}"

    message, error = outcome(lambda: answer.proto)
    assert (error is None) == (malformed is None)
    if error is None:
        assert repr(message.results[1].values[1]) == repr(value)
    else:
        names_the_cell(error, name)

    table, error = outcome(answer.to_arrow)
    if error is None:
        assert malformed is None
        same_in_arrow(table.column(name), value)
    else:
        names_the_cell(error, name)


def has_unknown(cell: bytes) -> bool:
    """Whether there is a field in it that this Feast does not know."""
    return len(UnknownFieldSet(Value.FromString(cell))) > 0


def same_in_arrow(column: pa.ChunkedArray, value: Value) -> None:
    """That an Arrow value is the stored one: where both are numbers or text, or lists of them."""
    stored = value.WhichOneof("val")
    scale = 1
    if pa.types.is_timestamp(column.type):
        column, scale = column.cast(pa.int64()), 1_000_000
    elif pa.types.is_nested(column.type) and pa.types.is_timestamp(column.type.field(0).type):
        return
    found = column[1].as_py()
    if stored is None:
        assert found is None
    elif stored in SCALARS:
        right = getattr(value, stored)
        assert equal(found, right * scale)
    elif stored in LISTS and isinstance(found, list):
        right = list(getattr(value, stored).val)
        assert len(found) == len(right)
        assert all(map(equal, found, right))


SCALARS = {"double_val", "float_val", "int64_val", "int32_val", "bool_val", "string_val"}
SCALARS |= {"bytes_val", "unix_timestamp_val"}
LISTS = {"double_list_val", "float_list_val", "int64_list_val", "int32_list_val"}
LISTS |= {"bool_list_val", "string_list_val", "bytes_list_val"}


def equal(found: Any, right: Any) -> bool:
    """Equality in which NaN equals NaN, and a text its UTF-8."""
    if isinstance(right, str) and isinstance(found, bytes):
        return found == right.encode()
    return found == right or (found != found and right != right)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(cells=st.fixed_dictionaries(dict.fromkeys(("double", "float", "long", "flag"), HOSTILE)))
def test_generated_cells_in_a_matrix(pair: Pair, cells: dict[str, bytes]) -> None:
    pair.put(cells)
    answer = pair.read(pair.ours, [f"stats:{name}" for name in cells])
    matrix, error = outcome(lambda: answer.to_matrix(list(cells), "float64"))
    if error is not None:
        assert f"driver_id={DRIVER}" in str(error)
        return
    for place, cell in enumerate(cells.values()):
        value = Value.FromString(cell)
        stored = value.WhichOneof("val")
        right = math.nan if stored is None else float(getattr(value, stored))
        found = matrix[1, place]
        assert found == right or (math.isnan(found) and math.isnan(right))
