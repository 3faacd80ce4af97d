"""What the streaming engine stores is what stock's local engine stores, byte for byte."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pendulum
import pyarrow as pa
import pytest
from feast import BatchFeatureView, Entity, Field, PushSource, StreamFeatureView, ValueType, utils
from feast.aggregation import Aggregation
from feast.errors import FeastJoinKeysDuringMaterialization
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

import feast_rs
from tests.support.repositories import (
    CUSTOMER,
    DAY,
    DRIVER,
    Repositories,
    drivers,
    hashes,
    parquet,
    view,
)
from tests.support.server import RedisServer
from tests.support.world import NOON

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

Make = Callable[..., Repositories]


@pytest.fixture
def make(tmp_path: Path, server: RedisServer) -> Make:
    """Both repositories with the given views."""

    def made(*define: Callable[[], Any], **options: Any) -> Repositories:
        return Repositories(
            tmp_path / "repositories",
            server.address,
            lambda: [one() for one in define],
            **options,
        )

    return made


def test_the_latest_row_of_each_entity_across_row_groups(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=150, rows=1000))
    both = make(lambda: view("stats", path))
    assert len(both.materialize()) == 150


def test_running_again_changes_nothing(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=20, rows=100))
    both = make(lambda: view("stats", path))
    first = both.materialize()
    assert both.materialize() == first


@pytest.mark.parametrize("pattern", ["", "*.parquet", "part-[12]*"])
def test_several_files(make: Make, tmp_path: Path, pattern: str) -> None:
    table = drivers(count=50, rows=400)
    for number in range(4):
        parquet(tmp_path / "files" / f"part-{number}.parquet", table.slice(number * 100, 100), 30)
    (tmp_path / "files" / "_SUCCESS").touch()
    (tmp_path / "files" / "notes.txt").write_text("not Parquet")
    path = tmp_path / "files" / pattern if pattern else tmp_path / "files"
    both = make(lambda: view("stats", path))
    assert len(both.materialize()) == 50


def test_directories_named_by_a_column(make: Make, tmp_path: Path) -> None:
    for number, city in enumerate(("Bern", "Genf")):
        table = drivers(count=30, rows=60, first=NOON + timedelta(seconds=30 * number))
        parquet(tmp_path / "files" / f"city={city}" / "a.parquet", table.drop_columns("city"))
    both = make(lambda: view("stats", tmp_path / "files"))
    assert len(both.materialize()) == 30


def test_a_relative_path_is_of_the_repository(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet(tmp_path / "data" / "a.parquet", drivers(count=5, rows=10))
    monkeypatch.chdir(tmp_path)
    both = make(lambda: view("stats", "data/a.parquet"))
    assert len(both.materialize()) == 5


def test_a_file_system_that_arrow_does_not_know(make: Make) -> None:
    drivers(count=5, rows=10).to_pandas().to_parquet("memory://bucket/a.parquet")
    both = make(lambda: view("stats", "memory://bucket/a.parquet", features={"rate": Float64}))
    assert len(both.materialize()) == 5


def test_files_whose_types_differ(make: Make, tmp_path: Path) -> None:
    """An int32 here and an int64 there, a column of nulls, a column that is missing."""
    table = drivers(count=30, rows=90)
    narrow = table.slice(0, 30).set_column(
        0, "driver_id", table.slice(0, 30).column("driver_id").cast(pa.int32())
    )
    nulls = table.slice(30, 30).set_column(3, "city", pa.nulls(30))
    lacking = table.slice(60, 30).drop_columns("city")
    for number, part in enumerate((table.slice(0, 0), narrow, nulls, lacking)):
        parquet(tmp_path / "files" / f"{number}.parquet", part)
    path = parquet(
        tmp_path / "whole.parquet",
        pa.concat_tables([table.slice(0, 30), nulls, lacking], promote_options="permissive"),
    )
    split = make(lambda: view("stats", tmp_path / "files"))
    split.ours.materialize(NOON - DAY, NOON + DAY)
    parted = hashes(split.ours)
    split.stock.apply([view("stats", path)])
    split.stock.materialize(NOON - DAY, NOON + DAY)
    assert hashes(split.stock) == parted


def test_composite_keys(make: Make, tmp_path: Path) -> None:
    table = drivers(count=10, rows=300)
    customers = pa.array([f"c{at % 7}" for at in range(300)])
    path = parquet(tmp_path / "a.parquet", table.append_column("customer_id", customers))
    both = make(lambda: view("pair", path, entities=[CUSTOMER, DRIVER]))
    assert len(both.materialize()) == 70


def test_a_feature_that_is_the_event_timestamp(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=20, rows=100))
    both = make(lambda: view("stats", path, features={"rate": Float64, "ts": UnixTimestamp}))
    assert len(both.materialize()) == 20


def test_a_view_without_entities(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=10, rows=300).drop_columns("driver_id"))
    both = make(lambda: view("globals", path, entities=[]))
    assert len(both.materialize()) == 1


def test_field_mapping(make: Make, tmp_path: Path) -> None:
    """Of a join key, a feature, and both timestamps."""
    table = drivers(count=40, rows=200)
    table = table.append_column("made", table.column("ts"))
    names = {"driver_id": "drv", "rate": "r", "ts": "happened", "made": "written"}
    path = parquet(
        tmp_path / "a.parquet",
        table.rename_columns([names.get(name, name) for name in table.column_names]),
    )
    source = {
        "timestamp_field": "ts",
        "created_timestamp_column": "made",
        "field_mapping": {there: here for here, there in names.items()},
    }
    both = make(lambda: view("stats", path, source=source))
    assert len(both.materialize()) == 40


def test_the_field_mapping_of_a_push_sources_batch_source(make: Make, tmp_path: Path) -> None:
    """Stock looks for it in the push source, which has none, and fails."""
    table = drivers(count=40, rows=200)
    both = make(
        lambda: view(
            "mapped",
            parquet(tmp_path / "a.parquet", table.rename_columns(["drv", *table.column_names[1:]])),
            source={"field_mapping": {"drv": "driver_id"}},
            wrap=lambda source: PushSource(name="pushed", batch_source=source),
        ),
        lambda: view("plain", parquet(tmp_path / "b.parquet", table)),
    )
    with pytest.raises(ValueError, match="driver_id"):
        both.stock.materialize(NOON - DAY, NOON + DAY, ["mapped"])
    reports = feast_rs.materialize(both.ours, NOON - DAY, NOON + DAY)
    assert reports["mapped"].rows_written == reports["plain"].rows_written == 40


def test_the_created_timestamp_decides_between_equal_event_timestamps(
    make: Make, tmp_path: Path
) -> None:
    rows = 240
    table = drivers(count=20, rows=rows)
    made = [NOON + timedelta(seconds=(at * 31) % rows) for at in range(rows)]
    table = table.set_column(4, "ts", pa.array([NOON] * rows, pa.timestamp("us", "UTC")))
    table = table.append_column("made", pa.array(made, pa.timestamp("us", "UTC")))
    path = parquet(tmp_path / "a.parquet", table)
    source = {"created_timestamp_column": "made"}
    features = {"rate": Float64, "made": UnixTimestamp}
    both = make(
        lambda: view("stats", path, source=source),
        lambda: view("with_time", path, source=source, features=features),
    )
    assert len(both.materialize()) == 20


def test_both_ends_of_the_time_range_are_in_it(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=300, rows=300), 50)
    both = make(lambda: view("stats", path))
    stored = both.materialize(NOON + timedelta(seconds=100), NOON + timedelta(seconds=200))
    assert len(stored) == 101


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_time_ranges_in_every_unit_and_zone(
    make: Make, tmp_path: Path, unit: str, zone: str | None
) -> None:
    """Also where the ends of the range fall between two whole units."""
    kind = pa.timestamp(unit, zone)
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    noon = int(NOON.timestamp()) * per_second
    offsets = [-per_second, -1, 0, 1, per_second, 2 * per_second]
    table = pa.table(
        {
            "driver_id": list(range(len(offsets))),
            "rate": [0.5] * len(offsets),
            "ts": pa.array([noon + offset for offset in offsets], pa.int64()).cast(kind),
        }
    )
    path = parquet(tmp_path / "a.parquet", table, 1)
    both = make(lambda: view("stats", path, features={"rate": Float64}))
    moment = timedelta(microseconds=1)
    for start, end in (
        (NOON, NOON),
        (NOON - moment, NOON + moment),
        (NOON + moment, NOON + DAY),
        (NOON - DAY, NOON - moment),
    ):
        both.materialize(start, end)


def test_a_range_without_zone_is_in_utc(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=300, rows=300), 50)
    both = make(lambda: view("stats", path))
    start = (NOON + timedelta(seconds=100)).replace(tzinfo=None)
    assert len(both.materialize(start, start + timedelta(seconds=10))) == 11


def test_a_range_as_airflow_gives_it(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=300, rows=300), 50)
    both = make(lambda: view("stats", path))
    start = pendulum.instance(NOON).in_timezone("America/New_York") + timedelta(seconds=100)
    assert len(both.materialize(start, start + timedelta(seconds=10))) == 11


def test_rows_without_a_timestamp_are_left_out(make: Make, tmp_path: Path) -> None:
    table = drivers(count=10, rows=10)
    times = pa.array([None if at == 3 else NOON for at in range(10)], pa.timestamp("us", "UTC"))
    path = parquet(tmp_path / "a.parquet", table.set_column(4, "ts", times))
    both = make(lambda: view("stats", path))
    both.ours.materialize(NOON - DAY, NOON + DAY)
    assert len(hashes(both.ours)) == 9


def test_features_of_many_types(make: Make, tmp_path: Path) -> None:
    rows = 60
    table = drivers(count=25, rows=rows)
    more = {
        "small": (Int32, pa.array(range(rows), pa.int32())),
        "single": (Float32, pa.array([at / 3 for at in range(rows)], pa.float32())),
        "flag": (Bool, pa.array([None if at % 3 == 0 else at % 2 == 0 for at in range(rows)])),
        "since": (UnixTimestamp, table.column("ts").combine_chunks()),
        "vector": (
            Array(Float32),
            pa.array([[0.5, at] for at in range(rows)], pa.list_(pa.float32())),
        ),
        "tags": (Array(String), pa.array([["a", str(at)] for at in range(rows)])),
        "label": (String, pa.array([f"l{at % 3}" for at in range(rows)]).dictionary_encode()),
    }
    for name, (_, column) in more.items():
        table = table.append_column(name, column)
    path = parquet(tmp_path / "a.parquet", table)
    both = make(
        lambda: view("stats", path, features={name: dtype for name, (dtype, _) in more.items()})
    )
    assert len(both.materialize()) == 25


def test_large_integers_beside_nulls_are_exact(make: Make, tmp_path: Path) -> None:
    """Stock takes a column with nulls through float64."""
    large = 2**62 + 1
    table = pa.table(
        {
            "driver_id": [1, 2],
            "trips": pa.array([large, None], pa.int64()),
            "ts": pa.array([NOON, NOON], pa.timestamp("us", "UTC")),
        }
    )
    path = parquet(tmp_path / "a.parquet", table)
    both = make(lambda: view("stats", path, features={"trips": Int64}))
    read = {}
    for store in (both.stock, both.ours):
        store.materialize(NOON - DAY, NOON + DAY)
        answer = store.get_online_features(["stats:trips"], [{"driver_id": 1}, {"driver_id": 2}])
        read[store.project] = answer.to_dict()["trips"]
    assert read == {both.stock.project: [large - 1, None], both.ours.project: [large, None]}


def test_every_version_of_a_stream_or_batch_view(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=20, rows=100))

    def scaled(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        frame["rate"] = frame["rate"] * 10
        return frame

    text = (
        "def scaled(frame):\n    frame = frame.copy()\n"
        "    frame['rate'] = frame['rate'] * 10\n    return frame\n"
    )

    def pushed(name: str) -> Callable[[Any], PushSource]:
        return lambda source: PushSource(name=name, batch_source=source)

    both = make(
        lambda: view("pushed", path, wrap=pushed("p1")),
        lambda: view("streamed", path, kind=StreamFeatureView, wrap=pushed("p2")),
        lambda: view("batch", path, kind=BatchFeatureView, online=True),
        lambda: view(
            "transformed",
            path,
            kind=BatchFeatureView,
            online=True,
            mode="pandas",
            udf=scaled,
            udf_string=text,
        ),
        lambda: view("validated", path, enable_validation=True),
    )
    both.materialize()
    reports = feast_rs.materialize(both.ours, NOON - DAY, NOON + DAY)
    assert {name: report.engine for name, report in reports.items()} == {
        "pushed": "streaming",
        "streamed": "streaming",
        "batch": "streaming",
        "transformed": "local",
        "validated": "local",
    }


def test_rows_that_go_to_the_offline_store_too(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Feast's local engine does it, after the online store. Its file store refuses the rows, which
    have the data frame's index as one more column."""
    path = parquet(tmp_path / "a.parquet", drivers(count=20, rows=100))
    both = make(lambda: view("stats", path, offline=True))
    for store in (both.stock, both.ours):
        with (
            caplog.at_level(logging.INFO, logger="feast_rs.materialization"),
            pytest.raises(ValueError, match="__index_level_0__"),
        ):
            store.materialize(NOON - DAY, NOON + DAY)
        assert store.get_feature_view("stats").materialization_intervals == []
    assert len(both.same()) == 20
    assert "since its rows are written to the offline store too" in caplog.text


