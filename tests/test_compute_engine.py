"""The streaming engine as Feast and its users call it: settings, progress, reports, failures."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import shlex
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import redis
from fastapi.testclient import TestClient
from feast import FeatureStore
from feast.feature_server import get_app
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.common.retrieval_task import HistoricalRetrievalTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.types import Float64
from tqdm import tqdm

import feast_rs
from tests.support.repositories import (
    DAY,
    DRIVER,
    ENGINE,
    drivers,
    hashes,
    parquet,
    view,
)
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import NOON

ROWS, DRIVERS = 1000, 150
RANGE = (NOON - DAY, NOON + DAY)


def prepared(
    directory: Path,
    address: str,
    engine: Any = ENGINE,
    kind: str = OURS,
    names: tuple[str, ...] = ("stats",),
    **settings: Any,
) -> FeatureStore:
    """A store with views of one file of `ROWS` rows, none materialized."""
    path = parquet(directory / "a.parquet", drivers(DRIVERS, ROWS))
    more = {} if engine is None else {"batch_engine": engine}
    store = feature_store(kind, directory, address, **more, **settings)
    store.apply([DRIVER, *(view(name, path, ttl=timedelta(days=10_000)) for name in names)])
    return store


@pytest.fixture
def store(tmp_path: Path, server: RedisServer) -> FeatureStore:
    """A store whose engine is the streaming one."""
    return prepared(tmp_path, server.address)


def engine_of(store: FeatureStore) -> Any:
    return store._get_provider().batch_engine


# Settings


def test_the_section_in_each_form(tmp_path: Path, server: RedisServer) -> None:
    text = prepared(tmp_path / "a", server.address)
    assert type(engine_of(text)) is feast_rs.StreamingComputeEngine
    assert engine_of(text).settings == feast_rs.StreamingComputeEngineConfig()
    whole_name = {"type": "feast_rs.compute_engine.StreamingComputeEngine"}
    named = prepared(tmp_path / "c", server.address, whole_name)
    assert type(engine_of(named)) is feast_rs.StreamingComputeEngine
    assert isinstance(named.config.batch_engine, feast_rs.StreamingComputeEngineConfig)
    section = {"type": ENGINE, "progress": "off", "batch_rows": 100, "latest_memory_mb": 1}
    listed = prepared(tmp_path / "b", server.address, {**section, "log_seconds": 5})
    settings = engine_of(listed).settings
    assert (settings.progress, settings.batch_rows, settings.latest_memory_mb) == ("off", 100, 1)
    assert settings.log_seconds == 5
    # As YAML has `on` and `off` without quotes.
    switches = [feast_rs.StreamingComputeEngineConfig(progress=switch) for switch in (True, False)]
    assert [switch.progress for switch in switches] == ["on", "off"]
    assert isinstance(listed.config.batch_engine, feast_rs.StreamingComputeEngineConfig)
    assert listed.config.batch_engine == settings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"batch_row": 1}, "batch_row: Extra inputs"),
        ({"batch_rows": 0}, "batch_rows: Input should be greater"),
        ({"progress": "loud"}, "progress: Input should be"),
    ],
)
def test_settings_that_cannot_be_used(
    tmp_path: Path, server: RedisServer, setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(feast_rs.ConfigError, match=f"batch_engine: {message}"):
        prepared(tmp_path, server.address, {"type": ENGINE, **setting})


def test_more_entities_than_memory(
    tmp_path: Path, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The keys are read more than once, and each entity's latest row is written."""
    count = 200_000
    numbers = pa.array(range(2 * count))
    table = pa.table(
        {
            "driver_id": pa.array([at % count for at in range(2 * count)]),
            "rate": pc.cast(numbers, pa.float64()),
            "ts": pa.array([NOON] * (2 * count), pa.timestamp("us", "UTC")),
        }
    )
    path = parquet(tmp_path / "many.parquet", table, 100_000)
    settings = {"type": ENGINE, "latest_memory_mb": 1, "log_seconds": 1e-9}
    store = feature_store(OURS, tmp_path, server.address, batch_engine=settings)
    store.apply([DRIVER, view("stats", path, features={"rate": Float64})])
    with caplog.at_level(logging.INFO, logger="feast_rs.materialization"):
        report = feast_rs.materialize(store, *RANGE)["stats"]
    assert (report.rows_read, report.rows_superseded) == (2 * count, count)
    assert (report.rows_written, report.rows_skipped) == (count, 0)
    scans = [int(line["rows_scanned"]) for line in lines(caplog) if line["step"] == "scan"]
    assert scans.count(2 * count) > 1
    read = store.get_online_features(["stats:rate"], {"driver_id": [0, 1, count - 1, count]})
    assert read.to_dict()["rate"] == [count, count + 1, 2 * count - 1, None]


