"""A feature view whose rows follow from their entity, so that any answer can be checked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.online_response import OnlineResponse
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float64, Int64, String, UnixTimestamp

from tests.support.stores import OURS

PROJECT = "proj"
NAMES = ["rate", "trips", "city", "tags", "seen"]
FEATURES = [f"stats:{name}" for name in NAMES]
STORED = 400
"""Drivers 0 to STORED - 1 have a row; others are unknown."""

_EPOCH = datetime(2024, 1, 1, tzinfo=timezone.utc)


def row(driver: int) -> dict[str, Any]:
    """What is stored of a driver, as `to_dict` answers it."""
    if not 0 <= driver < STORED:
        return dict.fromkeys(NAMES)
    return {
        "rate": driver / 8,
        "trips": driver * 1_000_003,
        "city": f"Zürich {driver}" + "x" * (driver % 70),
        "tags": [f"t{driver}", ""][: driver % 3] or ["one"],
        "seen": _EPOCH + timedelta(seconds=driver),
    }


def expected(drivers: Iterable[int]) -> dict[str, list[Any]]:
    """The right answer for these drivers."""
    drivers = list(drivers)
    rows = [row(driver) for driver in drivers]
    return {"driver_id": drivers, **{name: [row[name] for row in rows] for name in NAMES}}


def write_repository(directory: Path, address: str, **settings: Any) -> None:
    """A `feature_store.yaml` for feast-rs, as a user has one."""
    config = {
        "project": PROJECT,
        "provider": "local",
        "registry": str(directory / "registry.db"),
        "entity_key_serialization_version": 3,
        "offline_store": {"type": "file"},
        "online_store": {"type": OURS, "connection_string": address, **settings},
    }
    (directory / "feature_store.yaml").write_text(yaml.safe_dump(config))


def open_store(directory: Path, address: str, **settings: Any) -> FeatureStore:
    """A feast-rs store on the server at `address`; it does not connect yet."""
    write_repository(directory, address, **settings)
    store = FeatureStore(str(directory))
    if not (directory / "registry.db").exists():
        driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
        view = FeatureView(
            name="stats",
            entities=[driver],
            ttl=timedelta(days=1),
            source=FileSource(path=str(directory / "stats.parquet"), timestamp_field="ts"),
            schema=[
                Field(name="driver_id", dtype=Int64),
                Field(name="rate", dtype=Float64),
                Field(name="trips", dtype=Int64),
                Field(name="city", dtype=String),
                Field(name="tags", dtype=Array(String)),
                Field(name="seen", dtype=UnixTimestamp),
            ],
        )
        pd.DataFrame([{"driver_id": 0, **row(0), "ts": _EPOCH}]).to_parquet(
            directory / "stats.parquet"
        )
        store.apply([driver, view])
    return store


def frame(drivers: Iterable[int]) -> pd.DataFrame:
    """The drivers' rows as they are written."""
    return pd.DataFrame([{"driver_id": id, **row(id), "ts": _EPOCH} for id in drivers])


def fill(store: FeatureStore) -> None:
    """Writes all drivers' rows."""
    store.write_to_online_store("stats", frame(range(STORED)))


def filled_store(directory: Path, address: str, **settings: Any) -> FeatureStore:
    """A store whose rows are written, through connections that are closed again."""
    fill(open_store(directory, address))
    return open_store(directory, address, **settings)


def redis_key(driver: int) -> bytes:
    """The key of a driver's hash."""
    entity = EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=driver)])
    key: bytes = _redis_key(PROJECT, entity, 3)
    return key


def hash_field(feature: str) -> bytes:
    """The field of a feature of the view in such a hash."""
    field: bytes = _mmh3(f"stats:{feature}")
    return field


def entity_rows(drivers: Iterable[int]) -> list[dict[str, int]]:
    """Entity rows for these drivers."""
    return [{"driver_id": driver} for driver in drivers]


def read(
    store: FeatureStore, drivers: Iterable[int], features: Sequence[str] = FEATURES
) -> OnlineResponse:
    """A blocking read."""
    return store.get_online_features(list(features), entity_rows(drivers))


async def read_async(
    store: FeatureStore, drivers: Iterable[int], features: Sequence[str] = FEATURES
) -> OnlineResponse:
    """An asynchronous read."""
    return await store.get_online_features_async(list(features), entity_rows(drivers))


def read_on_new_loop(
    store: FeatureStore, drivers: Iterable[int], features: Sequence[str] = FEATURES
) -> OnlineResponse:
    """An asynchronous read on an event loop of its own."""
    return asyncio.run(read_async(store, drivers, features))


def check(store: FeatureStore, read: Read, drivers: Sequence[int] = (3, 399, 1_000, 3, 0)) -> None:
    """Reads drivers and compares each value."""
    assert read(store, drivers).to_dict() == expected(drivers)


Read = Callable[..., OnlineResponse]

both_forms = pytest.mark.parametrize("read", [read, read_on_new_loop], ids=["sync", "async"])
"""Runs a test with the blocking and with the asynchronous read."""