def test_a_view_of_another_view(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=20, rows=100))

    def define() -> Any:
        base = view("base", path)
        return BatchFeatureView(
            name="derived",
            mode="pandas",
            entities=[DRIVER],
            schema=[*base.schema],
            source=[base],
            sink_source=base.batch_source,
            online=True,
        )

    both = make(lambda: view("base", path), define)
    both.materialize(views=["derived"])


def test_aggregations_fail_as_in_stock(make: Make, tmp_path: Path) -> None:
    """Feast's local engine makes rows without a timestamp of them, which cannot be written; and
    it groups by the entities' names, not by their join keys."""
    path = parquet(tmp_path / "a.parquet", drivers(count=20, rows=100))
    same_name = Entity(name="driver_id", join_keys=["driver_id"], value_type=ValueType.INT64)

    def sums(name: str, entity: Entity) -> Any:
        return view(
            name,
            path,
            entities=[entity],
            features={"sum_trips": Int64},
            kind=StreamFeatureView,
            wrap=lambda source: PushSource(name=f"push_{name}", batch_source=source),
            aggregations=[Aggregation(column="trips", function="sum")],
            timestamp_field="ts",
        )

    both = make(lambda: same_name, lambda: sums("one", DRIVER), lambda: sums("two", same_name))
    for name, missing in (("one", "driver"), ("two", "ts")):
        for store in (both.stock, both.ours):
            with pytest.raises((KeyError, ValueError), match=missing):
                store.materialize(NOON - DAY, NOON + DAY, [name])
    assert both.same() == {}


