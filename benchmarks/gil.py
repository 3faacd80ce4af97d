"""How long a read holds the interpreter's lock.

A thread that does nothing but loop in Python wants the lock all the time, and uses processor time
exactly while it has it. In a stretch of wall time W in which it ran for R, somebody else held the
lock for W - R: the reading thread, the only other one that wants it. Divided by the reads made in W
that is the lock's time per read, and divided by a read's time with nobody beside it, the share of
the read. The sum holds also when the reader has to queue for the lock, which a plain comparison of
speeds would get wrong.

When other work leaves the looping thread without a processor, that counts as held, so figures err
upwards only, and the least of several rounds is the best. Two calls of known nature are measured
beside the reads to show what the method can tell: a pure Python loop (all of it) and hashing a
large buffer (none).
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .shapes import FIVE_VIEWS
from .stores import STOCK, Stores, check_answers, entity_rows, read

ROWS = 1000
HASHING = "hashing 20 MB"
# What hashing may seem to hold before the figures are worthless.
TRUSTED_SHARE = 0.2
# How long the spinner keeps the lock once the reader asks for it: short, or it would take 5 ms of
# queueing for every release in a read.
_SWITCH = 0.0005
_ROUNDS = 5


@dataclass(frozen=True)
class GilFigure:
    """One call's time with nobody beside it, and how much of it holds the lock."""

    call_ms: float
    held_ms: float
    share: float


class _Spinner:
    """A thread that loops in pure Python for as long as the context lasts."""

    def __init__(self) -> None:
        self._running = True
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while self._running:
            pass

    def __enter__(self) -> _Spinner:
        self._thread.start()
        time.sleep(0.1)
        return self

    def __exit__(self, *error: object) -> None:
        self._running = False
        self._thread.join()

    def ran(self) -> float:
        """Seconds of processor time the thread has used."""
        assert self._thread.ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))

    def lock_seconds(self, call: Callable[[], object], seconds: float) -> float:
        """Seconds that each call keeps the lock from this thread."""
        call()
        calls = 0
        began, ours = time.perf_counter(), self.ran()
        while time.perf_counter() - began < seconds or calls < 3:
            call()
            calls += 1
        wall = time.perf_counter() - began
        return max(0.0, wall - (self.ran() - ours)) / calls


def _call_seconds(call: Callable[[], object], seconds: float) -> float:
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 3:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)


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
    stock, ours, for_arrow = stores.stock[STOCK], stores.ours, stores.ours_for_arrow
    calls: dict[str, Callable[[], object]] = {
        "a loop in pure Python": _python_loop,
        HASHING: lambda: hashlib.sha256(blob).digest(),
        f"{STOCK} to_dict": lambda: read(stock, refs, rows).to_dict(),
        f"{stores.label} to_dict": lambda: read(ours, refs, rows).to_dict(),
        f"{stores.label} to_arrow": lambda: read(for_arrow, refs, rows).to_arrow(),
    }
    plain = {name: _call_seconds(call, seconds) for name, call in calls.items()}
    held: dict[str, list[float]] = {name: [] for name in calls}
    switch = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        with _Spinner() as spinner:
            for _ in range(_ROUNDS):
                for name, call in calls.items():
                    held[name].append(spinner.lock_seconds(call, seconds))
    finally:
        sys.setswitchinterval(switch)
    return {
        name: GilFigure(
            1e3 * plain[name],
            1e3 * min(held[name]),
            min(1.0, min(held[name]) / plain[name]),
        )
        for name in calls
    }
