"""Writes the example's data, a day of it: `python generate.py [DIRECTORY]`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

DAY = pd.Timestamp("2024-05-17", tz="UTC")
HOURS = 24
DRIVERS = 200
ZONES = 30
# Rows that a driver has in an hour.
REPORTS = 3


def driver_stats(random: np.random.Generator) -> pd.DataFrame:
    """Several rows of each driver in each hour."""
    rows = HOURS * DRIVERS * REPORTS
    place = np.arange(rows)
    return pd.DataFrame(
        {
            "driver_id": place // REPORTS % DRIVERS,
            "trips": random.integers(0, 50, rows),
            "rating": np.where(random.random(rows) < 0.1, np.nan, random.uniform(1, 5, rows)),
            "last_zone": [f"zone {number}" for number in random.integers(0, ZONES, rows)],
            "event_timestamp": DAY
            + pd.to_timedelta(place // (DRIVERS * REPORTS), unit="h")
            + pd.to_timedelta(1 + place % REPORTS * 20, unit="min"),
        }
    )


def zone_demand(random: np.random.Generator) -> pd.DataFrame:
    """A row of each zone in each hour."""
    rows = HOURS * ZONES
    place = np.arange(rows)
    return pd.DataFrame(
        {
            "zone": [f"zone {number}" for number in place % ZONES],
            "requests": random.integers(0, 300, rows),
            "minutes_waited": random.uniform(1, 15, rows).astype("float32"),
            "event_timestamp": DAY + pd.to_timedelta(place // ZONES * 60 + 30, unit="min"),
        }
    )


def generate(directory: Path) -> None:
    """Writes one Parquet file for each feature view."""
    directory.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(17)
    for table in (driver_stats, zone_demand):
        table(random).to_parquet(directory / f"{table.__name__}.parquet", coerce_timestamps="us")


if __name__ == "__main__":
    generate(
        Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "feature_repo/data")
    )
