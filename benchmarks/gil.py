"""How long a read holds the interpreter's lock.

A thread that does nothing but count in Python makes progress exactly while it holds the lock. In a
stretch of wall time W in which it got to a count that alone takes it C seconds, somebody else held
the lock for W - C: the reading thread, the only other one that wants it. Divided by the reads made
in W, that is the lock's time per read, and divided by a read's time without a counter, its share.

The sum holds also when the reader has to queue for the lock (that lengthens W and C alike), which a
plain comparison of speeds would get wrong. Two calls of known nature are measured beside the reads
to show what the method can tell: a pure Python loop (all of it) and hashing a large buffer (none).
With two cores, the counter, the reader's work outside the lock and Redis compete for processors:
what the counter loses that way counts as held, so the figures err upwards.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from .shapes import FIVE_VIEWS
from .stores import STOCK, Stores, check_answers, entity_rows, read

ROWS = 1000
# How long the counter keeps the lock once the reader asks for it: short, or it would take 5 ms of
# queueing for every release in a read.
_SWITCH = 0.0005
_ROUNDS = 3
_WARM_UP_SECONDS = 1.0


@dataclass(frozen=True)
class GilFigure:
    """One call's time with nobody beside it, and how much of it holds the lock."""

    call_ms: float
    held_ms: float
    share: float


class _Counter:
    """A thread that counts for as long as the context lasts.

    One thread serves all measurements: the interpreter specializes a loop as it runs, and a
    fresh one would count at another speed than the one it is compared with.
    """

    def __init__(self) -> None:
        self.count = 0
        self._running = True
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while self._running:
            self.count += 1

    def __enter__(self) -> _Counter:
        self._thread.start()
        time.sleep(_WARM_UP_SECONDS)
        return self

    def __exit__(self, *error: object) -> None:
        self._running = False
        self._thread.join()

    def rate(self, seconds: float) -> float:
        """Counts a second with the lock free: the main thread sleeps meanwhile."""
        began, start = time.perf_counter(), self.count
        time.sleep(seconds)
        return (self.count - start) / (time.perf_counter() - began)

    def held(self, call: Callable[[], object], seconds: float) -> float:
        """Seconds of the lock that each call takes from the counter."""
        before = self.rate(seconds / 2)
        call()
        calls = 0
        began, start = time.perf_counter(), self.count
        while time.perf_counter() - began < seconds or calls < 3:
            call()
            calls += 1
        wall, counted = time.perf_counter() - began, self.count - start
        rate = (before + self.rate(seconds / 2)) / 2
        return max(0.0, wall - counted / rate) / calls


def _call_seconds(call: Callable[[], object], seconds: float) -> float:
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 3:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return median(taken)


def _python_loop() -> int:
    total = 0
    for number in range(300_000):
        total += number
    return total


def measure_gil(stores: Stores, seconds: float) -> dict[str, GilFigure]:
    """The lock's time in a read of 1000 x 50, by contestant, with two calls of known nature."""
    refs = FIVE_VIEWS.refs()
    rows = entity_rows(FIVE_VIEWS, range(ROWS))
    check_answers(stores, refs, rows)
    blob = bytes(20_000_000)
    stock, ours = stores.stock[STOCK], stores.ours
    calls: dict[str, Callable[[], object]] = {
        "a loop in pure Python": _python_loop,
        "hashing 20 MB": lambda: hashlib.sha256(blob).digest(),
        f"{STOCK} to_dict": lambda: read(stock, refs, rows).to_dict(),
        f"{stores.label} to_dict": lambda: read(ours, refs, rows).to_dict(),
        f"{stores.label} to_arrow": lambda: read(ours, refs, rows).to_arrow(),
    }
    plain = {name: _call_seconds(call, seconds) for name, call in calls.items()}
    held: dict[str, list[float]] = {name: [] for name in calls}
    switch = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        with _Counter() as counter:
            for _ in range(_ROUNDS):
                for name, call in calls.items():
                    held[name].append(counter.held(call, seconds))
    finally:
        sys.setswitchinterval(switch)
    return {
        name: GilFigure(
            1e3 * plain[name],
            1e3 * median(held[name]),
            min(1.0, median(held[name]) / plain[name]),
        )
        for name in calls
    }
