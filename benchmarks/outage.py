"""One of three nodes stopped: what its keys cost a reader, and what the others' do.

The node's process is stopped, so that connections to it stay open and nobody answers: the case
that no closed connection betrays. One caller reads one request after the other.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

from .cluster import Cluster
from .latency import Latency
from .measure import same
from .repository import Repository, entity_key
from .shapes import FIVE_VIEWS
from .stores import OURS, entity_rows, read

LIMIT_MS = 50
OVER_LIMIT_MS = 10
TIMES_BEFORE = 2.0
BACK_SECONDS = 2.0
ROWS = 10
_DEFAULT = -1.0
_REFS = FIVE_VIEWS.refs()
_NAMES = [name for view in FIVE_VIEWS.views.values() for name in view]
_SETTINGS = {
    "request_timeout_ms": LIMIT_MS,
    "on_error": "defaults",
    "default_values": dict.fromkeys(_REFS, _DEFAULT),
    "breaker": True,
}
_OPEN_SECONDS = 2.0
_PATIENCE_SECONDS = 10.0
_GOOD_READS = 100


@dataclass(frozen=True)
class OutageResult:
    """Reads of 10 x 50 from a cluster, in all rounds together."""

    before: Latency
    """Any keys, nothing stopped."""
    first_second: Latency
    """Any keys, from the moment that the node was stopped."""
    later: Latency
    """Any keys, when it had been stopped for two seconds, for which the breaker should be open."""
    stopped: Latency
    """Any keys, for as long as it was stopped."""
    others_before: Latency
    """Keys of the nodes that go on, before the stop."""
    others: Latency
    """The same during the stop."""
    back: float
    """Seconds after the node's return in which its keys had default values, in the worst round."""
    defaults: int
    """Rows that were answered with default values."""
    values_checked: int

    @property
    def passed(self) -> dict[str, bool]:
        """The bars by name."""
        limit = (LIMIT_MS + OVER_LIMIT_MS) / 1e3
        return {
            "first_second": self.first_second.p99 < limit,
            "stopped": self.stopped.p99 < limit,
            "others_median": self.others.median <= TIMES_BEFORE * self.others_before.median,
            "others_p99": self.others.p99 <= TIMES_BEFORE * self.others_before.p99,
            "back": self.back <= BACK_SECONDS,
        }


class _Reader:
    """Reads random entities, and holds each answer against what was stored."""

    def __init__(self, repository: Repository, cluster: Cluster) -> None:
        self._store = repository.open({"type": OURS, **_SETTINGS})
        values = FIVE_VIEWS.values()
        self._columns = {name: column for view in values.values() for name, column in view.items()}
        self._random = np.random.default_rng(ROWS)
        node = cluster.nodes[0]
        everyone = range(FIVE_VIEWS.entities)
        self.everyone: Sequence[int] = everyone
        self.lost = {n for n in everyone if cluster.node_of(entity_key(FIVE_VIEWS, n)) is node}
        self.others = [number for number in everyone if number not in self.lost]
        self.defaults = 0
        self.checked = 0

    def time(self, entities: Sequence[int], stopped: bool) -> float:
        """Seconds of one read of some of the entities."""
        numbers = self._random.choice(entities, size=ROWS, replace=False).tolist()
        rows = entity_rows(FIVE_VIEWS, numbers)
        begin = time.perf_counter()
        response = read(self._store, _REFS, rows)
        answer = response.to_dict()
        seconds = time.perf_counter() - begin
        defaults = self._check(numbers, response, answer, stopped)
        self.defaults += defaults
        return seconds

    def _check(self, numbers: list[int], response: Any, answer: Any, stopped: bool) -> int:
        """Every value is the stored one; during the stop, the node's keys have the default."""
        lost = [stopped and number in self.lost for number in numbers]
        statuses = response.statuses
        for name in _NAMES:
            stored = self._columns[name]
            expected = [
                _DEFAULT if gone else stored[number]
                for gone, number in zip(lost, numbers, strict=True)
            ]
            marks = [FieldStatus.INVALID if gone else FieldStatus.PRESENT for gone in lost]
            if not same(expected, answer[name]) or statuses[name].tolist() != marks:
                raise SystemExit(f"{name} of {numbers} was answered wrong: {answer[name]}")
        self.checked += len(numbers) * len(_NAMES)
        return sum(lost)

    def many(self, entities: Sequence[int], stopped: bool, calls: int) -> list[float]:
        """Seconds of each of so many reads."""
        gc.collect()
        return [self.time(entities, stopped) for _ in range(calls)]

    def wait_return(self) -> float:
        """Seconds until the node's keys are answered, and stay so; no more than the patience."""
        rows = entity_rows(FIVE_VIEWS, sorted(self.lost)[:ROWS])
        begin = back = time.perf_counter()
        good = 0
        while good < _GOOD_READS and time.perf_counter() - begin < _PATIENCE_SECONDS:
            response = read(self._store, _REFS, rows)
            good += 1
            if response.degraded:  # type: ignore[attr-defined]
                good, back = 0, time.perf_counter()
        return back - begin


def measure_outage(repository: Repository, cluster: Cluster, quick: bool) -> OutageResult:
    """Rounds of reads before and during the stop, so that other work hits both alike."""
    rounds, calls, seconds = (1, 300, 3.0) if quick else (4, 1000, 4.0)
    # It would warn of each second's defaults; they are counted and checked here.
    logging.getLogger("feast_rs.fallback").setLevel(logging.ERROR)
    reader = _Reader(repository, cluster)
    reader.many(reader.everyone, False, 200)
    names = ("before", "first_second", "later", "stopped", "others_before", "others")
    taken: dict[str, list[float]] = {name: [] for name in names}
    back = 0.0
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        taken["before"] += reader.many(reader.everyone, False, calls)
        taken["others_before"] += reader.many(reader.others, False, calls)
        cluster.nodes[0].pause()
        try:
            began = time.perf_counter()
            while (since := time.perf_counter() - began) < seconds:
                one = reader.time(reader.everyone, True)
                taken["stopped"].append(one)
                if since < 1.0:
                    taken["first_second"].append(one)
                elif since > _OPEN_SECONDS:
                    taken["later"].append(one)
            taken["others"] += reader.many(reader.others, True, calls)
        finally:
            cluster.nodes[0].resume()
        back = max(back, reader.wait_return())
        if back > BACK_SECONDS:
            break
    latencies = {name: Latency.of(found) for name, found in taken.items()}
    return OutageResult(
        **latencies, back=back, defaults=reader.defaults, values_checked=reader.checked
    )
