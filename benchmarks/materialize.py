"""Materialization of a Parquet file, against stock Feast and against a bare socket."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from feast import FeatureStore

from .server import Server
from .write_floor import BareWrite
from .write_stores import OUR_STORE, STOCK_STORE, materialize, open_store
from .write_tables import WriteTable

FASTER_BAR, FLOOR_BAR, GROWTH_BAR_MB = 15.0, 1.6, 250.0
# The ways in which newer rows are told from older ones, by the settings that choose them.
POLICIES: dict[str, dict[str, bool]] = {
    "compared": {},
    "atomic": {"atomic_writes": True},
    "assumed": {"skip_dedup": True},
}


@dataclass
class MaterializeResult:
    """Rows per second of one table."""

    name: str
    rows: int
    stock_rows: int
    stock: float
    floor: float
    ours: dict[str, float] = field(default_factory=dict)
    redis_us_per_row: dict[str, float] = field(default_factory=dict)

    @property
    def faster(self) -> float:
        """Times stock's rows per second."""
        return self.ours["compared"] / self.stock

    @property
    def over_floor(self) -> float:
        """Time over the bare socket's."""
        return self.floor / self.ours["compared"]

    @property
    def atomic_cost(self) -> float:
        """Share of throughput that `atomic_writes` costs."""
        return 1 - self.ours["atomic"] / self.ours["compared"]


@dataclass(frozen=True)
class MaterializeMemory:
    """Peak resident megabytes of a process that materializes so many rows."""

    rows: int
    peak_mb: float


def digest(server: Server) -> str:
    """A digest of all keys, fields, values; order does not matter."""
    return str(server.client.execute_command("DEBUG", "DIGEST"))


def _timed(
    store: FeatureStore, server: Server, rows: int, *, empty: bool = True
) -> tuple[float, float]:
    """Seconds, and microseconds of Redis for a row, to materialize. The server is emptied first,
    or has a row of each entity."""
    if empty:
        server.client.flushall()
    before = server.load()
    start = time.perf_counter()
    materialize(store)
    taken = time.perf_counter() - start
    spent = (server.load() - before).process_us / rows
    stored = server.client.dbsize()
    if stored != rows:
        raise SystemExit(f"{stored} of {rows} rows were stored")
    return taken, spent


def _result(
    name: str,
    rows: int,
    stock_rows: int,
    stock: float,
    times: dict[str, list[float]],
    costs: dict[str, list[float]],
) -> MaterializeResult:
    """The medians of the seconds of each policy and the floor, and of Redis' time a row."""
    return MaterializeResult(
        name,
        rows,
        stock_rows,
        stock,
        rows / median(times["floor"]),
        {policy: rows / median(times[policy]) for policy in costs},
        {policy: median(spent) for policy, spent in costs.items()},
    )


def measure_materialize(
    server: Server, directory: Path, table: WriteTable, scale: float, rounds: int
) -> MaterializeResult:
    """Checks that the same bytes are stored, then times all in turn."""
    rows, stock_rows = int(table.rows * scale), int(table.stock_rows * scale)
    place = directory / table.name.replace(" ", "_")
    place.mkdir()
    few, all_rows = place / "few.parquet", place / "all.parquet"
    table.write_parquet(few, stock_rows)
    table.write_parquet(all_rows, rows)
    stock = open_store(STOCK_STORE, server.address, place / "stock", table, few)
    same = open_store(OUR_STORE, server.address, place / "same", table, few)
    server.client.flushall()
    start = time.perf_counter()
    materialize(stock)
    stock_seconds = time.perf_counter() - start
    expected, stored = digest(server), server.client.dbsize()
    _timed(same, server, stock_rows)
    if digest(server) != expected or stored != stock_rows:
        raise SystemExit(f"{table.name}: feast-rs and stock Feast stored different bytes")
    ours = {
        name: open_store(OUR_STORE, server.address, place / name, table, all_rows, **settings)
        for name, settings in POLICIES.items()
    }
    _timed(ours["assumed"], server, rows)
    floor = BareWrite(server)
    times: dict[str, list[float]] = {name: [] for name in (*ours, "floor")}
    costs: dict[str, list[float]] = {name: [] for name in ours}
    for _ in range(rounds):
        for name, store in ours.items():
            taken, spent = _timed(store, server, rows)
            times[name].append(taken)
            costs[name].append(spent)
        times["floor"].append(floor())
    return _result(table.name, rows, stock_rows, stock_rows / stock_seconds, times, costs)


