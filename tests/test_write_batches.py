"""Arrow data through `write_batches`: every form of it is stored as stock stores its rows."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from feast import Field
from feast.infra.online_stores.helpers import _mmh3
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Set,
    String,
    Struct,
    UnixTimestamp,
    Uuid,
)

import feast_rs
from tests.support.server import RedisServer
from tests.support.world import NOON, view
from tests.support.writers import Writers, stored, world_store

ROWS = 700
"""More than the encoder's first block has."""

WIDE = {
    "double": Float64,
    "float": Float32,
    "long": Int64,
    "int": Int32,
    "flag": Bool,
    "text": String,
    "blob": Bytes,
    "seen": UnixTimestamp,
    "vector": Array(Float32),
    "longs": Array(Int64),
    "texts": Array(String),
    "times": Array(UnixTimestamp),
    "numbers": Set(Int64),
    "ident": Uuid,
    "money": Decimal,
    "document": Json,
    "nested": Struct({"inner": Struct({"n": Int64})}),
}


def sometimes(place: int, value: Any) -> Any:
    """A null in every fifth row."""
    return None if place % 5 == 4 else value


def wide_columns(rows: int) -> dict[str, pa.Array]:
    """Columns of every type, with nulls, of entities that come once."""
    places = range(rows)
    moment = dt.datetime(2024, 1, 1)

    def column(make: Callable[[int], Any], data_type: pa.DataType) -> pa.Array:
        return pa.array([sometimes(place, make(place)) for place in places], data_type)

    return {
        "driver_id": pa.array([place - 3 for place in places], pa.int64()),
        "double": column(lambda place: place / 7, pa.float64()),
        "float": column(lambda place: place / 8, pa.float32()),
        "long": column(lambda place: place * 1_000_003, pa.int64()),
        "int": column(lambda place: -place, pa.int32()),
        "flag": column(lambda place: place % 2 == 0, pa.bool_()),
        "text": column(lambda place: f"Zürich {place}" + "x" * (place % 90), pa.string()),
        "blob": column(lambda place: bytes([place % 256]) * (1 + place % 3), pa.binary()),
        "seen": column(lambda place: moment + timedelta(seconds=place), pa.timestamp("us", "UTC")),
        "vector": column(lambda place: [place / 2, -1.0], pa.list_(pa.float32())),
        "longs": column(lambda place: list(range(place % 4)), pa.list_(pa.int64())),
        "texts": column(lambda place: ["a", "", "ü"][: place % 4], pa.list_(pa.string())),
        "times": column(lambda place: [moment] * (place % 2), pa.list_(pa.timestamp("us", "UTC"))),
        "numbers": column(lambda place: [place], pa.list_(pa.int64())),
        "ident": column(lambda place: f"5a2f0a4e-6c0f-4d57-8a5a-{place:012d}", pa.string()),
        "money": column(lambda place: f"{place}.50", pa.string()),
        "document": column(lambda place: f'{{"a": [{place}, null]}}', pa.string()),
        "nested": column(
            lambda place: {"inner": {"n": place}},
            pa.struct([("inner", pa.struct([("n", pa.int64())]))]),
        ),
        "ts": pa.array(
            [NOON + timedelta(milliseconds=place) for place in places], pa.timestamp("us", "UTC")
        ),
        "unknown": pa.array(["left out"] * rows),
    }


def wide_table(rows: int = ROWS) -> pa.Table:
    return pa.table(wide_columns(rows))


def stats_table(drivers: list[int], seconds: list[float], **columns: list[Any]) -> pa.Table:
    """Rows of `driver_stats`; features that are not given are null."""
    rows = len(drivers)
    types = {
        "rate": pa.float64(),
        "trips": pa.int64(),
        "city": pa.string(),
        "tags": pa.list_(pa.string()),
        "since": pa.timestamp("s"),
    }
    features = {
        name: pa.array(columns.get(name, [None] * rows), data_type)
        for name, data_type in types.items()
    }
    times = [NOON + timedelta(seconds=second) for second in seconds]
    return pa.table(
        {
            "driver_id": pa.array(drivers, pa.int64()),
            **features,
            "ts": pa.array(times, pa.timestamp("us", "UTC")),
        }
    )


