"""Hedged reads: a primary that is busy now and then, and a replica that is not.

Before every thirtieth read the primary is told to sleep, as a slow command would have it do, and
the next read waits until it is over. So both stores find it busy equally often, however fast they
are.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from feast import FeatureStore

from .floor import command
from .latency import Latency
from .measure import differences
from .repository import Repository
from .server import Server, private_server
from .shapes import FIVE_VIEWS
from .stores import OURS, Rows, entity_rows, read

ROWS = 10
BUSY_EVERY = 30
BUSY_MS = 20
PERCENTILE = 95
_REFS = FIVE_VIEWS.refs()
_SYNC_SECONDS = 20.0


@dataclass(frozen=True)
class HedgingResult:
    """Reads of 10 x 50 from a primary with one replica."""

    plain: Latency
    hedged: Latency
    added_share: float
    """Hashes read from the replica, as a share of those that were asked for."""


@dataclass(frozen=True)
class _Request:
    rows: Rows
    expected: dict[str, list[object]]


def _requests(stock: FeatureStore, count: int) -> list[_Request]:
    rng = np.random.default_rng(ROWS)
    found = []
    for _ in range(count):
        numbers = rng.choice(FIVE_VIEWS.entities, size=ROWS, replace=False).tolist()
        rows = entity_rows(FIVE_VIEWS, numbers)
        found.append(_Request(rows, read(stock, _REFS, rows).to_dict()))
    return found


def _times(store: FeatureStore, primary: Server, requests: Sequence[_Request]) -> list[float]:
    """Seconds of each read, checked."""
    seconds = []
    gc.collect()
    with closing(primary.connect()) as sleeper:
        for number, request in enumerate(requests, 1):
            busy = number % BUSY_EVERY == 0
            if busy:
                sleeper.sendall(command(b"DEBUG", b"SLEEP", b"%g" % (BUSY_MS / 1e3)))
            begin = time.perf_counter()
            answer = read(store, _REFS, request.rows).to_dict()
            seconds.append(time.perf_counter() - begin)
            if busy and sleeper.recv(64) != b"+OK\r\n":
                raise SystemExit("The server does not know DEBUG SLEEP")
            wrong = differences(request.expected, answer)
            if wrong:
                raise SystemExit(f"A read from a primary or its replica is wrong: {wrong}")
    return seconds


def _wait_synced(primary: Server, replica: Server) -> None:
    """Wait until the replica has everything that the primary had."""
    deadline = time.monotonic() + _SYNC_SECONDS
    offset = primary.client.info("replication")["master_repl_offset"]
    while True:
        info = replica.client.info("replication")
        if info["master_link_status"] == "up" and info["slave_repl_offset"] >= offset:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"The replica has not caught up within {_SYNC_SECONDS:g} s")
        time.sleep(0.05)


def measure_hedging(repository: Repository, primary: Server, quick: bool) -> HedgingResult:
    """Race a store that hedges and one that does not; `primary` has the repository's rows."""
    rounds, calls = (2, 150) if quick else (10, 300)
    primary.client.config_set("repl-diskless-sync-delay", 0)
    with private_server("--replicaof", f"{primary.host} {primary.port}") as replica:
        _wait_synced(primary, replica)
        plain = repository.open({"type": OURS})
        hedges = {"replicas": [replica.address], "hedge_percentile": PERCENTILE}
        hedged = repository.open({"type": OURS, **hedges})
        requests = _requests(repository.stock, calls)
        taken: dict[str, list[float]] = {"plain": [], "hedged": []}
        # It has to know the primary's latencies first.
        for store in (plain, hedged):
            _times(store, primary, requests)
        before = replica.hashes_read()
        gc.collect()
        gc.freeze()
        for _ in range(rounds):
            taken["plain"] += _times(plain, primary, requests)
            taken["hedged"] += _times(hedged, primary, requests)
        added = replica.hashes_read() - before
    return HedgingResult(
        Latency.of(taken["plain"]), Latency.of(taken["hedged"]), added / (rounds * calls * ROWS)
    )
