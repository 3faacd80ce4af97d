"""Feast's Spark engine on a local Spark: the store inside Spark's Python workers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureStore
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource
from pyspark.errors import PythonException
from pyspark.sql import SparkSession

from tests.distributed.rides import (
    END,
    PASSWORD,
    START,
    Contents,
    connections,
    contents,
    feature_store,
    online_store,
)
from tests.support.server import RedisServer

SPARK = {
    "spark.master": "local[2]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # For its latest rows Feast gives Spark the ends of the time range as UTC without saying so.
    "spark.sql.session.timeZone": "UTC",
    # Few rows, yet several tasks: one for each row group, and some after a shuffle.
    "spark.sql.files.maxPartitionBytes": "32k",
    "spark.sql.shuffle.partitions": "4",
    "spark.sql.adaptive.enabled": "false",
}


@pytest.fixture(scope="module", autouse=True)
def spark() -> Iterator[None]:
    """A session for Feast to find. Of its own sections, Feast 0.67's engine ignores `spark_conf`
    when it makes one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = SparkSession.builder.config(map=SPARK).getOrCreate()
        yield
        session.stop()


def store_on(directory: Path, online: Mapping[str, Any], **sections: Any) -> FeatureStore:
    """A store that Spark materializes from Spark's own source."""
    return feature_store(
        directory,
        lambda path: SparkSource(
            name=path.stem, path=str(path), file_format="parquet", timestamp_field="ts"
        ),
        online,
        offline_store={"type": "spark"},
        batch_engine={"type": "spark.engine"},
        **sections,
    )


@pytest.mark.parametrize("latest", [True, False], ids=["latest rows", "all rows"])
def test_workers_write_what_stock_writes(
    rides: Path, by_stock: Contents, guarded_server: RedisServer, latest: bool
) -> None:
    """Each entity's latest row; or all of its rows, from tasks that race, of which Redis keeps the
    newest."""
    store = store_on(
        rides,
        online_store(guarded_server, guarded=True, atomic_writes=not latest),
        materialization_config={"pull_latest_features": latest},
    )
    before = connections(guarded_server, PASSWORD)
    store.materialize(START, END)
    assert connections(guarded_server, PASSWORD) - before > 8
    assert not store._get_provider().online_store._clients, "the driver wrote"
    assert contents(guarded_server, PASSWORD) == by_stock


def test_a_refused_row_fails_the_call(rides: Path, full_server: RedisServer) -> None:
    store = store_on(rides, online_store(full_server))
    with pytest.raises(PythonException) as raised:
        store.materialize(START, END, feature_views=["driver_stats"])
    message = str(raised.value)
    assert "feast_rs.errors.ServerError" in message
    assert "driver_stats" in message
    assert "OOM" in message
    assert not store.get_feature_view("driver_stats").materialization_intervals
