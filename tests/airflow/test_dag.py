"""What the tasks do, return and leave in Redis, and when they fail."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import redis
from feast import FeatureStore

from tests.support.server import RedisServer

HOUR = timedelta(hours=1)
FIVE = datetime(2024, 5, 17, 5, tzinfo=timezone.utc)
# The view of each task, and its join key.
TASKS = {
    "materialize_driver_stats": ("driver_stats", "driver_id"),
    "materialize_zone_demand": ("zone_demand", "zone"),
}


@pytest.fixture(scope="module")
def dag(example: Path) -> Any:
    """The DAG, as Airflow finds it in its folder, without waiting between tries."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(example / "dags"))
    assert not bag.import_errors
    found = bag.dags["materialize_features"]
    for task in found.tasks:
        assert (task.retries, task.execution_timeout) == (3, timedelta(minutes=30))
        task.retries, task.retry_delay = 1, timedelta(0)
    return found


@pytest.fixture
def store(example: Path) -> FeatureStore:
    """A service's feature store."""
    return FeatureStore(str(example / "feature_repo"))


def run(dag: Any, until: datetime) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Runs the DAG for the hour before `until`: its state, its tasks' states, and what they
    returned, as JSON."""
    run = dag.test(logical_date=until)
    tasks = {task.task_id: task for task in run.get_task_instances()}
    states = {id: str(task.state) for id, task in tasks.items()}
    returned = {id: task.xcom_pull(task_ids=id) for id, task in tasks.items()}
    return str(run.state), states, json.loads(json.dumps(returned))


def rows_of(example: Path, view: str, until: datetime) -> pd.DataFrame:
    """The view's rows of the hour before `until`, in order of time."""
    rows = pd.read_parquet(example / "feature_repo" / "data" / f"{view}.parquet")
    times = rows["event_timestamp"]
    return rows[(times >= until - HOUR) & (times <= until)].sort_values("event_timestamp")


def assert_readable(store: FeatureStore, view: str, key: str, rows: pd.DataFrame) -> None:
    """Each entity's latest row is what a service reads."""
    latest = rows.drop_duplicates(key, keep="last")
    features = [name for name in latest.columns if name not in (key, "event_timestamp")]
    answer = store.get_online_features(
        [f"{view}:{name}" for name in features], {key: latest[key].tolist()}
    ).to_dict()
    for name in features:
        expected = [None if pd.isna(value) else value for value in latest[name].tolist()]
        assert answer[name] == expected, name


def test_the_tasks_are_the_views(dag: Any, store: FeatureStore) -> None:
    views = {view.name for view in store.list_feature_views()}
    assert {task.task_id for task in dag.tasks} == {f"materialize_{view}" for view in views}


def test_each_view_is_materialized_and_reported(
    dag: Any, example: Path, store: FeatureStore
) -> None:
    state, states, reports = run(dag, FIVE)
    assert (state, states) == ("success", dict.fromkeys(TASKS, "success"))
    for task_id, (view, key) in TASKS.items():
        rows, report = rows_of(example, view, FIVE), reports[task_id]
        assert report["view"] == view
        assert report["rows_read"] == len(rows) > 0
        assert report["rows_written"] == rows[key].nunique()
        assert report["rows_superseded"] == len(rows) - rows[key].nunique()
        assert report["rows_skipped"] == report["rows_failed"] == 0
        assert report["bytes_sent"] > 0 < report["seconds"]
        newest = datetime.fromisoformat(report["newest_event_timestamp"])
        assert newest == rows["event_timestamp"].max()
        assert_readable(store, view, key, rows)


def test_an_hour_again_writes_nothing(dag: Any, example: Path) -> None:
    run(dag, FIVE + HOUR)
    state, _, reports = run(dag, FIVE + HOUR)
    assert state == "success"
    for task_id, (view, key) in TASKS.items():
        entities = rows_of(example, view, FIVE + HOUR)[key].nunique()
        assert reports[task_id]["rows_written"] == 0
        assert reports[task_id]["rows_skipped"] == entities


def test_a_failing_view_fails_its_task(dag: Any, example: Path, store: FeatureStore) -> None:
    data = example / "feature_repo" / "data" / "zone_demand.parquet"
    data.rename(data.with_suffix(".away"))
    state, states, reports = run(dag, FIVE + 2 * HOUR)
    data.with_suffix(".away").rename(data)
    assert state == "failed"
    assert states == {
        "materialize_driver_stats": "success",
        "materialize_zone_demand": "failed",
    }
    assert reports["materialize_driver_stats"]["rows_written"] > 0
    assert reports["materialize_zone_demand"] is None
    marks = store.get_feature_view("zone_demand").materialization_intervals
    assert all(end <= FIVE + HOUR for _, end in marks)


def test_an_hour_without_rows_fails(dag: Any) -> None:
    state, states, _ = run(dag, FIVE + timedelta(days=30))
    assert (state, states) == ("failed", dict.fromkeys(TASKS, "failed"))


def test_a_full_redis_fails_both(dag: Any, rides_server: RedisServer) -> None:
    client = redis.Redis(port=rides_server.port)
    client.config_set("maxmemory", 1)
    state, states, _ = run(dag, FIVE + 3 * HOUR)
    client.config_set("maxmemory", 0)
    assert (state, states) == ("failed", dict.fromkeys(TASKS, "failed"))
