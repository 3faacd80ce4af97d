"""Views of as many features as a test wants, and rows of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float32, Float64, Int64, String

from tests.support.drivers import open_store


def wide_store(directory: Path, address: str, width: int, **settings: Any) -> FeatureStore:
    """A view of `width` features of several types, and a second one on the same entity."""
    directory.mkdir(exist_ok=True)
    store = open_store(directory, address, **settings)
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    source = FileSource(path=str(directory / "wide.parquet"), timestamp_field="ts")
    kinds = [Float64, Int64, String, Float32]
    views = [
        FeatureView(
            name=name,
            entities=[driver],
            ttl=timedelta(days=1),
            source=source,
            schema=[
                Field(name="driver_id", dtype=Int64),
                *(Field(name=f"f{place}", dtype=kinds[place % 4]) for place in range(width)),
            ],
        )
        for name in ("wide", "second")
    ]
    store.apply([driver, *views])
    return store


def wide_batch(width: int, rows: int, first: int = 0, text: int = 20) -> pa.Table:
    """Rows of such a view; `text` is the length of the longest string."""
    drivers = range(first, first + rows)
    make: list[Callable[[int], Any]] = [
        lambda driver: driver / 7,
        lambda driver: None if driver % 5 == 0 else driver * 1_000_003,
        lambda driver: "é" * (driver % (text // 2 + 1)),
        lambda driver: driver / 3,
    ]
    types = [pa.float64(), pa.int64(), pa.string(), pa.float32()]
    columns: dict[str, Any] = {
        "driver_id": pa.array(drivers, pa.int64()),
        "ts": pa.array([1_700_000_000 + driver for driver in drivers], pa.timestamp("s")),
    }
    for place in range(width):
        cells = [make[place % 4](driver + place) for driver in drivers]
        columns[f"f{place}"] = pa.array(cells, types[place % 4])
    return pa.table(columns)