@pytest.mark.parametrize("rows", [1, 7, 100_000])
def test_batches_of_any_size(tmp_path: Path, server: RedisServer, rows: int) -> None:
    store = prepared(tmp_path, server.address, {"type": ENGINE, "batch_rows": rows})
    assert feast_rs.materialize(store, *RANGE)["stats"].rows_written == DRIVERS


def test_another_online_store_is_left_to_the_local_engine(
    tmp_path: Path, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = prepared(tmp_path, server.address, kind=STOCK)
    store.materialize(*RANGE)
    assert len(hashes(store)) == DRIVERS
    assert "left to Feast's local engine" in caplog.text
    with pytest.raises(feast_rs.ConfigError, match=r"online_store\.type"):
        feast_rs.materialize(store, *RANGE)


# Reports


def test_the_report_of_a_view(store: FeatureStore, server: RedisServer) -> None:
    report = feast_rs.materialize(store, *RANGE)["stats"]
    assert report.view == "stats"
    assert report.engine == "streaming"
    assert (report.start, report.end) == RANGE
    assert report.rows_read == ROWS
    assert report.rows_superseded == ROWS - DRIVERS
    assert (report.rows_written, report.rows_skipped, report.rows_failed) == (DRIVERS, 0, 0)
    assert report.bytes_sent > 0
    assert 0 < report.seconds < 60
    assert report.newest_event_timestamp == NOON + timedelta(seconds=ROWS - 1)
    assert report.error is None
    assert len(hashes(store)) == DRIVERS


def test_rows_that_are_not_newer_are_counted_as_skipped(store: FeatureStore) -> None:
    feast_rs.materialize(store, *RANGE)
    again = feast_rs.materialize(store, *RANGE)["stats"]
    assert (again.rows_read, again.rows_superseded) == (ROWS, ROWS - DRIVERS)
    assert (again.rows_written, again.rows_skipped, again.rows_failed) == (0, DRIVERS, 0)


def test_reports_are_json_and_pickle(store: FeatureStore) -> None:
    reports = feast_rs.materialize(store, *RANGE)
    told = json.loads(json.dumps(reports.to_dict()))
    assert told["stats"]["rows_written"] == DRIVERS
    assert told["stats"]["start"] == "2024-05-16T12:00:00+00:00"
    newest = NOON + timedelta(seconds=ROWS - 1)
    assert told["stats"]["newest_event_timestamp"] == newest.isoformat()
    assert dict(pickle.loads(pickle.dumps(reports))) == dict(reports)
    assert repr(reports).startswith("MaterializationReport([ViewReport(view='stats'")


def test_a_range_without_rows(store: FeatureStore) -> None:
    report = feast_rs.materialize(store, NOON - 3 * DAY, NOON - 2 * DAY)["stats"]
    assert (report.rows_read, report.rows_written) == (0, 0)
    assert report.newest_event_timestamp is None


def test_views_are_chosen_by_name(tmp_path: Path, server: RedisServer) -> None:
    store = prepared(tmp_path, server.address, names=("one", "two", "three"))
    assert list(feast_rs.materialize(store, *RANGE, ["three", "one"])) == ["three", "one"]
    assert set(feast_rs.materialize(store, *RANGE)) == {"one", "two", "three"}
    assert len(feast_rs.materialize(store, *RANGE, [])) == 0
    with pytest.raises(feast_rs.ArgumentError, match="list of names"):
        feast_rs.materialize(store, *RANGE, "one")
    with pytest.raises(Exception, match="four") as raised:
        feast_rs.materialize(store, *RANGE, ["four"])
    assert not isinstance(raised.value, feast_rs.FeastRsError)


def test_reports_of_several_threads_are_kept_apart(tmp_path: Path, server: RedisServer) -> None:
    names = ("one", "two", "three")
    stores = [prepared(tmp_path / name, server.address, names=names) for name in names]
    seen: dict[str, list[str]] = {}

    def work(store: FeatureStore, name: str) -> None:
        seen[name] = list(feast_rs.materialize(store, *RANGE, [name]))

    threads = [
        threading.Thread(target=work, args=(store, name))
        for store, name in zip(stores, names, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {name: [name] for name in names}


def test_a_store_with_another_engine_keeps_it(tmp_path: Path, server: RedisServer) -> None:
    store = prepared(tmp_path, server.address, engine=None)
    reports = feast_rs.materialize(store, *RANGE)
    assert reports["stats"].rows_superseded == ROWS - DRIVERS
    assert type(engine_of(store)) is LocalComputeEngine
    intervals = store.get_feature_view("stats").materialization_intervals
    assert intervals == [RANGE]
    # One whose registry was not looked at yet.
    fresh = FeatureStore(config=store.config)
    later = (RANGE[1], RANGE[1] + DAY)
    feast_rs.materialize(fresh, *later)
    assert fresh.get_feature_view("stats").materialization_intervals == [RANGE, later]


# Marks and failures


def test_the_mark_of_an_incremental_run_moves(store: FeatureStore) -> None:
    middle = NOON + timedelta(seconds=ROWS // 2)
    first = feast_rs.materialize_incremental(store, middle)["stats"]
    assert store.get_feature_view("stats").most_recent_end_time == middle
    second = feast_rs.materialize_incremental(store, NOON + DAY, ["stats"])["stats"]
    assert second.start == middle
    # A row at the mark is read twice, and written once.
    assert first.rows_read + second.rows_read == ROWS + 1
    assert second.rows_failed == 0
    assert store.get_feature_view("stats").most_recent_end_time == NOON + DAY


def test_the_mark_stays_when_redis_refuses(
    tmp_path: Path, own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = prepared(tmp_path, own_server.address, names=("first", "second"))
    client = redis.Redis(port=own_server.port)
    before = feast_rs.materialize(store, *RANGE, ["first"])
    client.config_set("maxmemory", 1)
    with pytest.raises(feast_rs.MaterializationError, match="feature view second failed") as raised:
        feast_rs.materialize_incremental(store, NOON + 2 * DAY, ["second"])
    error = raised.value
    assert isinstance(error.__cause__, feast_rs.ServerError)
    assert "OOM" in str(error)
    report = error.reports["second"]
    assert (report.rows_written, report.rows_skipped) == (0, 0)
    assert report.rows_failed > 0
    assert report.error is not None
    assert "OOM" in report.error
    json.dumps(error.reports.to_dict())
    assert dict(pickle.loads(pickle.dumps(error)).reports) == dict(error.reports)
    assert store.get_feature_view("second").materialization_intervals == []
    assert "step=failed" in caplog.text
    # Through Feast's own method it is Redis' error, as with any engine.
    with pytest.raises(feast_rs.ServerError, match="OOM"):
        store.materialize_incremental(NOON + 2 * DAY, ["second"])
    assert store.get_feature_view("second").materialization_intervals == []
    client.config_set("maxmemory", 0)
    again = feast_rs.materialize_incremental(store, NOON + 2 * DAY, ["second"])
    assert again["second"].rows_written == before["first"].rows_written == DRIVERS
    assert store.get_feature_view("second").most_recent_end_time == NOON + 2 * DAY


def test_a_failure_tells_what_was_written_before(tmp_path: Path, server: RedisServer) -> None:
    store = prepared(tmp_path, server.address, names=("good", "bad"))
    broken = parquet(tmp_path / "b.parquet", drivers(DRIVERS, ROWS))
    store.apply([view("bad", broken)])
    broken.write_bytes(b"no Parquet")
    with pytest.raises(feast_rs.MaterializationError, match="feature view bad failed") as raised:
        feast_rs.materialize(store, *RANGE, ["good", "bad"])
    assert isinstance(raised.value.__cause__, feast_rs.SourceError)
    reports = raised.value.reports
    assert list(reports) == ["good", "bad"]
    assert (reports["good"].rows_written, reports["good"].error) == (DRIVERS, None)
    assert (reports["bad"].rows_written, reports["bad"].rows_read) == (0, 0)
    assert store.get_feature_view("good").materialization_intervals == [RANGE]
    assert store.get_feature_view("bad").materialization_intervals == []


def test_the_servers_end_is_an_error(tmp_path: Path, own_server: RedisServer) -> None:
    store = prepared(tmp_path, own_server.address, {"type": ENGINE, "retry_seconds": 0})
    feast_rs.materialize(store, *RANGE)
    own_server.kill()
    with pytest.raises(feast_rs.MaterializationError) as raised:
        feast_rs.materialize(store, NOON, NOON + DAY)
    assert isinstance(raised.value.__cause__, feast_rs.ConnectionError)
    assert own_server.address.rpartition(":")[2] in str(raised.value)


def test_files_that_change_while_they_are_read(
    tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row more or less, between the scan for the latest rows and the one that writes."""
    store = prepared(tmp_path, server.address)
    scan = feast_rs.parquet_files.ParquetFiles._scan_file
    scans = 0
    for change in (-1, 1):
        scans = 0

        def changing(*arguments: Any, change: int = change) -> Any:
            nonlocal scans
            scans += 1
            for batch in scan(*arguments):
                if scans == 2 and change < 0:
                    batch = batch.slice(1)
                yield batch
                if scans == 2 and change > 0:
                    yield batch.slice(0, 1)

        monkeypatch.setattr(feast_rs.parquet_files.ParquetFiles, "_scan_file", changing)
        with pytest.raises(feast_rs.SourceError, match="changed while they were read"):
            store.materialize(*RANGE)


class Interrupting(tqdm):  # type: ignore[type-arg]
    """A bar under which somebody presses Ctrl-C."""

    monitor_interval = 0

    def update(self, n: float | None = 1) -> bool | None:
        raise KeyboardInterrupt


def test_an_interrupt_ends_the_run(
    tmp_path: Path, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = prepared(tmp_path, server.address, {"type": ENGINE, "progress": "on"})
    threads = set(threading.enumerate())
    task = MaterializationTask(
        project=store.project,
        feature_view=store.get_feature_view("stats"),
        start_time=RANGE[0],
        end_time=RANGE[1],
        only_latest=False,
        tqdm_builder=lambda total: Interrupting(total=total, file=io.StringIO()),
    )
    with pytest.raises(KeyboardInterrupt):
        engine_of(store).materialize(store.registry, task)
    assert set(threading.enumerate()) <= threads
    assert "step=failed" in caplog.text


def test_a_task_for_all_rows(store: FeatureStore) -> None:
    """Feast's ``only_latest=False``: every row is sent, and Redis' newest stays."""
    task = MaterializationTask(
        project=store.project,
        feature_view=store.get_feature_view("stats"),
        start_time=RANGE[0],
        end_time=RANGE[1],
        only_latest=False,
    )
    (job,) = engine_of(store).materialize(store.registry, [task])
    assert job.status() == MaterializationJobStatus.SUCCEEDED
    assert (job.error(), job.should_be_retried(), job.url()) == (None, False, None)
    assert job.job_id().startswith("stats-2024-05-16")
    all_rows = hashes(store)
    redis.Redis.from_url(f"redis://{store.config.online_store.connection_string}").flushall()
    store.materialize(*RANGE)
    assert hashes(store) == all_rows


# Progress


class Terminal(io.StringIO):
    """Standard error, as a terminal has it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("progress", "terminal", "shown"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("on", False, True),
        ("off", True, False),
    ],
)
def test_the_progress_bar(
    tmp_path: Path,
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    progress: str,
    terminal: bool,
    shown: bool,
) -> None:
    store = prepared(tmp_path, server.address, {"type": ENGINE, "progress": progress})
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    store.materialize(*RANGE)
    text = screen.getvalue()
    if not shown:
        assert text == ""
        return
    assert "keys: 100%" in text
    assert "1.00k/1.00k" in text
    last = text.rstrip().rpartition("\r")[2]
    assert last.startswith("rows: 100%")
    assert "150/150" in last
    assert "row/s, " in last
    assert "B, lag " in last


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    """The structured log lines."""
    found = []
    for record in caplog.records:
        if record.name == "feast_rs.materialization":
            words = shlex.split(record.getMessage())
            assert words[0] == "materialization"
            found.append(dict(word.split("=", 1) for word in words[1:]))
    return found


def test_the_last_log_line(store: FeatureStore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="feast_rs.materialization"):
        store.materialize(*RANGE)
    (line,) = lines(caplog)
    lag = int(line.pop("lag_seconds"))
    newest = NOON + timedelta(seconds=ROWS - 1)
    assert abs((datetime.now(timezone.utc) - newest).total_seconds() - lag) < 60
    assert float(line.pop("seconds")) > 0
    assert int(line.pop("rows_per_second")) > 0
    assert int(line.pop("bytes_sent")) > 0
    assert line == {
        "view": "stats",
        "step": "done",
        "engine": "streaming",
        "rows_read": "1000",
        "rows_superseded": "850",
        "rows_written": "150",
        "rows_skipped": "0",
        "rows_failed": "0",
    }


def test_log_lines_on_the_way(
    tmp_path: Path, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = prepared(
        tmp_path, server.address, {"type": ENGINE, "batch_rows": 10, "log_seconds": 1e-9}
    )
    with caplog.at_level(logging.INFO, logger="feast_rs.materialization"):
        store.materialize(*RANGE)
    scans, writes, (_,) = (
        [line for line in lines(caplog) if line["step"] == step]
        for step in ("scan", "write", "done")
    )
    assert [int(line["rows_scanned"]) for line in scans] == list(range(10, ROWS + 1, 10))
    acknowledged = [int(line["rows_written"]) for line in writes]
    assert acknowledged == sorted(acknowledged)
    assert all(line["view"] == "stats" for line in [*scans, *writes])
    caplog.clear()
    quiet = prepared(tmp_path / "b", server.address, {"type": ENGINE, "log_seconds": 0})
    with caplog.at_level(logging.INFO, logger="feast_rs.materialization"):
        quiet.materialize(*RANGE)
    assert [line["step"] for line in lines(caplog)] == ["done"]


# The other ways in


def test_historical_features_are_the_local_engines(store: FeatureStore) -> None:
    engine = engine_of(store)
    local = LocalComputeEngine(
        repo_config=store.config,
        offline_store=engine.offline_store,
        online_store=engine.online_store,
    )
    task = HistoricalRetrievalTask(
        project=store.project,
        entity_df=pd.DataFrame(
            {
                "driver_id": [1, 2, 3, 10**6],
                "event_timestamp": [NOON + timedelta(seconds=at) for at in (900, 100, 5000, 0)],
            }
        ),
        feature_view=store.get_feature_view("stats"),
        full_feature_name=False,
        registry=store.registry,
    )
    ours, stock = (
        one.get_historical_features(store.registry, task).to_df() for one in (engine, local)
    )
    assert len(stock) > 0
    pd.testing.assert_frame_equal(ours, stock)


def test_the_command_line(tmp_path: Path, server: RedisServer) -> None:
    """``feast materialize`` and ``materialize-incremental``, in a process of their own."""
    path = parquet(tmp_path / "a.parquet", drivers(DRIVERS, ROWS))
    (tmp_path / "feature_store.yaml").write_text(
        f"""
project: proj
provider: local
registry: {tmp_path}/registry.db
entity_key_serialization_version: 3
online_store:
  type: {OURS}
  connection_string: {server.address}
offline_store:
  type: file
batch_engine:
  type: {ENGINE}
  progress: "on"
"""
    )
    (tmp_path / "definitions.py").write_text(
        f"""
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
stats = FeatureView(
    name="stats",
    entities=[driver],
    ttl=timedelta(days=10_000),
    schema=[Field(name="driver_id", dtype=Int64), Field(name="rate", dtype=Float64)],
    source=FileSource(name="source", path={str(path)!r}, timestamp_field="ts"),
)
"""
    )
    feast = [sys.executable, "-W", "ignore", "-m", "feast.cli.cli"]
    texts = []
    for arguments in (
        ["apply"],
        ["materialize", "2024-05-16T00:00:00", "2024-05-17T12:00:10"],
        ["materialize-incremental", "2024-05-18T00:00:00"],
    ):
        done = subprocess.run(
            [*feast, *arguments],
            cwd=tmp_path,
            env={**os.environ, "FEAST_USAGE": "False", "IS_TEST": "True"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        texts.append(done.stderr)
    assert "rows: 100%" in texts[1]
    assert "11.0/11.0" in texts[1]
    assert "150/150" in texts[2]
    assert len(list(redis.Redis(port=server.port).scan_iter())) == DRIVERS


def test_the_feature_server(store: FeatureStore) -> None:
    with TestClient(get_app(store)) as client:
        answer = client.post(
            "/materialize",
            json={
                "start_ts": RANGE[0].isoformat(),
                "end_ts": RANGE[1].isoformat(),
                "feature_views": ["stats"],
            },
        )
        assert answer.status_code == 200
        assert len(hashes(store)) == DRIVERS
        later = {"end_ts": (NOON + 2 * DAY).isoformat(), "feature_views": ["stats"]}
        assert client.post("/materialize-incremental", json=later).status_code == 200
    store.refresh_registry()
    assert store.get_feature_view("stats").most_recent_end_time == NOON + 2 * DAY
