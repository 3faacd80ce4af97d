"""Stock Feast and feast-rs over cells that a test writes straight into Redis."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
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
        """Reads features of the driver, and of one that has none."""
        return store.get_online_features(features, [{"driver_id": 1}, {"driver_id": DRIVER}])


def outcome(
    form: Callable[[], Any], refusal: type[Exception] = feast_rs.DecodeError
) -> tuple[Any, Exception | None]:
    """What a form of the answer gives, and the exception if it refuses."""
    try:
        return form(), None
    except refusal as error:
        return None, error


def names_the_cell(error: BaseException, name: str) -> None:
    """That an error says which feature and which entity it is about."""
    assert f"'stats:{name}'" in str(error)
    assert f"driver_id={DRIVER}" in str(error)