@pytest.fixture(scope="module")
def shared_writers(module_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Writers:
    wide = view("wide", ["driver"], WIDE)
    return Writers(tmp_path_factory.mktemp("writers"), module_server.address, more=[wide])


@pytest.fixture
def writers(shared_writers: Writers) -> Writers:
    shared_writers.clear()
    return shared_writers


def write(writers: Writers, name: str, data: Any, **options: Any) -> feast_rs.WriteReport:
    return feast_rs.write_batches(writers.ours, name, data, **options)


class Stream:
    """Arrow data of a library that we do not know."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class OneBatch:
    """The same, of a single record batch."""

    def __init__(self, table: pa.Table) -> None:
        self._batch = table.combine_chunks().to_batches()[0]

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        return self._batch.__arrow_c_array__(requested_schema)


def chunked(table: pa.Table) -> pa.Table:
    """The rows in chunks of odd lengths, some of them empty."""
    ends = [0, 1, 1, 8, 300, 300, table.num_rows]
    return pa.concat_tables(
        [table.slice(start, end - start) for start, end in itertools.pairwise(ends)]
    )


def ragged(table: pa.Table) -> pa.Table:
    """Columns whose chunks do not end together."""
    columns = []
    for place, column in enumerate(table.columns):
        cut = 1 + place * 17
        columns.append(
            pa.chunked_array([column.slice(0, cut).combine_chunks(), *_rest(column, cut)])
        )
    return pa.table(columns, names=table.column_names)


def _rest(column: pa.ChunkedArray, cut: int) -> list[pa.Array]:
    return list(column.slice(cut).chunks)


def sliced(table: pa.Table) -> pa.Table:
    """The rows from the middle of longer columns."""
    padded = pa.concat_tables([table.slice(0, 5), table, table.slice(0, 3)]).combine_chunks()
    return padded.slice(5, table.num_rows)


def recast(table: pa.Table, swap: Callable[[pa.DataType], pa.DataType | None]) -> pa.Table:
    """The columns of some types as others."""
    for place, field in enumerate(table.schema):
        other = swap(field.type)
        if other is not None:
            table = table.set_column(place, field.name, table.column(place).cast(other))
    return table


def large(data_type: pa.DataType) -> pa.DataType | None:
    if pa.types.is_string(data_type):
        return pa.large_string()
    if pa.types.is_binary(data_type):
        return pa.large_binary()
    return pa.large_list(data_type.value_type) if pa.types.is_list(data_type) else None


def viewed(data_type: pa.DataType) -> pa.DataType | None:
    if pa.types.is_string(data_type):
        return pa.string_view()
    return pa.binary_view() if pa.types.is_binary(data_type) else None


def dictionary(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or field.name in ("driver_id", "long", "ts"):
            encoded = table.column(place).dictionary_encode()
            table = table.set_column(place, field.name, encoded)
    return table


def generated(table: pa.Table) -> Iterator[Any]:
    """Tables, batches and frames, one after the other."""
    yield table.slice(0, 100)
    yield from table.slice(100, 200).to_batches(max_chunksize=30)
    yield []
    yield [pl.from_arrow(table.slice(300))]


FORMS: dict[str, Callable[[pa.Table], Any]] = {
    "table": lambda table: table,
    "record batch": lambda table: table.combine_chunks().to_batches()[0],
    "chunked": chunked,
    "ragged": ragged,
    "sliced": sliced,
    "dictionary": dictionary,
    "large": lambda table: recast(table, large),
    "views": lambda table: recast(table, viewed),
    "reader": lambda table: chunked(table).to_reader(),
    "stream": lambda table: Stream(chunked(table)),
    "array": OneBatch,
    "polars": pl.from_arrow,
    "pandas": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
    "batches": lambda table: table.to_batches(max_chunksize=64),
    "generator": generated,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_stored_as_stock_stores_the_rows(writers: Writers, form: str) -> None:
    table = wide_table()
    writers.write_stock("wide", table)
    report = write(writers, "wide", FORMS[form](table))
    assert len(writers.assert_same()) == ROWS
    assert (report.rows_read, report.rows_written) == (ROWS, ROWS)
    assert (report.rows_skipped, report.rows_failed) == (0, 0)


def test_a_frame_of_numpy_columns(writers: Writers) -> None:
    columns = ["driver_id", "double", "float", "long", "flag", "text", "vector", "ts"]
    frame = wide_table().select(columns).to_pandas()
    assert frame["long"].dtype == "float64", "integers beside nulls are floats"
    report = write(writers, "wide", frame.set_index("driver_id"), partial=True)
    assert report.rows_written == ROWS
    writers.write_stock("wide", wide_table())
    stocks, ours = (stored(store) for store in writers.stores)
    kept = {_mmh3(f"wide:{name}") for name in columns} | {b"_ts:wide"}
    for key, (fields, _) in stocks.items():
        expected = {name: value for name, value in fields if name in kept}
        assert dict(ours[key][0]) == expected


def test_other_columns_of_a_frame_need_be_no_arrow_data(writers: Writers) -> None:
    frame = stats_table([1, 2], [0.5, 1.5]).to_pandas().assign(other=[1, "a"], more=object())
    assert write(writers, "driver_stats", frame).rows_written == 2
    frame = frame.astype({"city": object})
    frame["city"] = [1, "a"]
    with pytest.raises(feast_rs.EncodeError, match="column city"):
        write(writers, "driver_stats", frame)


def test_what_holds_no_arrow_data(writers: Writers) -> None:
    for data in ("text", {"driver_id": [1]}, 3, [3]):
        with pytest.raises(TypeError, match="no Arrow data"):
            write(writers, "driver_stats", data)
    assert write(writers, "driver_stats", []).rows_read == 0
    assert write(writers, "driver_stats", stats_table([], [])).rows_read == 0
    assert stored(writers.ours) == {}


TIMES = [
    datetime(2024, 5, 17, 12, 0, 0, 123456),
    datetime(1970, 1, 1),
    datetime(1969, 12, 31, 23, 59, 59, 999999),
    datetime(1900, 3, 1, 0, 0, 1),
    datetime(2199, 12, 31, 23, 59, 59, 999000),
]


@pytest.mark.parametrize("zone", [None, "UTC", "+05:00", "Europe/Zurich"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_event_timestamps_of_any_unit_and_zone(
    writers: Writers, unit: str, zone: str | None
) -> None:
    times = pa.array(TIMES, pa.timestamp("us")).cast(pa.timestamp(unit), safe=False)
    times = times.cast(pa.timestamp(unit, zone)) if zone else times
    table = stats_table(list(range(len(TIMES))), [0.0] * len(TIMES))
    table = table.set_column(table.column_names.index("ts"), "ts", times)
    writers.write_stock("driver_stats", table)
    report = write(writers, "driver_stats", table)
    writers.assert_same()
    newest = TIMES[-1].replace(tzinfo=timezone.utc)
    assert report.newest_event_timestamp == newest.replace(
        microsecond=0 if unit == "s" else newest.microsecond
    )


@pytest.mark.parametrize(
    "times",
    [
        pa.array([dt.date(2024, 5, 17), dt.date(1960, 2, 29)], pa.date32()),
        pa.array([dt.date(2024, 5, 17), dt.date(1960, 2, 29)], pa.date64()),
        pa.array(["2024-05-17T12:00:00.5", "1960-02-29T00:00:00.0"]),
        pa.array(["2024-05-17T12:00:00.5+05:00", "1960-02-29T00:00:00.0+05:00"], pa.large_string()),
        pa.array([1_715_947_200_123_456_789, -1], pa.int64()),
    ],
    ids=lambda times: str(times.type),
)
def test_event_timestamps_that_are_no_timestamps(writers: Writers, times: pa.Array) -> None:
    table = stats_table([1, 2], [0.0, 0.0])
    table = table.set_column(table.column_names.index("ts"), "ts", times)
    writers.write_stock("driver_stats", table)
    write(writers, "driver_stats", table)
    writers.assert_same()


def test_keys_of_every_type(writers: Writers) -> None:
    times = pa.array([NOON] * 3, pa.timestamp("us", "UTC"))
    hours = pa.array(
        [NOON, NOON - timedelta(days=40_000), datetime(1970, 1, 1, tzinfo=timezone.utc)]
    )
    texts = pa.array(["ü", "", "x" * 70])
    tables = {
        "customer": {"customer_id": texts, "age": pa.array([1, None, 3], pa.int32())},
        "account": {
            "account_id": pa.array([5, -(2**31), 2**31 - 1], pa.int32()),
            "driver_id": pa.array([1, None, 3]),
        },
        "device": {"device_id": pa.array([b"\x00*?", b"", b"\xff" * 80])},
        "hour": {"hour_id": hours, "holiday": pa.array([True, False, None])},
        "pair": {"driver_id": pa.array([1, -1, 2**63 - 1]), "customer_id": texts},
        "triple": {
            "customer_id": texts,
            "account_id": pa.array([1, 2, -3], pa.int32()),
            "hour_id": hours,
            "weight": pa.array([0.5, -0.0, float("nan")], pa.float32()),
        },
    }
    for name, columns in tables.items():
        features = {
            field.name: pa.nulls(3)
            for field in writers.view(name).features
            if field.name not in columns
        }
        table = pa.table({**columns, **features, "ts": times})
        writers.write_stock(name, table)
        assert write(writers, name, table).rows_written == 3, name
    assert len(writers.assert_same()) == 18


def test_a_key_column_narrower_or_wider_than_declared(writers: Writers) -> None:
    table = stats_table([1, 2], [0.0, 1.0])
    writers.write_stock("driver_stats", table)
    keys = pa.array([1, 2], pa.uint8())
    write(writers, "driver_stats", table.set_column(0, "driver_id", keys))
    writers.assert_same()


def test_a_view_without_entities(writers: Writers) -> None:
    columns = {"fee": [1.0, 2.0], "slogan": ["go", None]}
    times = pa.array([NOON + timedelta(seconds=1), NOON], pa.timestamp("us", "UTC"))
    table = pa.table({**columns, "ts": times})
    # Feast's own engines add the column.
    writers.write_stock("globals", table.append_column("__dummy_id", pa.array(["", ""])))
    report = write(writers, "globals", table)
    assert (report.rows_written, report.rows_skipped) == (1, 1)
    assert len(writers.assert_same()) == 1


def test_an_on_demand_view(writers: Writers) -> None:
    before = datetime.now(timezone.utc)
    table = pa.table({"driver_id": [7, 8], "stored_rate": [2.0, None]})
    writers.write_stock("stored", table)
    report = write(writers, "stored", table)
    assert report.rows_written == 2
    assert report.newest_event_timestamp is not None
    assert before <= report.newest_event_timestamp <= datetime.now(timezone.utc)
    stocks, ours = (
        {
            key: [(name, value) for name, value in fields if name != b"_ts:stored"]
            for key, (fields, _) in stored(store).items()
        }
        for store in writers.stores
    )
    assert stocks == ours
    assert {len(fields) for fields in ours.values()} == {2}, "the join key is among the features"
    # The inputs of its transformation are not what is stored.
    with pytest.raises(feast_rs.ArgumentError, match=r"'stored': none of its features"):
        write(writers, "stored", pa.table({"driver_id": [9], "rate": [1.0]}))
    assert stored(writers.ours).keys() == ours.keys()


def test_the_newest_row_of_an_entity_stays(writers: Writers) -> None:
    drivers = [1, 1, 2, 1, 2, 3, 3, 1]
    seconds = [5, 4, 0.5, 6, 0.25, 1, 1, 6]
    table = stats_table(drivers, seconds, trips=list(range(8)))
    writers.write_stock("driver_stats", table)
    report = write(writers, "driver_stats", table)
    writers.assert_same()
    assert (report.rows_read, report.rows_written, report.rows_skipped) == (8, 4, 4)
    assert report.newest_event_timestamp == NOON + timedelta(seconds=6)

    # Batch by batch it comes to the same rows.
    first = stored(writers.ours)
    writers.clear()
    report = write(writers, "driver_stats", table.to_batches(max_chunksize=1))
    assert (report.rows_written, report.rows_skipped) == (4, 4)
    assert stored(writers.ours) == first

    # As does all of it once more, which writes nothing.
    report = write(writers, "driver_stats", [chunked(table), table])
    assert (report.rows_written, report.rows_skipped) == (0, 16)
    assert report.newest_event_timestamp == NOON + timedelta(seconds=6)
    assert stored(writers.ours) == first


def test_the_report(writers: Writers) -> None:
    seen: list[feast_rs.WriteReport] = []
    table = stats_table(list(range(2000)), [0.0] * 2000)
    report = write(
        writers, "driver_stats", table.to_batches(max_chunksize=500), on_progress=seen.append
    )
    assert len(seen) == 4
    for earlier, later in zip(seen, [*seen[1:], report], strict=True):
        assert earlier.rows_written <= earlier.rows_read <= 2000
        assert earlier.rows_written <= later.rows_written
        assert earlier.seconds <= later.seconds
    assert report.view == "driver_stats"
    assert report.bytes_sent > 2000 * 100
    told = report.to_dict()
    assert told["newest_event_timestamp"] == NOON.isoformat()
    assert told["rows_written"] == 2000
    assert write(writers, "driver_stats", []).to_dict()["newest_event_timestamp"] is None


def test_a_missing_column(writers: Writers) -> None:
    table = stats_table([1], [0.0])
    for name in ("driver_id", "city", "ts"):
        with pytest.raises(feast_rs.ArgumentError) as raised:
            write(writers, "driver_stats", table.drop_columns([name]))
        assert f"'{name}'" in str(raised.value)
        assert "'driver_stats'" in str(raised.value)
    with pytest.raises(feast_rs.ArgumentError, match="'ts'"):
        write(writers, "driver_stats", table.drop_columns(["ts"]), partial=True)
    assert stored(writers.ours) == {}


def wide_with(name: str, place: int, value: Any, data_type: pa.DataType) -> pa.Table:
    """A table with one value that is not like the others."""
    table = wide_table(900)
    values = [value if row == place else None for row in range(900)]
    if name in ("driver_id", "ts"):
        column = table.column(name).to_pylist()
        values = [value if row == place else column[row] for row in range(900)]
    index = table.column_names.index(name)
    return table.set_column(index, name, pa.array(values, data_type))


@pytest.mark.parametrize(
    ("name", "value", "data_type", "kind"),
    [
        ("driver_id", None, pa.int64(), feast_rs.EntityKeyError),
        ("ts", None, pa.timestamp("us", "UTC"), feast_rs.EncodeError),
        ("int", 2**31, pa.int64(), feast_rs.EncodeError),
        ("document", "{", pa.string(), feast_rs.EncodeError),
        ("numbers", [1, None], pa.list_(pa.int64()), feast_rs.EncodeError),
    ],
)
def test_a_value_that_does_not_fit(
    writers: Writers, name: str, value: Any, data_type: pa.DataType, kind: type[Exception]
) -> None:
    """In the second block: the row is numbered from the batch's start."""
    table = wide_with(name, 850, value, data_type)
    with pytest.raises(kind) as raised:
        write(writers, "wide", table)
    assert "feature view 'wide'" in str(raised.value)
    assert f"column '{name}'" in str(raised.value)
    assert "850" in str(raised.value)


def test_a_column_of_a_wrong_type(writers: Writers) -> None:
    table = stats_table([1], [0.0])
    place = table.column_names.index("trips")
    fractions = table.set_column(place, "trips", pa.array([0.5]))
    with pytest.raises(feast_rs.EncodeError, match=r"'driver_stats', column 'trips': row 0: 0\.5"):
        write(writers, "driver_stats", fractions)
    place = table.column_names.index("rate")
    wrong = table.set_column(place, "rate", pa.array([[1.0]]))
    with pytest.raises(feast_rs.EncodeError, match="'driver_stats', column 'rate'"):
        write(writers, "driver_stats", wrong)
    keys = table.set_column(0, "driver_id", pa.array([0.5]))
    with pytest.raises(feast_rs.EntityKeyError, match="'driver_stats', column 'driver_id'"):
        write(writers, "driver_stats", keys)
    times = table.set_column(table.column_names.index("ts"), "ts", pa.array([0.5]))
    with pytest.raises(feast_rs.EncodeError, match="'driver_stats', column 'ts'"):
        write(writers, "driver_stats", times)
    assert stored(writers.ours) == {}


def cells(writers: Writers) -> list[dict[str, Any]]:
    """The rows of drivers 1 and 2 as they are read."""
    names = ["rate", "trips", "city"]
    answer = writers.ours.get_online_features(
        [f"driver_stats:{name}" for name in names], [{"driver_id": 1}, {"driver_id": 2}]
    ).to_dict(include_event_timestamps=True)
    return [
        {
            **{name: answer[name][row] for name in names},
            "age": answer["rate__ts"][row] - int(NOON.timestamp()),
        }
        for row in range(2)
    ]


def full_rows(writers: Writers) -> None:
    table = stats_table([1, 2], [0.0, 0.0], rate=[0.5, 1.5], trips=[1, 2], city=["a", "b"])
    assert write(writers, "driver_stats", table).rows_written == 2


def test_columns_that_are_missing_leave_their_features(writers: Writers) -> None:
    full_rows(writers)
    table = stats_table([1, 2], [10.0, -10.0], trips=[7, 8])
    report = write(
        writers, "driver_stats", table.select(["driver_id", "trips", "ts"]), partial=True
    )
    assert (report.rows_written, report.rows_skipped) == (1, 1)
    assert cells(writers) == [
        {"rate": 0.5, "trips": 7, "city": "a", "age": 10},
        {"rate": 1.5, "trips": 2, "city": "b", "age": 0},
    ]
    # A null in a column that is there is written.
    table = stats_table([1], [11.0], trips=[None])
    write(writers, "driver_stats", table.select(["driver_id", "trips", "ts"]), partial=True)
    assert cells(writers)[0] == {"rate": 0.5, "trips": None, "city": "a", "age": 11}


def test_nulls_that_are_skipped_leave_their_features(writers: Writers) -> None:
    full_rows(writers)
    table = stats_table([1, 2], [10.0, 10.0], rate=[None, 9.5], trips=[7, None])
    assert write(writers, "driver_stats", table, skip_nulls=True).rows_written == 2
    assert cells(writers) == [
        {"rate": 0.5, "trips": 7, "city": "a", "age": 10},
        {"rate": 9.5, "trips": 2, "city": "b", "age": 10},
    ]
    # A row of nulls moves the event timestamp.
    table = stats_table([1], [11.0])
    assert write(writers, "driver_stats", table, skip_nulls=True).rows_written == 1
    assert cells(writers)[0] == {"rate": 0.5, "trips": 7, "city": "a", "age": 11}
    # Without the option nulls are written.
    assert write(writers, "driver_stats", stats_table([1], [12.0])).rows_written == 1
    assert cells(writers)[0] == {"rate": None, "trips": None, "city": None, "age": 12}


@pytest.mark.parametrize("atomic", [False, True])
def test_more_features_than_a_script_takes_at_once(
    server: RedisServer, tmp_path: Path, atomic: bool
) -> None:
    """Lua's stack holds some 8000 values."""
    names = [f"f{place}" for place in range(4500)]
    broad = view("broad", ["driver"], dict.fromkeys(names, Int64))
    store = world_store(tmp_path, server.address, more=[broad], atomic_writes=atomic)
    times = pa.array([NOON, NOON], pa.timestamp("us", "UTC"))
    table = pa.table({"driver_id": [1, 2], **{name: [1, None] for name in names}, "ts": times})
    assert feast_rs.write_batches(store, "broad", table).rows_written == 2
    assert [len(fields) for fields, _ in stored(store).values()] == [4501, 4501]


def test_vectors_of_a_wrong_length(server: RedisServer, tmp_path: Path) -> None:
    """As stock checks them, before anything is written."""
    pointed = view("pointed", ["driver"], {})
    pointed.features.append(
        Field(name="point", dtype=Array(Float32), vector_index=True, vector_length=2)
    )
    writers = Writers(tmp_path, server.address, more=[pointed])
    times = pa.array([NOON], pa.timestamp("us", "UTC"))
    table = pa.table({"driver_id": [1], "point": [[1.0, 2.0, 3.0]], "ts": times})
    errors = []
    for attempt in (
        lambda: writers.write_stock("pointed", table),
        lambda: write(writers, "pointed", table),
    ):
        with pytest.raises(ValueError, match="point") as raised:
            attempt()
        errors.append(str(raised.value))
    assert errors[0] == errors[1]
    assert stored(writers.ours) == {}