def measure_updates(
    server: Server, directory: Path, table: WriteTable, scale: float, rounds: int
) -> MaterializeResult:
    """The same where Redis has an older row of each entity, as an hourly task finds it."""
    name = f"{table.name}, over older rows"
    rows, stock_rows = int(table.rows * scale), int(table.stock_rows * scale) // 10
    place = directory / "updates"
    place.mkdir()
    path = place / "rows.parquet"
    stock = open_store(STOCK_STORE, server.address, place / "stock", table, path)
    ours = {
        policy: open_store(OUR_STORE, server.address, place / policy, table, path, **settings)
        for policy, settings in POLICIES.items()
    }
    digests, stock_seconds = set(), 0.0
    for store in (ours["compared"], stock):
        table.write_parquet(path, stock_rows)
        _timed(ours["compared"], server, stock_rows)
        table.write_parquet(path, stock_rows, hours=1)
        stock_seconds, _ = _timed(store, server, stock_rows, empty=False)
        digests.add(digest(server))
    if len(digests) != 1:
        raise SystemExit(f"{name}: feast-rs and stock Feast stored different bytes")
    table.write_parquet(path, rows)
    _timed(ours["compared"], server, rows)
    floor = BareWrite(server)
    times: dict[str, list[float]] = {policy: [] for policy in (*ours, "floor")}
    costs: dict[str, list[float]] = {policy: [] for policy in ours}
    hours = 0
    for _ in range(rounds):
        for policy, store in ours.items():
            hours += 1
            table.write_parquet(path, rows, hours)
            taken, spent = _timed(store, server, rows, empty=False)
            times[policy].append(taken)
            costs[policy].append(spent)
        times["floor"].append(floor(empty=False))
    return _result(name, rows, stock_rows, stock_rows / stock_seconds, times, costs)


def _peak(pipe: Connection, directory: Path, address: str, table: WriteTable, rows: int) -> None:
    path = directory / f"{rows}.parquet"
    store = open_store(OUR_STORE, address, directory / f"memory_{rows}", table, path)
    materialize(store)
    # getrusage's figure would include the parent's, from which this process was made.
    status = Path("/proc/self/status").read_text()
    peak_kb = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    pipe.send(int(peak_kb) / 1024)
    pipe.close()


def measure_peaks(
    server: Server, directory: Path, table: WriteTable, sizes: tuple[int, ...]
) -> list[MaterializeMemory]:
    """Peak memory by rows, each in a process of its own."""
    found = []
    context: Any = multiprocessing.get_context("spawn")
    for rows in sizes:
        table.write_parquet(directory / f"{rows}.parquet", rows)
        server.client.flushall()
        receiver, sender = context.Pipe(duplex=False)
        arguments = (sender, directory, server.address, table, rows)
        process = context.Process(target=_peak, args=arguments)
        process.start()
        sender.close()
        try:
            peak = receiver.recv()
        except EOFError:
            raise SystemExit(f"materializing {rows} rows failed") from None
        process.join()
        stored = server.client.dbsize()
        if stored != rows:
            raise SystemExit(f"{stored} of {rows} rows were stored")
        found.append(MaterializeMemory(rows, peak))
        (directory / f"{rows}.parquet").unlink()
    server.client.flushall()
    return found
