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
    address_of,
    connections,
    contents,
    feature_store,
)
from tests.support.server import RedisServer

TASKS = 4
SPARK = {
    "spark.master": "local[2]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # The rows' times are instants, whatever zone the cluster shows them in.
    "spark.sql.session.timeZone": "America/New_York",
    # As many tasks of a view as are asked for, however few its rows.
    "spark.sql.shuffle.partitions": str(TASKS),
    "spark.sql.adaptive.coalescePartitions.enabled": "false",
}


@pytest.fixture(scope="module", autouse=True)
def spark() -> Iterator[None]:
    """Spark's workers run the Python of the tests; the session ends with them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        yield
        session = SparkSession.getActiveSession()
        if session is not None:
            session.stop()


def store_on(directory: Path, online_store: Mapping[str, Any], **sections: Any) -> FeatureStore:
    """A store that Spark materializes from Spark's own source."""
    return feature_store(
        directory,
        lambda path: SparkSource(
            name=path.stem, path=str(path), file_format="parquet", timestamp_field="ts"
        ),
        online_store,
        offline_store={"type": "spark", "spark_conf": SPARK},
        batch_engine={"type": "spark.engine", "spark_conf": SPARK},
        **sections,
    )


@pytest.mark.parametrize("latest", [True, False], ids=["latest rows", "all rows"])
def test_workers_write_what_stock_writes(
    rides: Path, by_stock: Contents, guarded_server: RedisServer, latest: bool
) -> None:
    """Each entity's latest row, from several tasks; or all rows, of which the store keeps the
    newest."""
    store = store_on(
        rides,
        address_of(guarded_server, guarded=True),
        materialization_config={"pull_latest_features": latest},
    )
    before = connections(guarded_server, PASSWORD)
    store.materialize(START, END)
    assert connections(guarded_server, PASSWORD) - before > (2 * TASKS if latest else 2)
    assert not store._get_provider().online_store._clients, "the driver wrote"
    assert contents(guarded_server, PASSWORD) == by_stock


def test_a_refused_row_fails_the_call(rides: Path, full_server: RedisServer) -> None:
    store = store_on(rides, address_of(full_server))
    with pytest.raises(PythonException) as raised:
        store.materialize(START, END, feature_views=["driver_stats"])
    message = str(raised.value)
    assert "feast_rs.errors.ServerError" in message
    assert "driver_stats" in message
    assert "OOM" in message
    assert not store.get_feature_view("driver_stats").materialization_intervals
