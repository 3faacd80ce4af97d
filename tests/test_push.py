"""`provider: feast_rs.ArrowProvider`: pushed frames are stored as stock stores them."""

from __future__ import annotations

import asyncio
import decimal
import re
import uuid
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import (
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RepoConfig,
)
from feast.data_source import PushMode
from feast.errors import PushSourceNotFoundException
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
    Map,
    String,
    UnixTimestamp,
    Uuid,
)

import feast_rs
from feast_rs.frames import _arrow_array, _column_arrays
from tests.support.drivers import FEATURES, frame, open_store, redis_key
from tests.support.rows import client_of
from tests.support.server import RedisServer
from tests.support.stores import OURS, feature_store
from tests.support.world import ENTITIES, NOON, World, view
from tests.support.writers import Writers, stored

PROVIDER = "feast_rs.ArrowProvider"

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
    "texts": Array(String),
    "ident": Uuid,
    "money": Decimal,
    "document": Json,
    "map": Map,
}


def pushed_view() -> list[Any]:
    """A push source and its view; the source's column `drv` is the join key."""
    batch = FileSource(
        name="pushed_batch",
        path="/nonexistent/pushed.parquet",
        timestamp_field="ts",
        field_mapping={"drv": "driver_id", "when": "ts"},
    )
    source = PushSource(name="events", batch_source=batch)
    pushed = FeatureView(
        name="pushed",
        entities=[ENTITIES["driver"]],
        ttl=timedelta(days=1),
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="rate", dtype=Float64),
            Field(name="city", dtype=String),
        ],
        source=source,
    )
    return [source, pushed]