def test_an_on_demand_view_that_is_written(make: Make, tmp_path: Path) -> None:
    table = drivers(count=20, rows=100)
    path = parquet(
        tmp_path / "a.parquet", table.rename_columns([*table.column_names[:-1], "event_timestamp"])
    )

    def base() -> Any:
        return view("base", path, source={"timestamp_field": "event_timestamp"})

    def define() -> Any:
        @on_demand_feature_view(
            entities=[DRIVER],
            sources=[base()],
            schema=[Field(name="tenfold", dtype=Float64)],
            mode="pandas",
            write_to_online_store=True,
        )
        def computed(inputs: pd.DataFrame) -> pd.DataFrame:
            return pd.DataFrame({"tenfold": inputs["rate"] * 10})

        return computed

    both = make(base, define)
    before = datetime.now(timezone.utc)
    both.stock.materialize(NOON - DAY, NOON + DAY)
    report = feast_rs.materialize(both.ours, NOON - DAY, NOON + DAY)["computed"]
    assert (report.engine, report.start, report.end) == ("on-demand", NOON - DAY, NOON + DAY)
    assert (report.rows_read, report.rows_written, report.rows_failed) == (20, 20, 0)
    assert report.newest_event_timestamp > before
    # And through Feast's own method.
    both.ours.materialize(NOON - DAY, NOON + DAY)
    assert all(b"_ts:computed" in fields for fields in hashes(both.ours).values())
    # Feast writes the rows of an on-demand view as of now.
    stock, ours = (
        {
            key: {name: cell for name, cell in fields.items() if name != b"_ts:computed"}
            for key, fields in hashes(store).items()
        }
        for store in (both.stock, both.ours)
    )
    assert len(stock) == 20
    assert stock == ours


