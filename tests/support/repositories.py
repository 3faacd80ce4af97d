"""Stock Feast and feast-rs, each with a repository of its own over the same files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String

from tests.support.rows import client_of
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import NOON

ENGINE = "feast_rs.StreamingComputeEngine"
# Alike in length, so that a key of one is never a key of the other.
STOCKS, OURS_PROJECT = "project_a", "project_b"
DAY = timedelta(days=1)

Hashes = dict[bytes, dict[bytes, bytes]]

DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
CUSTOMER = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
KEYS = {
    "driver_id": Field(name="driver_id", dtype=Int64),
    "customer_id": Field(name="customer_id", dtype=String),
}
FEATURES = {"rate": Float64, "trips": Int64, "city": String}


def hashes(store: FeatureStore) -> Hashes:
    """The fields of the project's entity keys."""
    client, suffix = client_of(store), store.project.encode()
    return {
        key.removesuffix(suffix): client.hgetall(key)
        for key in client.scan_iter()
        if key.endswith(suffix)
    }


def view(
    name: str,
    path: Path | str,
    entities: Sequence[Entity] = (DRIVER,),
    features: dict[str, Any] | None = None,
    kind: Callable[..., FeatureView] = FeatureView,
    source: dict[str, Any] | None = None,
    wrap: Callable[[FileSource], Any] = lambda source: source,
    **options: Any,
) -> FeatureView:
    """A view of the driver's features, or others, in a Parquet file."""
    features = FEATURES if features is None else features
    options.setdefault("ttl", timedelta(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(
            name=name,
            entities=list(entities),
            schema=[KEYS[entity.join_key] for entity in entities]
            + [Field(name=feature, dtype=dtype) for feature, dtype in features.items()],
            source=wrap(
                FileSource(
                    name=f"{name}_source",
                    path=str(path),
                    **{"timestamp_field": "ts", **(source or {})},
                )
            ),
            **options,
        )


def drivers(count: int, rows: int, first: datetime = NOON) -> pa.Table:
    """Rows of drivers in no order of time, a second apart; nulls among the features."""
    numbers = range(rows)
    return pa.table(
        {
            "driver_id": pa.array([(at * 7919) % count for at in numbers], pa.int64()),
            "rate": pa.array([None if at % 11 == 0 else at / 8 for at in numbers]),
            "trips": pa.array([None if at % 13 == 0 else at for at in numbers], pa.int64()),
            "city": pa.array([None if at % 5 == 0 else f"city {at % 17}" for at in numbers]),
            "ts": pa.array(
                [first + timedelta(seconds=(at * 104_729) % rows) for at in numbers],
                pa.timestamp("us", "UTC"),
            ),
        }
    )


def parquet(path: Path, table: pa.Table, rows_of_group: int = 100) -> Path:
    """The table as a Parquet file of several row groups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows_of_group)
    return path


class Repositories:
    """Stock Feast with its local engine, and feast-rs with the streaming one."""

    def __init__(
        self,
        directory: Path,
        address: str,
        define: Callable[[], Sequence[Any]],
        engine: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        kinds = [
            (STOCK, STOCKS, settings),
            (
                OURS,
                OURS_PROJECT,
                {
                    **settings,
                    "batch_engine": {"type": ENGINE, "batch_rows": 64, **(engine or {})},
                },
            ),
        ]
        stores = []
        for kind, project, more in kinds:
            place = directory / project
            place.mkdir(parents=True)
            store = feature_store(kind, place, address, project, **more)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                store.apply([DRIVER, CUSTOMER, *define()])
            stores.append(store)
        self.stock, self.ours = stores

    def materialize(
        self,
        start: datetime = NOON - DAY,
        end: datetime = NOON + DAY,
        views: list[str] | None = None,
        **options: Any,
    ) -> Hashes:
        """Materializes with both; what feast-rs stored, which is what stock stored."""
        for store in (self.stock, self.ours):
            store.materialize(start, end, views, **options)
        return self.same()

    def same(self) -> Hashes:
        """What both have stored."""
        stock, ours = hashes(self.stock), hashes(self.ours)
        assert stock.keys() == ours.keys()
        assert stock == ours
        return ours
