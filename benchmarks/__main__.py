"""Run the benchmarks: `python -m benchmarks [--quick] [--only reads,gil]`.

Starts a private Redis, fills it in Feast's layout, checks that stock Feast and feast-rs give equal
answers and store equal bytes, times them in turn, and writes the tables and a chart.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from .deployments import measure_deployments
from .gil import measure_gil
from .ingest import measure_ingest
from .materialize import measure_materialize, measure_peaks, measure_updates
from .memory import MemoryFigure, measure_memory
from .reads import ReadResult, measure_read
from .report import RESULTS, Report, to_markdown, write
from .repository import Repository
from .server import Server, private_server
from .service import measure_async, measure_threads
from .shapes import BARS, GROUPS, NARROW, Shape
from .stores import OURS, STOCK, Stores
from .write_tables import MIXED, OTHERS

READ_PARTS = ("reads", "narrow", "threads", "async", "gil", "memory")
WRITE_PARTS = ("writes", "tables", "ingest", "growth")
PARTS = (*READ_PARTS, *WRITE_PARTS, "deployments")
# Rows of the runs whose peak memory is compared with the first's.
GROWTH = (60_000, 600_000, 5_000_000)


def say(words: str) -> None:
    """Progress goes to stderr, so that the tables on stdout can be piped."""
    print(words, file=sys.stderr, flush=True)


def options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few samples: a minute or two in all")
    parser.add_argument(
        "--only",
        metavar="PART,...",
        default=",".join(PARTS),
        help=f"parts to run, of {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--store",
        default=OURS,
        help="online store type to measure (default: %(default)s)",
    )
    parser.add_argument(
        "--memory-reads",
        type=int,
        help="reads in the memory loop (default: 10000, or 300 with --quick)",
    )
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help="directory for the results (%(default)s)"
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit with status 1 if a bar is missed"
    )
    found = parser.parse_args()
    found.only = [part.strip() for part in found.only.split(",") if part.strip()]
    unknown = set(found.only) - set(PARTS)
    if unknown:
        parser.error(f"--only: unknown part {', '.join(sorted(unknown))}")
    if found.memory_reads is None:
        found.memory_reads = 300 if found.quick else 10_000
    if found.memory_reads < 1:
        parser.error("--memory-reads must be positive")
    return found


def _reads(
    stores: Stores, server: Server, shapes: tuple[Shape, ...], quick: bool
) -> list[ReadResult]:
    found = []
    for shape in shapes:
        began = time.monotonic()
        result = measure_read(stores, server, shape, 1.0 if quick else 40.0, 2 if quick else 10)
        found.append(result)
        say(
            f"  {shape.label}: {result.to_dict_faster:.1f} times faster than {result.stock}, "
            f"{result.to_arrow_over_floor:.2f} of the floor ({time.monotonic() - began:.0f} s)"
        )
    return found


def _memory(
    repository: Repository, stores: Stores, store: str, reads: int
) -> dict[str, MemoryFigure]:
    # Stock's hundredth part is enough to see it, and all that patience allows.
    few = max(20, reads // 50)
    plans = (
        (f"{stores.label} to_dict", store, reads, False),
        (f"{stores.label} to_arrow", store, reads, True),
        (f"{STOCK} to_dict", "redis", few, False),
    )
    found: dict[str, MemoryFigure] = {}
    for name, kind, count, arrow in plans:
        say(f"  {name}: {count} reads")
        config = {"type": kind, **repository.server.settings}
        found[name] = measure_memory(repository.directory, config, count, arrow)
    return found


def _run_reads(report: Report, server: Server, directory: Path, chosen: argparse.Namespace) -> None:
    """The parts that read from a filled server."""
    seconds = 0.5 if chosen.quick else 3.0
    repository = Repository(server, directory)
    stores = Stores.build(repository, chosen.store)
    report.label, report.notes = stores.label, stores.notes
    for group in GROUPS:
        repository.fill(group)
        say(f"  {group.name}: {group.entities} entities, {len(group.refs())} features")
    if "reads" in chosen.only:
        say("Reads")
        report.reads = _reads(stores, server, BARS, chosen.quick)
    if "narrow" in chosen.only:
        say("Few fields of wide hashes")
        report.narrow = _reads(stores, server, NARROW, chosen.quick)
    if "threads" in chosen.only:
        say("Threads")
        report.threads = measure_threads(stores, seconds)
    if "async" in chosen.only:
        say("Coroutines")
        report.concurrent = measure_async(stores, seconds)
    if "gil" in chosen.only:
        say("The GIL")
        report.gil = measure_gil(stores, seconds)
    if "memory" in chosen.only:
        say("Memory")
        report.memory = _memory(repository, stores, chosen.store, chosen.memory_reads)


def _run_writes(
    report: Report, server: Server, directory: Path, chosen: argparse.Namespace
) -> None:
    """The parts that write to an empty server."""
    scale, rounds = (0.05, 1) if chosen.quick else (1.0, 3)
    tables = [MIXED] * ("writes" in chosen.only) + list(OTHERS) * ("tables" in chosen.only)
    for table in tables:
        say(f"Materializing {table.name}")
        result = measure_materialize(server, directory, table, scale, rounds)
        report.writes.append(result)
        say(f"  {result.faster:.1f} times faster than stock, {result.over_floor:.2f} of the floor")
    if "writes" in chosen.only:
        say(f"Materializing {MIXED.name} over older rows")
        report.writes.append(measure_updates(server, directory, MIXED, scale, rounds))
    if "ingest" in chosen.only:
        say("Single batches")
        report.ingest = measure_ingest(server, directory, 10 if chosen.quick else 100)
    if "growth" in chosen.only:
        say("Memory of materialization")
        sizes = GROWTH[:1] if chosen.quick else GROWTH
        report.growth = measure_peaks(server, directory, MIXED, sizes)


def main() -> int:
    """Run what was asked for."""
    chosen = options()
    report = Report(chosen.quick)
    with tempfile.TemporaryDirectory(prefix="feast-rs-bench-") as name, private_server() as server:
        say(f"{server.version()} on {server.address}")
        report.server = server.version()
        if set(chosen.only) & set(READ_PARTS):
            _run_reads(report, server, Path(name), chosen)
        if set(chosen.only) & set(WRITE_PARTS):
            _run_writes(report, server, Path(name), chosen)
        if "deployments" in chosen.only:
            say("Deployments")
            place = Path(name) / "deployments"
            place.mkdir()
            report.deployments = measure_deployments(place, chosen.quick, say)
    print(to_markdown(report))
    for path in write(report, chosen.output):
        say(f"wrote {path}")
    missed = report.missed()
    if missed:
        say("Missed: " + "; ".join(missed))
    return 1 if missed and chosen.strict else 0


if __name__ == "__main__":
    sys.exit(main())
