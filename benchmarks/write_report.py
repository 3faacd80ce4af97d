"""The figures of writes as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from .ingest import IngestResult
from .materialize import (
    FASTER_BAR,
    FLOOR_BAR,
    GROWTH_BAR_MB,
    MaterializeMemory,
    MaterializeResult,
)
from .tables import table, verdict
from .write_tables import MIXED


def _growth(peaks: Sequence[MaterializeMemory]) -> list[float]:
    return [peak.peak_mb - peaks[0].peak_mb for peak in peaks]


def missed_writes(
    writes: Sequence[MaterializeResult],
    ingest: Sequence[IngestResult],
    peaks: Sequence[MaterializeMemory],
) -> list[str]:
    """The bars that were not reached."""
    missed = [f"{one.name}: {one.faster:.1f}" for one in ingest if one.faster < one.bar]
    for one in writes:
        if one.name == MIXED.name and one.faster < FASTER_BAR:
            missed.append(f"materialization: {one.faster:.1f} times stock")
        if one.name == MIXED.name and one.over_floor > FLOOR_BAR:
            missed.append(f"materialization: {one.over_floor:.2f} of the bare socket")
    for peak, growth in zip(peaks, _growth(peaks), strict=True):
        if growth > GROWTH_BAR_MB:
            missed.append(f"memory of {peak.rows} rows: {growth:.0f} MB more")
    return missed


def write_sections(
    writes: Sequence[MaterializeResult],
    ingest: Sequence[IngestResult],
    peaks: Sequence[MaterializeMemory],
) -> list[str]:
    """The sections of what was measured."""
    parts = []
    if writes:
        parts += ["## Materialization of a Parquet file", _speeds(writes), _policies(writes)]
    if ingest:
        rows = [
            (
                one.name,
                f"{one.stock_ms:.1f}",
                f"{one.ours_ms:.1f}",
                verdict(f"{one.faster:.1f}", one.faster >= one.bar, f"{one.bar:g}"),
            )
            for one in ingest
        ]
        heads = ("call", "stock, ms", "feast-rs, ms", "times faster")
        parts += ["## Single batches", table(heads, rows)]
    if peaks:
        rows_memory = [
            (
                f"{peak.rows:,}",
                f"{peak.peak_mb:.0f}",
                verdict(f"{growth:.0f}", growth <= GROWTH_BAR_MB, f"{GROWTH_BAR_MB:g}"),
            )
            for peak, growth in zip(peaks, _growth(peaks), strict=True)
        ]
        heads_memory = ("rows", "peak, MB", "more than the first, MB")
        parts += ["## Memory of materialization", table(heads_memory, rows_memory)]
    return parts


def _speeds(writes: Sequence[MaterializeResult]) -> str:
    rows = []
    for one in writes:
        barred = one.name == MIXED.name
        faster, over = f"{one.faster:.1f}", f"{one.over_floor:.2f}"
        if barred:
            faster = verdict(faster, one.faster >= FASTER_BAR, f"{FASTER_BAR:g}")
            over = verdict(over, one.over_floor <= FLOOR_BAR, f"{FLOOR_BAR:g}")
        rows.append(
            (
                f"{one.rows:,} x {one.name}",
                f"{one.stock:,.0f} ({one.stock_rows:,} rows)",
                f"{one.ours['compared']:,.0f}",
                faster,
                f"{one.floor:,.0f}",
                over,
            )
        )
    heads = ("rows x view", "stock, rows/s", "feast-rs, rows/s", "times faster")
    return table((*heads, "bare socket, rows/s", "its time over the bare socket's"), rows)


def _policies(writes: Sequence[MaterializeResult]) -> str:
    rows = [
        (
            one.name,
            *(
                f"{one.ours[name]:,.0f} ({one.redis_us_per_row[name]:.1f})"
                for name in ("compared", "atomic", "assumed")
            ),
            f"{one.atomic_cost:.0%}",
        )
        for one in writes
    ]
    heads = ("rows/s (microseconds of Redis a row)", "as stock", "atomic_writes", "skip_dedup")
    return table((*heads, "cost of atomic_writes"), rows)
