"""Rows that writers race for: all of a row follows from its stamp, so that a half row shows."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
from feast import FeatureStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

import feast_rs
from tests.support.drivers import FEATURES

ENTITIES = 60
STAMPS = 2000
_START = datetime(2024, 1, 1, tzinfo=timezone.utc)

Row = tuple[int, int]
"""An entity and the stamp of one of its rows; the larger the stamp, the newer."""


def share(seed: int, rows: int = 3000) -> list[Row]:
    """One writer's rows, in any order, some of them more than once."""
    choice = random.Random(seed)
    chosen = [(choice.randrange(ENTITIES), choice.randrange(STAMPS)) for _ in range(rows)]
    chosen += choice.sample(chosen, rows // 5)
    choice.shuffle(chosen)
    return chosen


def newest(shares: Iterable[list[Row]]) -> dict[int, int]:
    """The stamp that each entity must end with."""
    latest: dict[int, int] = {}
    for rows in shares:
        for entity, stamp in rows:
            latest[entity] = max(stamp, latest.get(entity, stamp))
    return latest


def time_of(stamp: int) -> datetime:
    return _START + timedelta(milliseconds=stamp * 250)


def features_of(stamp: int) -> dict[str, Any]:
    return {
        "rate": stamp / 4,
        "trips": stamp,
        "city": f"stamp {stamp}" + "x" * (stamp % 80),
        "tags": [str(stamp)] * (stamp % 3),
        "seen": _START + timedelta(seconds=stamp),
    }


def record_batch(rows: list[Row]) -> pa.RecordBatch:
    """Rows for `write_batches`."""
    return pa.RecordBatch.from_pylist(
        [
            {"driver_id": entity, **features_of(stamp), "ts": time_of(stamp)}
            for entity, stamp in rows
        ],
        pa.schema(
            [
                ("driver_id", pa.int64()),
                ("rate", pa.float64()),
                ("trips", pa.int64()),
                ("city", pa.string()),
                ("tags", pa.list_(pa.string())),
                ("seen", pa.timestamp("us", "UTC")),
                ("ts", pa.timestamp("us", "UTC")),
            ]
        ),
    )


def messages(rows: list[Row]) -> list[Any]:
    """Rows for `online_write_batch`."""
    data = []
    for entity, stamp in rows:
        features = features_of(stamp)
        key = EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=entity)])
        values = {
            "rate": Value(double_val=features["rate"]),
            "trips": Value(int64_val=features["trips"]),
            "city": Value(string_val=features["city"]),
            "tags": Value(string_list_val={"val": features["tags"]}),
            "seen": Value(unix_timestamp_val=int(features["seen"].timestamp())),
        }
        data.append((key, values, time_of(stamp), None))
    return data


def write_share(store: FeatureStore, rows: list[Row], seed: int) -> None:
    """Writes rows in pieces, by the two ways in turn."""
    choice = random.Random(seed)
    view = store.get_feature_view("stats")
    online_store = store._get_provider().online_store
    while rows:
        length = choice.randint(1, 300)
        piece, rows = rows[:length], rows[length:]
        if choice.random() < 0.5:
            online_store.online_write_batch(store.config, view, messages(piece), None)
        else:
            cut = choice.randrange(len(piece) + 1)
            batches = [record_batch(piece[:cut]), record_batch(piece[cut:])]
            feast_rs.write_batches(store, view, batches)


def stored_stamps(store: FeatureStore) -> dict[int, int]:
    """The stamp that each entity has, whose rows must be whole."""
    entities = list(range(ENTITIES))
    answer = store.get_online_features(FEATURES, {"driver_id": entities}).to_dict(True)
    stamps = {}
    for entity in entities:
        stamp = answer["trips"][entity]
        if stamp is None:
            continue
        whole = features_of(stamp)
        assert {name: answer[name][entity] for name in whole} == whole, f"entity {entity}"
        assert answer["trips__ts"][entity] == int(time_of(stamp).timestamp())
        stamps[entity] = stamp
    return stamps