def test_a_view_that_is_not_online_is_refused_by_feast(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=20, rows=100))
    both = make(lambda: view("stats", path, online=False))
    for store in (both.stock, both.ours):
        with pytest.raises(ValueError, match="not configured to be served online"):
            store.materialize(NOON - DAY, NOON + DAY, ["stats"])
        store.materialize(NOON - DAY, NOON + DAY)
    assert both.same() == {}


def test_a_range_without_rows_writes_nothing(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=20, rows=100))
    both = make(lambda: view("stats", path))
    assert both.materialize(NOON - 3 * DAY, NOON - 2 * DAY) == {}


@pytest.mark.parametrize("kind", ["WholeOfflineStore", "TablesOfflineStore", "BatchesOfflineStore"])
def test_other_offline_stores(make: Make, tmp_path: Path, kind: str) -> None:
    """Each hands over a table in chunks, or its chunks one by one; none is dropped."""
    path = parquet(tmp_path / "a.parquet", drivers(count=150, rows=1000))
    both = make(
        lambda: view("stats", path),
        lambda: view("globals", path, entities=[], features={"rate": Float64}),
        offline_store=f"tests.support.offline_stores.{kind}",
    )
    assert len(both.materialize()) == 151


def test_a_table_in_chunks_is_written_whole(make: Make, tmp_path: Path) -> None:
    """Stock's conversion takes the first chunk, and drops the others."""
    table = drivers(count=200, rows=200)
    chunked = pa.Table.from_batches(table.to_batches(30))
    both = make(lambda: view("stats", parquet(tmp_path / "a.parquet", table)))
    stats = both.stock.get_feature_view("stats")
    keys = {field.name: field.dtype.to_value_type() for field in stats.entity_columns}
    assert len(utils._convert_arrow_to_proto(chunked, stats, keys)) == 30
    assert feast_rs.write_batches(both.ours, "stats", chunked).rows_written == 200
    both.stock.materialize(NOON - DAY, NOON + DAY)
    assert len(both.same()) == 200


