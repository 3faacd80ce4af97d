"""The shortest way through everything."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String

from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store


def test_rows_written_by_stock_are_read_and_the_other_way_round(
    server: RedisServer, tmp_path: Path
) -> None:
    stock = feature_store(STOCK, tmp_path, server.address)
    ours = feature_store(OURS, tmp_path, server.address)
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    view = FeatureView(
        name="stats",
        entities=[driver],
        ttl=timedelta(days=1),
        source=FileSource(path=str(tmp_path / "stats.parquet"), timestamp_field="ts"),
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="rate", dtype=Float64),
            Field(name="city", dtype=String),
        ],
    )
    now = datetime.now(timezone.utc)
    rows = pd.DataFrame(
        {"driver_id": [1, 2], "rate": [0.5, None], "city": ["Zürich", ""], "ts": [now, now]}
    )
    rows.to_parquet(tmp_path / "stats.parquet")
    stock.apply([driver, view])
    stock.write_to_online_store("stats", rows)
    rows["driver_id"] += 10
    ours.write_to_online_store("stats", rows)
    features = ["stats:rate", "stats:city"]
    entities = [{"driver_id": driver_id} for driver_id in (12, 1, 3, 2, 11, 1)]
    expected = stock.get_online_features(features, entities)
    answer = ours.get_online_features(features, entities)
    assert answer.to_dict() == expected.to_dict()
    assert answer.proto == expected.proto
    awaited = asyncio.run(ours.get_online_features_async(features, entities))
    assert awaited.to_dict(True) == expected.to_dict(True)
