"""Some thousand rows in Parquet, and feature stores over them that differ in who materializes them
and in which online store keeps them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_source import DataSource
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp

from tests.support.server import RedisServer

ROWS = 6_000
DRIVERS = 2_500
STATIONS = 900
HOURS = 3
PARTS = 4
START = datetime(2024, 5, 17, tzinfo=timezone.utc)
END = START + timedelta(days=1)
PASSWORD = "pass,word=@1"
Source = Callable[[Path], DataSource]
Contents = dict[bytes, dict[bytes, bytes]]


def write_parquet(directory: Path) -> None:
    """Writes the rows of both views.

    `driver_stats` is one file with several rows of most entities, in no order, some of them after
    END; `station_hours` is a directory of files, with one row of each entity.
    """
    random = np.random.default_rng(2024)
    seconds = random.permutation(2 * ROWS)[:ROWS] * (1.1 * 86_400 / (2 * ROWS))
    times = pd.Series(pd.Timestamp(START) + pd.to_timedelta(seconds, unit="s")).dt.round("ms")
    drivers = random.integers(0, DRIVERS, ROWS)
    pd.DataFrame(
        {
            "driver_id": drivers,
            "rate": _with_nulls(random.normal(size=ROWS), random),
            "score": random.normal(size=ROWS).astype("float32"),
            "trips": random.integers(-(2**62), 2**62, ROWS),
            "rank": random.integers(0, 9, ROWS).astype("int32"),
            "active": random.integers(0, 2, ROWS).astype(bool),
            "city": _with_nulls(np.array([f"Zürich {n}" for n in range(ROWS)], object), random),
            "photo": [bytes([n % 256, 0, 255]) for n in range(ROWS)],
            "since": times.dt.floor("s") - pd.Timedelta(days=400),
            "tags": [[f"t{n}", ""][: n % 2 + 1] for n in range(ROWS)],
            "vector": [[n / 8, -n / 8] for n in range(ROWS)],
            "ts": times,
        }
    ).to_parquet(directory / "driver_stats.parquet", coerce_timestamps="us", row_group_size=1_000)
    stations = pd.DataFrame(
        {
            "station": [f"station {n // HOURS}" for n in range(STATIONS * HOURS)],
            "hour": np.arange(STATIONS * HOURS) % HOURS,
            "bikes": random.integers(0, 40, STATIONS * HOURS),
            "fee": random.normal(size=STATIONS * HOURS),
            "ts": pd.Timestamp(START) + pd.Timedelta(hours=1, milliseconds=500),
        }
    )
    (directory / "station_hours.parquet").mkdir()
    for part in range(PARTS):
        stations[part::PARTS].to_parquet(
            directory / "station_hours.parquet" / f"{part}.parquet", coerce_timestamps="us"
        )


def _with_nulls(values: Any, random: np.random.Generator) -> pd.Series:
    return pd.Series(values).mask(random.random(len(values)) < 0.1)


def feature_store(
    directory: Path,
    source: Source,
    online_store: Mapping[str, Any],
    **sections: Any,
) -> FeatureStore:
    """A feature store with both views over the Parquet files in `directory`, and a registry of its
    own."""
    registry = directory / f"registry_{len(list(directory.glob('registry_*')))}.db"
    store = FeatureStore(
        config=RepoConfig(
            project="rides",
            provider="local",
            registry=str(registry),
            entity_key_serialization_version=3,
            online_store=dict(online_store),
            **sections,
        )
    )
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    station = Entity(name="station", join_keys=["station"], value_type=ValueType.STRING)
    hour = Entity(name="hour", join_keys=["hour"], value_type=ValueType.INT64)
    driver_stats = FeatureView(
        name="driver_stats",
        entities=[driver],
        ttl=timedelta(days=3650),
        source=source(directory / "driver_stats.parquet"),
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="rate", dtype=Float64),
            Field(name="score", dtype=Float32),
            Field(name="trips", dtype=Int64),
            Field(name="rank", dtype=Int32),
            Field(name="active", dtype=Bool),
            Field(name="city", dtype=String),
            Field(name="photo", dtype=Bytes),
            Field(name="since", dtype=UnixTimestamp),
            Field(name="tags", dtype=Array(String)),
            Field(name="vector", dtype=Array(Float64)),
        ],
    )
    station_hours = FeatureView(
        name="station_hours",
        entities=[station, hour],
        ttl=timedelta(days=3650),
        source=source(directory / "station_hours.parquet"),
        schema=[
            Field(name="station", dtype=String),
            Field(name="hour", dtype=Int64),
            Field(name="bikes", dtype=Int64),
            Field(name="fee", dtype=Float64),
        ],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.apply([driver, station, hour, driver_stats, station_hours])
    return store


def file_source(path: Path) -> FileSource:
    """The rows as Feast's file offline store reads them."""
    return FileSource(name=path.stem, path=str(path), timestamp_field="ts")


def address_of(server: RedisServer, guarded: bool = False) -> dict[str, Any]:
    """The settings of feast-rs that lead to a server."""
    settings = {"type": "feast_rs.RedisOnlineStore", "connection_string": server.address}
    return {**settings, "password": PASSWORD} if guarded else settings


def contents(server: RedisServer, password: str | None = None) -> Contents:
    """Every key and every field of it."""
    client = redis.Redis(port=server.port, password=password)
    keys = list(client.scan_iter(count=1_000))
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.hgetall(key)
    return dict(zip(keys, pipeline.execute(), strict=True))


def connections(server: RedisServer, password: str | None = None) -> int:
    """How many connections there have been to a server, this one included."""
    info = redis.Redis(port=server.port, password=password).info("stats")
    return int(info["total_connections_received"])
