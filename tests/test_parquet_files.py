"""Parquet files as a stream: how much of them is read, and how much of it is in memory."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from feast import FileSource

import feast_rs
from feast_rs.parquet_files import ParquetFiles
from tests.support.repositories import drivers, parquet
from tests.support.world import NOON


def found(path: Path, batch_rows: int = 64) -> ParquetFiles:
    return ParquetFiles.find("stats", FileSource(path=str(path)), None, batch_rows)


def in_order_of_time(rows: int) -> pa.Table:
    return drivers(count=rows, rows=rows).sort_by("ts")


def test_only_row_groups_that_the_range_touches_are_read(tmp_path: Path) -> None:
    for number in range(3):
        table = in_order_of_time(1000).slice(number * 300, 300)
        parquet(tmp_path / "files" / f"{number}.parquet", table, 100)
    files = found(tmp_path / "files")
    assert files.rows == 900
    files.limit("ts", NOON + timedelta(seconds=250), NOON + timedelta(seconds=320))
    assert files.rows == 200
    batches = list(files.scan(["driver_id"]))
    assert sum(batch.num_rows for batch in batches) == 71
    assert all(batch.schema.names == ["driver_id"] for batch in batches)


def test_scans_are_alike(tmp_path: Path) -> None:
    parquet(tmp_path / "files" / "a.parquet", drivers(count=50, rows=500))
    parquet(tmp_path / "files" / "b.parquet", drivers(count=50, rows=500))
    files = found(tmp_path / "files")
    files.limit("ts", NOON + timedelta(seconds=100), NOON + timedelta(seconds=300))
    first, second = (pa.Table.from_batches(files.scan(["driver_id", "ts"])) for _ in range(2))
    assert first.num_rows == 402
    assert first.equals(second)
    narrower = pa.Table.from_batches(files.scan(["ts"]))
    assert narrower.equals(first.select(["ts"]))


def test_a_large_row_group_is_not_held_in_memory(tmp_path: Path) -> None:
    rows = 1_000_000
    table = pa.table({f"f{number}": pa.array(np.arange(rows) / 8) for number in range(4)})
    files = found(parquet(tmp_path / "a.parquet", table, rows), batch_rows=8192)
    size = table.nbytes
    del table
    before = pa.total_allocated_bytes()
    most = seen = 0
    for batch in files.scan(files.columns):
        seen += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert seen == rows
    assert most < size / 2


@pytest.mark.parametrize("name", ["missing.parquet", "none*.parquet", ""])
def test_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(feast_rs.SourceNotFoundError, match="feature view stats: no Parquet file"):
        found(tmp_path / name)


def test_types_that_do_not_go_together(tmp_path: Path) -> None:
    parquet(tmp_path / "files" / "a.parquet", pa.table({"rate": [1.5]}))
    parquet(tmp_path / "files" / "b.parquet", pa.table({"rate": ["x"]}))
    with pytest.raises(feast_rs.SourceError, match=r"stats: the files of .* differ"):
        found(tmp_path / "files")


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", drivers(count=50, rows=500))
    files = found(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(feast_rs.SourceError, match=r"stats: .*a\.parquet cannot be read"):
        list(files.scan(["driver_id"]))