def test_all_data_without_a_time_range(make: Make, tmp_path: Path) -> None:
    """``disable_event_timestamp``, as the command line passes it."""
    path = parquet(tmp_path / "a.parquet", drivers(count=20, rows=100))
    both = make(lambda: view("stats", path))
    begin = datetime(1970, 1, 1, tzinfo=timezone.utc)
    stored = both.materialize(begin, datetime.now(timezone.utc), disable_event_timestamp=True)
    assert len(stored) == 20


def test_missing_columns(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=20, rows=100))
    both = make(lambda: view("stats", path))
    table = drivers(count=20, rows=100)
    parquet(path, table.drop_columns("driver_id"))
    for store in (both.stock, both.ours):
        with pytest.raises(FeastJoinKeysDuringMaterialization):
            store.materialize(NOON - DAY, NOON + DAY)
    parquet(path, table.drop_columns(["rate", "city"]))
    for store in (both.stock, both.ours):
        with pytest.raises(KeyError, match="city"):
            store.materialize(NOON - DAY, NOON + DAY)
    with pytest.raises(
        feast_rs.SourceError, match=r"feature view stats: .*a\.parquet has no column"
    ):
        both.ours.materialize(NOON - DAY, NOON + DAY)
    path.unlink()
    for store in (both.stock, both.ours):
        with pytest.raises(FileNotFoundError):
            store.materialize(NOON - DAY, NOON + DAY)
    path.write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(
        feast_rs.SourceError, match=r"feature view stats: .*a\.parquet cannot be read"
    ):
        both.ours.materialize(NOON - DAY, NOON + DAY)
    assert both.same() == {}


def test_dates_as_timestamps_are_left_to_the_offline_store(make: Make, tmp_path: Path) -> None:
    """Stock's file store fails on them, and so does ours."""
    table = drivers(count=5, rows=5)
    path = parquet(
        tmp_path / "a.parquet", table.set_column(4, "ts", pa.array([date(2024, 5, 17)] * 5))
    )
    both = make(lambda: view("stats", path))
    raised = []
    for store in (both.stock, both.ours):
        with pytest.raises(Exception) as error:  # noqa: PT011
            store.materialize(NOON - DAY, NOON + DAY)
        raised.append(error.type)
    assert raised[0] is raised[1]


def test_only_the_latest_are_pulled_where_feast_is_told_so(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=20, rows=100))
    both = make(lambda: view("stats", path))
    for store in (both.stock, both.ours):
        store.config.materialization_config.pull_latest_features = True
    assert len(both.materialize()) == 20


def test_duckdb(make: Make, tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=150, rows=1000))
    both = make(
        lambda: view("stats", path),
        lambda: view("globals", path, entities=[], features={"rate": Float64}),
        offline_store="duckdb",
    )
    both.ours.materialize(NOON - DAY, NOON + DAY)
    both.stock.materialize(NOON - DAY, NOON + DAY, ["stats"])
    stock, ours = hashes(both.stock), hashes(both.ours)
    assert len(ours) == 151
    assert stock == {key: fields for key, fields in ours.items() if key in stock}
    assert len(stock) == 150