@pytest.fixture(scope="module")
def shared_writers(module_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Writers:
    more = [view("wide", ["driver"], WIDE), *pushed_view()]
    directory = tmp_path_factory.mktemp("writers")
    return Writers(directory, module_server.address, more=more, provider=PROVIDER)


@pytest.fixture
def writers(shared_writers: Writers) -> Writers:
    shared_writers.clear()
    return shared_writers


def wide_frame(rows: int = 40) -> pd.DataFrame:
    """Columns of numpy and of objects, as a stream worker has them, without nulls."""
    places = range(rows)
    return pd.DataFrame(
        {
            "driver_id": np.arange(rows) * 3 - 20,
            "double": np.arange(rows) / 7,
            "float": (np.arange(rows) / 8).astype("float32"),
            "long": np.arange(rows) * 1_000_003,
            "int": np.arange(rows).astype("int32"),
            "flag": [place % 2 == 0 for place in places],
            "text": [f"Zürich {place}" for place in places],
            "blob": [bytes([place % 256]) for place in places],
            "seen": pd.date_range("1969-12-31T23:59:40.5", periods=rows, freq="s", tz="UTC"),
            "vector": [[place / 2, 1.0] for place in places],
            "texts": [["a", "ü"][: place % 3] for place in places],
            "ident": [str(uuid.UUID(int=place)) for place in places],
            "money": [decimal.Decimal(place) / 4 for place in places],
            "document": ['{"a": 1}'] * rows,
            "map": [{"a": place} for place in places],
            "ts": pd.date_range(NOON, periods=rows, freq="ms"),
        }
    )


def rows_of(store: FeatureStore, *, without: bytes = b"") -> dict[bytes, dict[bytes, bytes]]:
    return {
        key: {name: value for name, value in fields if name != without}
        for key, (fields, _) in stored(store).items()
    }


def put(store: FeatureStore, name: str, df: pd.DataFrame, asynchronous: bool = False) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if asynchronous:
            asyncio.run(store.write_to_online_store_async(name, df.copy()))
        else:
            store.write_to_online_store(name, df.copy())


def assert_same(writers: Writers, name: str, df: pd.DataFrame) -> int:
    """Writes the frame by all ways; gives how many rows are stored."""
    put(writers.stock, name, df)
    expected = rows_of(writers.stock)
    for asynchronous in (False, True):
        put(writers.ours, name, df, asynchronous)
        assert rows_of(writers.ours) == expected
        client = client_of(writers.ours)
        for key in client.scan_iter(match=f"*{writers.ours.project}"):
            client.delete(key)
    return len(expected)


def with_nulls(df: pd.DataFrame) -> pd.DataFrame:
    df = df.copy()
    for name in df.columns:
        if name not in ("driver_id", "ts", "flag"):
            df[name] = df[name].astype(object) if df[name].dtype == "int32" else df[name]
            df.loc[df.index % 5 == 4, name] = None
    df["flag"] = [None if place % 5 == 4 else place % 2 == 0 for place in range(len(df))]
    return df


def reindexed(index: Callable[[pd.DataFrame], Any]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(df: pd.DataFrame) -> pd.DataFrame:
        df = df.copy()
        df.index = index(df)
        return df

    return change


def nullable(df: pd.DataFrame) -> pd.DataFrame:
    types = {
        "driver_id": "Int64",
        "double": "Float64",
        "float": "Float32",
        "long": "Int64",
        "int": "Int32",
        "flag": "boolean",
        "text": "string",
        "ident": "string",
    }
    df = df.astype(types)
    for name in ("double", "text", "ident"):
        df.loc[df.index % 5 == 4, name] = pd.NA
    return df


def arrow_types(df: pd.DataFrame) -> pd.DataFrame:
    return df.astype(
        {
            "driver_id": "int64[pyarrow]",
            "double": "double[pyarrow]",
            "text": "string[pyarrow]",
            "flag": "bool[pyarrow]",
        }
    )


FRAMES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "plain": lambda df: df,
    "nulls": with_nulls,
    "filtered": lambda df: df[df["flag"]],
    "reversed": lambda df: df.iloc[::-1],
    "texts as index": reindexed(lambda df: [f"row {place}" for place in range(len(df))]),
    "an index of one value": reindexed(lambda df: [7] * len(df)),
    "a named index": reindexed(lambda df: pd.Index(range(len(df)), name="unknown")),
    "a range that steps": reindexed(lambda df: pd.RangeIndex(5, 5 + 3 * len(df), 3)),
    "a multi-index": reindexed(lambda df: pd.MultiIndex.from_product([["a"], range(len(df))])),
    "the key as index": lambda df: df.set_index("driver_id"),
    "other columns": lambda df: df.assign(other=1, more="x", ts2=df["ts"]),
    "columns in another order": lambda df: df[sorted(df.columns)],
    "categories": lambda df: df.assign(text=df["text"].astype("category")),
    "keys as categories": lambda df: df.assign(driver_id=df["driver_id"].astype("category")),
    "nullable types": nullable,
    "Arrow's types": arrow_types,
    "arrays in objects": lambda df: df.assign(vector=[np.array([1.0, 2.0])] * len(df)),
    "float32 arrays": lambda df: df.assign(vector=[np.ones(2, "float32")] * len(df)),
    "documents as dicts": lambda df: df.assign(document=[{"a": 1, "b": "ü", "c": None}] * len(df)),
    "naive times": lambda df: df.assign(ts=df["ts"].dt.tz_localize(None)),
    "times of a zone": lambda df: df.assign(ts=df["ts"].dt.tz_convert("Asia/Kolkata")),
    "times of seconds": lambda df: df.assign(ts=df["ts"].astype("datetime64[s, UTC]")),
    "times as objects": lambda df: df.assign(ts=list(df["ts"])),
    "times as texts": lambda df: df.assign(ts=["2024-05-17T12:00:00+02:00"] * len(df)),
    "integers in a float column": lambda df: df.assign(long=df["long"].astype(float)),
    "small integers": lambda df: df.assign(long=(df["long"] % 100).astype("int8")),
    "integers for texts": lambda df: df.assign(text=range(len(df))),
    "integers for flags": lambda df: df.assign(flag=[0, 1] * (len(df) // 2)),
    "strided columns": lambda df: pd.concat([df] * 2, ignore_index=True).iloc[::2],
    "the same entities again": lambda df: pd.concat(
        [df, df.assign(ts=df["ts"] + timedelta(days=1), double=0.5), df], ignore_index=True
    ),
    "more rows than a block": lambda df: pd.concat(
        [df.assign(driver_id=df["driver_id"] + 1000 * place) for place in range(40)],
        ignore_index=True,
    ),
}


@pytest.mark.parametrize("form", FRAMES)
def test_any_frame(writers: Writers, form: str) -> None:
    assert assert_same(writers, "wide", FRAMES[form](wide_frame())) > 0


def test_what_a_frame_is_made_of() -> None:
    """Pandas' arrays are converted as pyarrow converts the series."""
    times = pd.to_datetime(["2020-01-01 01:02:03.25", None, "1960-05-06 07:08:09.5"])
    columns = pd.DataFrame(
        {
            "plain": [1.5, np.nan, 2.0],
            "object": ["a", None, np.nan],
            "list": [[1.0], None, []],
            "category": pd.Categorical(["a", None, "a"]),
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "text": pd.array(["a", None, "c"], dtype="string"),
            "arrow": pd.array([1.5, None, 2.0], dtype="double[pyarrow]"),
            "naive": times,
            "utc": times.tz_localize("UTC"),
            "seconds": times.tz_localize(timezone.utc).as_unit("s"),
            "zone": times.tz_localize("Asia/Kolkata"),
            "duration": pd.to_timedelta([1, None, 3], unit="s"),
        }
    )
    arrays = list(_column_arrays(columns))
    for (name, series), array in zip(columns.items(), arrays, strict=True):
        expected = pa.array(series, from_pandas=True)
        for column in (array, series):
            converted = _arrow_array(column)
            assert converted.type == expected.type, name
            assert converted.equals(expected), name


def test_frames_of_every_view(writers: Writers) -> None:
    times = {"ts": [NOON, NOON + timedelta(seconds=1)]}
    frames: dict[str, dict[str, Any]] = {
        "customer": {"customer_id": ["ü", ""], "age": [1, 2], "vip": [True, None]},
        "account": {"account_id": [5, -6], "driver_id": [1, 2], "photo": [b"\xff", None]},
        "device": {"device_id": [b"\x00", b"?"], "model": ["", "x"]},
        "hour": {"hour_id": [NOON, NOON - timedelta(days=40_000)], "holiday": [True, False]},
        "pair": {"driver_id": [1, 1], "customer_id": ["a", "b"], "affinity": [0.5, -0.0]},
        "triple": {
            "hour_id": [NOON, NOON],
            "customer_id": ["a", "b"],
            "account_id": [1, 2],
            "weight": [0.5, None],
        },
    }
    for name, columns in frames.items():
        absent = {
            field.name: [None, None]
            for field in writers.view(name).features
            if field.name not in columns
        }
        df = pd.DataFrame({**columns, **absent, **times})
        writers.clear()
        assert assert_same(writers, name, df) == 2, name


def test_a_push_source_with_a_field_mapping(writers: Writers) -> None:
    df = pd.DataFrame({"drv": [1, 2], "rate": [0.5, 1.5], "city": ["a", None], "when": [NOON] * 2})
    for store in writers.stores:
        store.push("events", df.copy(), to=PushMode.ONLINE)
    assert len(writers.assert_same()) == 2
    newer = df.assign(when=NOON + timedelta(seconds=1), city="b")
    writers.stock.push("events", newer.copy(), to=PushMode.ONLINE)
    asyncio.run(writers.ours.push_async("events", newer.copy(), to=PushMode.ONLINE))
    writers.assert_same()
    answer = writers.ours.get_online_features(["pushed:city"], [{"driver_id": 2}])
    assert answer.to_dict()["city"] == ["b"]


def test_what_stock_cannot_take(writers: Writers) -> None:
    df = wide_frame(3).assign(other=[object(), 1, "x"], document=[{"a": [1, None]}] * 3)
    put(writers.ours, "wide", df)
    assert len(stored(writers.ours)) == 3
    answer = writers.ours.get_online_features(["wide:document"], [{"driver_id": -20}])
    assert answer.to_dict()["document"] == [{"a": [1.0, None]}]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_view_without_entities(writers: Writers, asynchronous: bool) -> None:
    df = pd.DataFrame({"fee": [1.5], "slogan": ["go"], "ts": [NOON]})
    found = []
    for store in writers.stores:
        store.refresh_registry()
        put(store, "globals", df, asynchronous)
        answer = store.get_online_features(["globals:fee"], [{"driver_id": 1}])
        found.append(answer.to_dict()["fee"])
    # Stock's listing hides the join key, so it writes to a key that no read looks at.
    assert found == [[None], [1.5]]


def test_an_on_demand_view_that_is_stored(writers: Writers) -> None:
    df = pd.DataFrame({"driver_id": [1, 2], "rate": [0.5, None], "ts": [NOON] * 2})
    for store in writers.stores:
        put(store, "stored", df)
    stocks, ours = (rows_of(store, without=b"_ts:stored") for store in writers.stores)
    assert stocks == ours
    assert len(ours) == 2
    client_of(writers.ours).flushall()
    put(writers.ours, "stored", df, asynchronous=True)
    assert rows_of(writers.ours, without=b"_ts:stored") == ours


def test_what_is_missing_or_does_not_fit(writers: Writers) -> None:
    df = wide_frame(1000)
    wrong = {
        "ts": df.assign(ts=[None if place == 900 else NOON for place in range(1000)]),
        "driver_id": df.assign(
            driver_id=[None if place == 900 else place for place in range(1000)]
        ),
        "long": df.assign(long=[0.5] * 1000),
        "document": df.assign(document=["{" if place == 900 else "{}" for place in range(1000)]),
        "vector": df.assign(vector=["text"] * 1000),
    }
    for name, bad in wrong.items():
        with pytest.raises((feast_rs.EncodeError, feast_rs.EntityKeyError)) as raised:
            put(writers.ours, "wide", bad)
        assert f"feature view 'wide', column '{name}'" in str(raised.value)
    for name in ("ts", "driver_id"):
        with pytest.raises(feast_rs.ArgumentError, match=f"'{name}'"):
            put(writers.ours, "wide", df.drop(columns=[name]))
    assert stored(writers.ours) == {}, "nothing of such a frame is written"


def test_a_refused_row_of_a_large_frame(server: RedisServer, tmp_path: Path) -> None:
    """The counts are of the whole frame."""
    open_store(tmp_path, server.address)
    config = tmp_path / "feature_store.yaml"
    config.write_text(config.read_text().replace("provider: local", f"provider: {PROVIDER}"))
    store = FeatureStore(str(tmp_path))
    df = pd.concat(
        [frame([7]).assign(driver_id=driver) for driver in range(3000)], ignore_index=True
    )
    client = client_of(store)
    client.set(redis_key(2990), "no hash")
    for asynchronous in (False, True):
        with pytest.raises(feast_rs.ServerError, match=r"driver_id=2990: WRONGTYPE") as raised:
            put(store, "stats", df, asynchronous)
        told = re.match(r"(\d+) of 3000 rows were acknowledged", str(raised.value))
        assert told
        assert int(told[1]) == client.dbsize() - 1 > 0
    client.delete(redis_key(2990))
    put(store, "stats", df)
    assert client.dbsize() == 3000
    assert store.get_online_features(FEATURES, [{"driver_id": 2990}]).to_dict()["trips"] != [None]


@pytest.mark.parametrize("online_store", ["sqlite", OURS])
def test_other_online_stores(server: RedisServer, tmp_path: Path, online_store: str) -> None:
    settings: dict[str, Any] = {"type": online_store}
    if online_store == "sqlite":
        settings["path"] = str(tmp_path / "online.db")
    else:
        settings["connection_string"] = server.address
    store = FeatureStore(
        config=RepoConfig(
            project="proj",
            provider=PROVIDER,
            registry=str(tmp_path / "registry.db"),
            entity_key_serialization_version=3,
            online_store=settings,
            offline_store={"type": "file"},
        )
    )
    World(store)
    df = pd.DataFrame(
        {
            "driver_id": [1],
            "rate": [0.5],
            "trips": [3],
            "city": ["a"],
            "tags": [["x"]],
            "since": [NOON],
            "ts": [datetime.now(timezone.utc)],
        }
    )
    put(store, "driver_stats", df)
    answer = store.get_online_features(
        ["driver_stats:rate", "driver_stats:tags"], [{"driver_id": 1}]
    ).to_dict()
    assert answer == {"driver_id": [1], "rate": [0.5], "tags": [["x"]]}
    if online_store == OURS:
        put(store, "driver_stats", df.assign(rate=0.75, ts=NOON), asynchronous=True)
        answer = store.get_online_features(["driver_stats:rate"], [{"driver_id": 1}])
        assert answer.to_dict()["rate"] == [0.5], "an older row is skipped"


def pushed_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"drv": [1, 2], "rate": [0.5, 1.5], "city": ["a", None], "when": [NOON] * 2}
    )


def test_feast_rs_push(writers: Writers) -> None:
    df = pushed_frame()
    writers.stock.push("events", df.copy())
    feast_rs.push(writers.ours, "events", df.copy())
    assert len(writers.assert_same()) == 2
    newer = df.assign(when=[NOON + timedelta(seconds=1), NOON - timedelta(seconds=1)], city="b")
    writers.stock.push("events", newer.copy(), to=PushMode.ONLINE, allow_registry_cache=False)
    feast_rs.push(writers.ours, "events", newer.copy(), allow_registry_cache=False)
    writers.assert_same()
    for store, push in zip(writers.stores, (FeatureStore.push, feast_rs.push), strict=True):
        with pytest.raises(PushSourceNotFoundException):
            push(store, "nobody's", df)


@pytest.mark.parametrize("lacking", ["rows", "features"])
def test_feast_rs_push_of_nothing(writers: Writers, lacking: str) -> None:
    df = pushed_frame()
    df = df[:0] if lacking == "rows" else df.assign(rate=None, city=None)
    for store, push in zip(writers.stores, (FeatureStore.push, feast_rs.push), strict=True):
        with pytest.warns(UserWarning, match="Cannot write"):
            # Feast looks for the features' columns before it maps names.
            push(store, "events", df.copy())
    assert writers.assert_same() == {}


def test_feast_rs_push_says_what_is_wrong(writers: Writers, tmp_path: Path) -> None:
    df = pushed_frame()
    with pytest.raises(feast_rs.EncodeError, match="feature view 'pushed', column 'rate'"):
        feast_rs.push(writers.ours, "events", df.assign(rate=["x", "y"]))
    with pytest.raises(feast_rs.ArgumentError, match="'driver_id'"):
        feast_rs.push(writers.ours, "events", df.drop(columns=["drv"]))
    with pytest.raises(feast_rs.ArgumentError, match=r"online_store\.type"):
        feast_rs.push(writers.stock, "events", df)
    assert stored(writers.ours) == {}


def test_feast_rs_push_also_to_the_offline_store(server: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    schema = {"driver_id": [1], "rate": [0.0], "ts": [NOON]}
    pd.DataFrame(schema).to_parquet(path)
    store = feature_store(OURS, tmp_path, server.address)
    batch = FileSource(name="events_batch", path=str(path), timestamp_field="ts")
    source = PushSource(name="events", batch_source=batch)
    fields = [Field(name="driver_id", dtype=Int64), Field(name="rate", dtype=Float64)]
    pushed = FeatureView(
        name="pushed",
        entities=[ENTITIES["driver"]],
        ttl=timedelta(days=1),
        schema=fields,
        source=source,
    )
    service = FeatureService(name="kept", features=[pushed], precompute_online=True)
    store.apply([ENTITIES["driver"], source, pushed, service])
    df = pd.DataFrame({"driver_id": [2, 3], "rate": [0.5, 1.5], "ts": [NOON] * 2})
    feast_rs.push(store, "events", df, to=PushMode.OFFLINE)
    assert len(pd.read_parquet(path)) == 3
    rows = [{"driver_id": 2}, {"driver_id": 3}]
    assert store.get_online_features(["pushed:rate"], rows).to_dict()["rate"] == [None, None]
    feast_rs.push(store, "events", df, to=PushMode.ONLINE_AND_OFFLINE)
    assert len(pd.read_parquet(path)) == 5
    assert store.get_online_features(["pushed:rate"], rows).to_dict()["rate"] == [0.5, 1.5]
    # The vectors of the service are computed again.

    def kept() -> list[float]:
        kept = store.get_feature_service("kept")
        answer = store.get_online_features(kept, rows, full_feature_names=True)
        found: list[float] = answer.to_dict()["pushed__rate"]
        return found

    assert kept() == [0.5, 1.5]
    later = df.assign(rate=2.5, ts=NOON + timedelta(seconds=1))
    feast_rs.push(store, "events", later)
    assert kept() == [2.5, 2.5]
