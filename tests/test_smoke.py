"""The shortest way through everything."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store


@pytest.fixture
def stores(server: RedisServer, tmp_path: Path) -> tuple[FeatureStore, FeatureStore]:
    """Stock's and ours, of whose rows each has written half."""
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
    # Earlier releases store no parts of seconds.
    now = datetime.now(timezone.utc).replace(microsecond=0)
    rows = pd.DataFrame(
        {"driver_id": [1, 2], "rate": [0.5, None], "city": ["Zürich", ""], "ts": [now, now]}
    )
    rows.to_parquet(tmp_path / "stats.parquet")

    @on_demand_feature_view(
        sources=[view], schema=[Field(name="twice", dtype=Float64)], mode="pandas"
    )
    def doubled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"twice": inputs["rate"].fillna(-1.0) * 2})

    @on_demand_feature_view(
        sources=[view], schema=[Field(name="shout", dtype=String)], mode="python"
    )
    def shouted(inputs: dict[str, Any]) -> dict[str, Any]:
        loud = [(city or "nowhere").upper() for city in inputs["city"]]
        return {"shout": loud, "shouted__shout": loud}

    stock.apply([driver, view, doubled, shouted])
    stock.write_to_online_store("stats", rows)
    rows["driver_id"] += 10
    ours.write_to_online_store("stats", rows)
    return stock, ours


def test_rows_written_by_stock_are_read_and_the_other_way_round(
    stores: tuple[FeatureStore, FeatureStore],
) -> None:
    stock, ours = stores
    features = ["stats:rate", "stats:city"]
    entities = [{"driver_id": driver_id} for driver_id in (12, 1, 3, 2, 11, 1)]
    expected = stock.get_online_features(features, entities)
    answer = ours.get_online_features(features, entities)
    assert answer.to_dict() == expected.to_dict()
    assert answer.proto == expected.proto
    awaited = asyncio.run(ours.get_online_features_async(features, entities))
    assert awaited.to_dict(True) == expected.to_dict(True)


@pytest.mark.parametrize("full_names", [False, True])
@pytest.mark.parametrize(
    "features",
    [["doubled:twice"], ["shouted:shout", "doubled:twice"], ["doubled:twice", "shouted:shout"]],
    ids=str,
)
def test_on_demand_views(
    stores: tuple[FeatureStore, FeatureStore], features: list[str], full_names: bool
) -> None:
    stock, ours = stores
    entities = {"driver_id": [12, 1, 3, 11]}
    features = [*features, "stats:rate"]
    expected = stock.get_online_features(features, entities, full_feature_names=full_names)
    answer = ours.get_online_features(features, entities, full_feature_names=full_names)
    assert answer.to_dict() == expected.to_dict()
    assert answer.proto == expected.proto
    prefix = "doubled__" if full_names else ""
    assert answer.to_dict()[f"{prefix}twice"] == [-2.0, 1.0, -2.0, 1.0]
