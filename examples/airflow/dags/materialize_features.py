"""Materializes each hour's features, with a task for each feature view.

A task succeeds when Redis has acknowledged every row of the hour and some of them were read back.
It returns its report, as XCom.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import CronDataIntervalTimetable, dag, get_current_context, task

if TYPE_CHECKING:
    from feast import FeatureStore

    from feast_rs import ViewReport

REPOSITORY = os.environ.get("FEATURE_REPO", str(Path(__file__).parents[1] / "feature_repo"))
# Written out, since the scheduler reads this file every few seconds, and Feast's registry need not
# be asked each time.
VIEWS = ["driver_stats", "zone_demand"]
SAMPLE = 20


@dag(
    # Its runs have an interval of time, on any configuration of Airflow.
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime(2024, 5, 17, tzinfo=timezone.utc),
    catchup=False,
    # Feast's file registry is written whole: tasks at the same time would undo each other's marks.
    # With a SQL registry this line can go.
    max_active_tasks=1,
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=1),
        "execution_timeout": timedelta(minutes=30),
    },
)
def materialize_features() -> None:
    """One task for each feature view."""
    for view in VIEWS:
        materialize.override(task_id=f"materialize_{view}")(view)


@task
def materialize(view: str) -> dict[str, Any]:
    """Materializes the run's interval of a feature view, verifies it and returns the report."""
    # Imported here, where the task runs, and not by the scheduler.
    from feast import FeatureStore

    import feast_rs

    context = get_current_context()
    store = FeatureStore(REPOSITORY)
    reports = feast_rs.materialize(
        store, context["data_interval_start"], context["data_interval_end"], views=[view]
    )
    report = reports[view]
    verify(store, report)
    return report.to_dict()


def verify(store: FeatureStore, report: ViewReport) -> None:
    """Fails unless there were rows, all arrived, and a sample of them can be read.

    Raises:
        ValueError: What is wrong, with the view's name.
    """
    if report.rows_read == 0:
        raise ValueError(f"{report.view} has no rows from {report.start} to {report.end}")
    arrived = report.rows_superseded + report.rows_written + report.rows_skipped
    if report.rows_failed or arrived != report.rows_read:
        raise ValueError(f"{report.view}: {arrived} of {report.rows_read} rows arrived")
    view = store.get_feature_view(report.view)
    feature = view.features[0].name
    rows, times = sample(view.batch_source, view.join_keys, report.start, report.end)
    answer = store.get_online_features([f"{report.view}:{feature}"], rows)
    stored = answer.to_dict(include_event_timestamps=True)[f"{feature}__ts"]
    for row, time, seconds in zip(rows, times, stored, strict=True):
        if seconds < int(time.timestamp()):
            raise ValueError(f"{report.view}: {row} has a row of {time}, which Redis lacks")


def sample(
    source: Any, join_keys: list[str], start: datetime, end: datetime
) -> tuple[list[dict[str, Any]], list[datetime]]:
    """Some entities of the interval, and the event timestamp of a row of each."""
    import pyarrow.dataset as ds

    time = ds.field(source.timestamp_field)
    scanner = ds.dataset(source.path).scanner(
        columns=[*join_keys, source.timestamp_field], filter=(time >= start) & (time <= end)
    )
    rows = scanner.head(SAMPLE).to_pylist()
    return rows, [row.pop(source.timestamp_field) for row in rows]


materialize_features()
