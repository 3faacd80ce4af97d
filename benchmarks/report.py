"""The run's figures as Markdown tables, JSON and a chart."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .chart import bars
from .deployment_report import deployment_sections, missed_deployments
from .deployments import Deployments
from .gil import HASHING, TRUSTED_SHARE, GilFigure
from .ingest import IngestResult
from .materialize import MaterializeMemory, MaterializeResult
from .memory import MemoryFigure
from .reads import FLOOR, STOCK_COMMANDS, ReadResult
from .service import AsyncResult, ThreadResult
from .tables import milliseconds, table, verdict
from .write_report import missed_writes, write_sections

RESULTS = Path(__file__).resolve().parent / "results"
_PACKAGES = ("feast", "feast-rs", "redis", "hiredis", "valkey-glide-sync", "pyarrow", "numpy")


@dataclass
class Report:
    """Everything measured in one run; what was left out stays empty."""

    quick: bool
    label: str = "feast-rs"
    server: str = ""
    notes: Sequence[str] = ()
    reads: list[ReadResult] = field(default_factory=list)
    narrow: list[ReadResult] = field(default_factory=list)
    threads: ThreadResult | None = None
    concurrent: AsyncResult | None = None
    gil: dict[str, GilFigure] = field(default_factory=dict)
    memory: dict[str, MemoryFigure] = field(default_factory=dict)
    writes: list[MaterializeResult] = field(default_factory=list)
    ingest: list[IngestResult] = field(default_factory=list)
    growth: list[MaterializeMemory] = field(default_factory=list)
    deployments: Deployments = field(default_factory=Deployments)

    def missed(self) -> list[str]:
        """The bars that were not reached."""
        return [
            f"{read.label}: {name}"
            for read in [*self.reads, *self.narrow]
            for name, passed in read.passed.items()
            if not passed
        ] + [
            *(f"{name}: memory grows" for name, figure in self.memory.items() if not figure.flat),
            *missed_writes(self.writes, self.ingest, self.growth),
            *missed_deployments(self.deployments),
        ]


def environment(report: Report) -> dict[str, Any]:
    """What the figures were taken on."""
    packages: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "server": report.server,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": packages,
    }


def _bars_table(report: Report) -> str:
    heads = ["entities x features", "stock, ms", "to_dict, ms", "times faster"]
    heads += ["to_arrow, ms", "floor, ms", "over floor", "Redis CPU, share of stock's"]
    rows = []
    for read in report.reads:
        bar, figures = read.bar or {}, read.figures
        rows.append(
            (
                read.label,
                milliseconds(figures[read.stock].seconds),
                milliseconds(figures[f"{report.label} to_dict"].seconds),
                verdict(
                    f"{read.to_dict_faster:.1f}",
                    read.passed["to_dict"],
                    f"{bar['to_dict_faster']:g}",
                ),
                milliseconds(figures[f"{report.label} to_arrow"].seconds),
                milliseconds(figures[FLOOR].seconds),
                verdict(
                    f"{read.to_arrow_over_floor:.2f}",
                    read.passed["to_arrow"],
                    f"{bar['to_arrow_over_floor']:g}",
                ),
                verdict(f"{read.redis_share:.2f}", read.passed["redis"], f"{bar['redis_share']:g}"),
            )
        )
    return table(heads, rows)


def _contestants_table(reads: Sequence[ReadResult], unit: str) -> str:
    names = list(reads[0].figures)

    def cell(read: ReadResult, name: str) -> str:
        figure = read.figures[name]
        return milliseconds(figure.seconds) if unit == "ms" else f"{figure.redis_command_us:.0f}"

    return table(
        (unit, *(read.label for read in reads)),
        [(name, *(cell(read, name) for read in reads)) for name in names],
    )


def _samples_text(reads: Sequence[ReadResult]) -> str:
    """How many samples there are, and how many did not count."""
    figures = [figure for read in reads for figure in read.figures.values()]
    samples, retaken = sum(f.samples for f in figures), sum(f.retaken for f in figures)
    text = (
        f"{samples} samples; {retaken} more were taken again, whoever's they were, since the "
        "machine's CPUs were not apart just then (`cpus.py`)."
    )
    doubtful = sum(f.doubtful for f in figures)
    if doubtful:
        text += f" {doubtful} count although they were not apart for long: do not trust them."
    return text


def _narrow_table(report: Report) -> str:
    rows = [
        (
            read.label,
            verdict(f"{read.to_dict_faster:.1f}", read.passed["to_dict"], "1"),
            verdict(f"{read.redis_share:.2f}", read.passed["redis"], "1 within noise"),
            f"{_arrow_over_commands(report, read):.2f}",
        )
        for read in report.narrow
    ]
    heads = ("entities x features", "to_dict, times faster", "Redis CPU, share of stock's")
    return table((*heads, "to_arrow over stock's commands, bare"), rows)


def _arrow_over_commands(report: Report, read: ReadResult) -> float:
    arrow = read.figures[f"{report.label} to_arrow"].seconds
    return arrow / read.figures[STOCK_COMMANDS].seconds


def _service_sections(report: Report) -> list[tuple[str, str]]:
    sections: list[tuple[str, str]] = []
    if report.threads is not None:
        rows = [(name, f"{rate:.0f}") for name, rate in report.threads.reads_per_second.items()]
        sections.append(
            ("8 threads, each reading 100 x 50", table(("store", "reads/s, all together"), rows))
        )
    if report.concurrent is not None:
        found = report.concurrent
        heads = ("store", "reads/s", "longest stall, ms", "median stall, ms")
        rows_async = [
            (
                name,
                f"{rate:.0f}",
                f"{found.longest_stall_ms[name]:.1f}",
                f"{found.median_stall_ms[name]:.2f}",
            )
            for name, rate in found.reads_per_second.items()
        ]
        text = table(heads, rows_async)
        text += f"\n\nThe same ticker beside nothing: {found.idle_stall_ms:.1f} ms at most."
        sections.append(("64 concurrent async reads of 10 x 50, with to_dict", text))
    if report.gil:
        rows_gil = [
            (name, f"{f.call_ms:.1f}", f"{f.held_ms:.1f}", f"{f.share:.0%}")
            for name, f in report.gil.items()
        ]
        heads = ("call", "alone, ms", "lock held, ms", "share of the call")
        text = table(heads, rows_gil)
        if report.gil[HASHING].share > TRUSTED_SHARE:
            text += "\n\nThe machine was too busy: hashing holds no lock, so do not trust the rest."
        sections.append(("The GIL in a read of 1000 x 50", text))
    if report.memory:
        rows_memory = [
            (
                name,
                str(f.reads),
                f"{f.before_mb:.0f}",
                f"{f.tenth_mb:.0f}",
                f"{f.peak_mb:.0f}",
                "flat" if f.flat else "GROWS",
            )
            for name, f in report.memory.items()
        ]
        heads_memory = ("reader", "reads", "before, MB", "after a tenth", "peak since", "verdict")
        text = table(heads_memory, rows_memory)
        text += "\n\nWithout transparent huge pages, which seem to grow when the kernel makes one."
        sections.append(("Memory of 1000 x 50, repeated", text))
    return sections


def to_markdown(report: Report) -> str:
    """All tables of the run."""
    where = environment(report)
    packages = ", ".join(f"{name} {number}" for name, number in where["packages"].items())
    parts = [
        "# Benchmark results",
        f"{where['date']}, {where['server']}, Python {where['python']}, {where['machine']}; "
        f"{packages}.",
        "Times are medians of one interleaved run on one machine: compare them with each other, "
        "not with another run's. Every answer was compared with stock's before it was timed.",
    ]
    if report.quick:
        parts.append("A quick run: few samples, for trying things out.")
    parts += report.notes
    if report.reads:
        parts += ["## Reads", _bars_table(report), _samples_text(report.reads)]
        parts += ["Milliseconds of everything that was raced:"]
        parts += [_contestants_table(report.reads, "ms")]
        parts += ["Microseconds that Redis spent in commands, for one read:"]
        parts += [_contestants_table(report.reads, "us")]
    if report.narrow:
        parts += ["## Few fields of wide hashes", _narrow_table(report)]
        parts += [_contestants_table(report.narrow, "ms")]
        parts += [_contestants_table(report.narrow, "us")]
    parts += write_sections(report.writes, report.ingest, report.growth)
    for title, text in _service_sections(report):
        parts += [f"## {title}", text]
    parts += deployment_sections(report.deployments)
    return "\n\n".join(parts) + "\n"


def write(report: Report, directory: Path = RESULTS) -> list[Path]:
    """Write the tables, the figures and the chart; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = [directory / "results.md", directory / "results.json"]
    written[0].write_text(to_markdown(report))
    figures = {"environment": environment(report), **asdict(report)}
    written[1].write_text(json.dumps(figures, indent=2) + "\n")
    if report.reads:
        shown = [
            name
            for name in report.reads[0].figures
            if name in {FLOOR, f"{report.label} to_dict", f"{report.label} to_arrow"}
            or name.startswith("stock ")
        ]
        groups = {
            read.label: {name: figure.seconds for name, figure in read.figures.items()}
            for read in report.reads
        }
        written.append(directory / "reads.svg")
        written[2].write_text(bars("One read, end to end (logarithmic)", groups, shown))
    return written
