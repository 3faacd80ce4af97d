"""Each entity's latest row, as a search with pandas finds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feast_rs import EntityKeyError, _core
from feast_rs.errors import ArgumentError, EncodeError

MEMORY = 1 << 20


def latest_rows(
    table: pa.Table,
    join_keys: Sequence[str],
    created: str | None = None,
    hint: int | None = None,
    memory: int = MEMORY,
    batch_size: int = 1000,
) -> tuple[list[int], _core.LatestRows]:
    """The positions of the table's latest rows, found as a caller does it."""
    hint = table.num_rows if hint is None else hint
    rows = _core.LatestRows(join_keys, "at", created, hint, memory)
    number = 0
    while number < rows.passes:
        rows.start(number)
        for batch in table.to_batches(batch_size):
            rows.add(batch)
        number += 1
    rows.finish()
    found: list[int] = []
    before = 0
    for batch in table.to_batches(batch_size):
        mask = pa.array(rows.mask(batch.num_rows))
        found += [before + row for row in pc.indices_nonzero(mask).to_pylist()]
        before += batch.num_rows
    assert rows.rows == table.num_rows
    assert rows.latest == len(found)
    return found, rows


def events(rows: int, entities: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    hours = pd.to_timedelta(random.integers(0, 50, rows), unit="h")
    made = pd.to_timedelta(random.integers(0, 3, rows), unit="s")
    number = random.integers(0, entities, rows)
    return pd.DataFrame(
        {
            "number": number,
            "text": [f"customer-{n % 7}" for n in number],
            "at": pd.Timestamp("2026-01-01", tz="UTC") + hours,
            "made": (pd.Timestamp("2026-01-02") + made).where(random.random(rows) < 0.7),
            "position": np.arange(rows),
        }
    )


def expected_positions(frame: pd.DataFrame, join_keys: list[str], by: list[str]) -> list[int]:
    ordered = frame.sort_values([*by, "position"], kind="stable", na_position="first")
    kept = ordered.drop_duplicates(join_keys, keep="last") if join_keys else ordered.tail(1)
    return sorted(kept["position"].tolist())


@pytest.mark.parametrize("created", [None, "made"])
@pytest.mark.parametrize("join_keys", [["number"], ["text"], ["text", "number"], []])
@pytest.mark.parametrize("memory", [0, MEMORY])
def test_the_latest_rows_are_those_that_pandas_finds(
    join_keys: list[str], created: str | None, memory: int
) -> None:
    frame = events(20_000, 3_000)
    found, rows = latest_rows(pa.Table.from_pandas(frame), join_keys, created, memory=memory)
    by = ["at"] if created is None else ["at", created]
    assert found == expected_positions(frame, join_keys, by)
    assert rows.passes == 1 or (memory == 0 and "number" in join_keys)


def test_a_hint_that_is_too_low_costs_passes_and_no_row() -> None:
    frame = events(50_000, 1_000_000)
    found, rows = latest_rows(pa.Table.from_pandas(frame), ["number"], hint=10, memory=0)
    assert found == expected_positions(frame, ["number"], ["at"])
    assert rows.passes > 50


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_timestamps_are_compared_exactly(unit: str, zone: str | None) -> None:
    base = 1_700_000_000 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    at = pa.array([base + 1, base + 2, base], pa.timestamp(unit, zone))
    found, _ = latest_rows(pa.table({"id": [1, 1, 1], "at": at}), ["id"])
    assert found == [1]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_dates_are_timestamps_too(kind: pa.DataType) -> None:
    at = pc.cast(pa.array([3, 5, 4], pa.int32()).cast(pa.date32()), kind)
    found, _ = latest_rows(pa.table({"id": ["a", "a", "a"], "at": at}), ["id"])
    assert found == [1]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
        pa.run_end_encoded(pa.int32(), pa.string()),
    ],
    ids=str,
)
def test_keys_are_known_by_their_values_however_they_are_encoded(kind: pa.DataType) -> None:
    values = pa.array(["a", "a", "", "a name of more than twelve bytes", "", "é"])
    if pa.types.is_run_end_encoded(kind):
        keys = pc.run_end_encode(values)
    elif pa.types.is_dictionary(kind):
        keys = pc.cast(pc.cast(values, kind.value_type).dictionary_encode(), kind)
    else:
        keys = pc.cast(values, kind)
    at = pa.array([0] * 6, pa.timestamp("us"))
    table = pa.table({"id": keys, "at": at})
    for size in (1, 4, 6):
        found, _ = latest_rows(table.slice(0), ["id"], batch_size=size)
        assert found == [1, 3, 4, 5]


def test_a_null_is_told_with_its_column_and_row() -> None:
    at = pa.array([0, 1, None], pa.timestamp("us"))
    with pytest.raises(EncodeError, match=r"'at': the value is null in row 2 "):
        latest_rows(pa.table({"id": [1, 2, 3], "at": at}), ["id"], batch_size=1)
    whole = pa.array([0, 1, 2], pa.timestamp("us"))
    with pytest.raises(EntityKeyError, match=r"'id': the value is null in row 1 "):
        latest_rows(pa.table({"id": [1, None, 3], "at": whole}), ["id"])
    with pytest.raises(EntityKeyError, match="Float64 cannot be a join key"):
        latest_rows(pa.table({"id": [1.0, 2.0, 3.0], "at": whole}), ["id"])


def test_a_source_that_changes_is_told() -> None:
    table = pa.Table.from_pandas(events(5_000, 100_000))
    rows = _core.LatestRows(["number"], "at", None, 5_000, 0)
    rows.start(0)
    rows.add(table.to_batches()[0])
    rows.start(1)
    rows.add(table.slice(1).to_batches()[0])
    with pytest.raises(ArgumentError, match="the source changed while it was read"):
        rows.start(2)


def test_more_rows_than_were_added_have_no_mask() -> None:
    table = pa.Table.from_pandas(events(100, 10))
    _, rows = latest_rows(table, ["number"])
    with pytest.raises(ArgumentError, match="the source changed while it was read"):
        rows.mask(1)


def test_other_threads_run_while_rows_are_added() -> None:
    batch = pa.RecordBatch.from_pandas(events(2_000_000, 1_000_000))
    rows = _core.LatestRows(["number"], "at", "made", batch.num_rows, 256 << 20)
    rows.start(0)
    adding = threading.Thread(target=rows.add, args=(batch,))
    ticks = 0
    adding.start()
    while adding.is_alive():
        time.sleep(0.001)
        ticks += 1
    adding.join()
    rows.finish()
    assert rows.rows == batch.num_rows
    assert ticks > 3
