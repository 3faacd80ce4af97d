"""The tables that are written: what their columns are, and how much of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

START = datetime(2024, 5, 1, tzinfo=timezone.utc)
END = datetime(2024, 5, 31, tzinfo=timezone.utc)
KEY, TIME = "driver_id", "event_timestamp"
_ROW_GROUP = 100_000
_MICROS = pa.timestamp("us", tz="UTC")

Columns = dict[str, Any]
Make = Callable[[np.random.Generator, int], Columns]


@dataclass(frozen=True)
class WriteTable:
    """A view of one entity; `rows` of it are materialized, of stock's only `stock_rows`."""

    name: str
    features: Mapping[str, Any]
    make: Make
    rows: int
    stock_rows: int

    def batch(self, start: int, rows: int, hours: int = 0) -> pa.Table:
        """Rows of the entities from `start` on; the same each time. `hours` later each entity has
        other features."""
        random = np.random.default_rng(start)
        first = int((START + timedelta(hours=hours)).timestamp() * 1e6)
        times = first + random.integers(0, 20 * 86_400 * 1_000_000, rows)
        if hours:
            random = np.random.default_rng([start, hours])
        return pa.table(
            {
                KEY: pa.array(np.arange(start, start + rows)),
                **self.make(random, rows),
                TIME: pa.array(times, _MICROS),
            }
        )

    def write_parquet(self, path: Path, rows: int, hours: int = 0) -> None:
        """A Parquet file of that many rows, in row groups of 100,000."""
        with pq.ParquetWriter(path, self.batch(0, 1).schema) as writer:
            for start in range(0, rows, _ROW_GROUP):
                writer.write_table(self.batch(start, min(_ROW_GROUP, rows - start), hours))


def _words(random: np.random.Generator, rows: int, prefix: str, count: int) -> pa.Array:
    numbers = pc.cast(pa.array(random.integers(0, count, rows)), pa.string())
    return pc.binary_join_element_wise(prefix, numbers, "")


def _mixed(random: np.random.Generator, rows: int) -> Columns:
    return {
        "rate": random.random(rows),
        "balance": random.normal(0, 1000, rows),
        "score": random.random(rows).astype("f4"),
        "total": random.integers(0, 1 << 40, rows),
        "trips": random.integers(0, 100, rows),
        "level": random.integers(0, 1000, rows).astype("i4"),
        "active": pa.array(random.random(rows) < 0.5),
        "city": _words(random, rows, "city_", 1000),
        "device": _words(random, rows, "device-", 1 << 40),
        "since": pa.array(random.integers(1_600_000_000, 1_700_000_000, rows) * 1_000_000, _MICROS),
    }


def _embedding(random: np.random.Generator, rows: int) -> Columns:
    values = pa.array(random.random(rows * 768).astype("f4"))
    return {
        "embedding": pa.FixedSizeListArray.from_arrays(values, 768).cast(pa.list_(pa.float32()))
    }


def _strings(random: np.random.Generator, rows: int) -> Columns:
    return {
        f"text_{i}": _words(random, rows, "a text that is not short, ", 1 << 50) for i in range(10)
    }


def _wide(random: np.random.Generator, rows: int) -> Columns:
    return {f"feature_{i}": random.random(rows) for i in range(300)}


MIXED = WriteTable(
    "10 mixed features",
    {
        "rate": Float64,
        "balance": Float64,
        "score": Float32,
        "total": Int64,
        "trips": Int64,
        "level": Int32,
        "active": Bool,
        "city": String,
        "device": String,
        "since": UnixTimestamp,
    },
    _mixed,
    600_000,
    600_000,
)
OTHERS = (
    WriteTable(
        "an embedding of 768 floats", {"embedding": Array(Float32)}, _embedding, 40_000, 4000
    ),
    WriteTable(
        "10 strings of 40 characters",
        {f"text_{i}": String for i in range(10)},
        _strings,
        200_000,
        20_000,
    ),
    WriteTable("300 features", {f"feature_{i}": Float64 for i in range(300)}, _wide, 20_000, 2000),
)
