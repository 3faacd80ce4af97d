"""Comparing answers, and timing several ways of getting them side by side."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from .cpus import Cpus
from .server import Load, Server

Call = Callable[[int], object]

# A sample is a batch of calls lasting about this long, behind one that does not count, so that
# calls are measured warm, as a service makes them: alone between two calls of stock's, a call of
# 10 ms finds the caches of both processes as half a second of stock's work has left them. Long
# enough for several calls of the largest read, which takes a third more or less from one call to
# the next.
_SAMPLE_SECONDS = 0.2
# How long to wait for the machine before a sample, and how often to take one again.
_PATIENCE_SECONDS = 2.0
_MOST_RETAKEN = 5
_BATCH_LIMIT = 4000
_WARM_UP = 20
_WARM_UP_SECONDS = 0.3


def same(left: Any, right: Any, types: bool = True) -> bool:
    """Equal, with NaN equal to NaN, also inside lists; and of the same type, if wanted."""
    if types and type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(
            same(a, b, types) for a, b in zip(left, right, strict=True)
        )
    return bool(left == right)


def differences(
    expected: Mapping[str, list[Any]], answer: Mapping[str, list[Any]], types: bool = True
) -> str:
    """The first difference between two columnar answers, or an empty string."""
    if expected.keys() != answer.keys():
        return f"columns {sorted(expected.keys() ^ answer.keys())[:5]} are in one answer only"
    for name, column in expected.items():
        if len(column) != len(answer[name]):
            return f"{name} has {len(answer[name])} rows instead of {len(column)}"
        for row, (left, right) in enumerate(zip(column, answer[name], strict=True)):
            if not same(left, right, types):
                return f"{name}, row {row}: {right!r} instead of {left!r}"
    return ""


@dataclass
class Timed:
    """One contestant: a call that takes the number of the round, and what it took."""

    name: str
    call: Call
    batch: int = 1
    samples: int = 0
    times: list[float] = field(default_factory=list)
    """Seconds of each call of all samples."""
    loads: list[Load] = field(default_factory=list)
    retaken: int = 0
    """Samples that were taken again, since the CPUs were not apart."""
    doubtful: int = 0
    """Samples that count although the CPUs were not apart at the last try either."""

    @property
    def seconds(self) -> float:
        """Median seconds of a call. The largest reads of stock are a call a sample, so means of the
        others' samples would be set against single calls."""
        return median(self.times)

    @property
    def command_us(self) -> float:
        """Median microseconds that Redis spent in commands for a call."""
        return median(load.command_us for load in self.loads)

    @property
    def process_us(self) -> float:
        """Mean microseconds of the Redis process for a call; its clock is too coarse for less."""
        return sum(load.process_us for load in self.loads) / len(self.loads)

    def warm(self) -> None:
        """Run a few calls, and choose the batch from the last one."""
        began = taken = time.perf_counter()
        for number in range(_WARM_UP):
            start = time.perf_counter()
            self.call(number)
            taken = time.perf_counter() - start
            if time.perf_counter() - began > _WARM_UP_SECONDS:
                break
        self.batch = max(1, min(_BATCH_LIMIT, int(_SAMPLE_SECONDS / taken)))

    def sample(self, number: int, cpus: Cpus) -> None:
        """Time one batch, at a time when the machine's CPUs are apart."""
        for retaken in range(_MOST_RETAKEN + 1):
            cpus.wait(_PATIENCE_SECONDS)
            times = self._batch(number)
            if cpus.are_apart():
                self.retaken += retaken
                break
        else:
            self.retaken += _MOST_RETAKEN
            self.doubtful += 1
        self.samples += 1
        self.times += times

    def _batch(self, number: int) -> list[float]:
        """What each call takes; its garbage is its own, so collect what others left first."""
        gc.collect()
        self.call(number * self.batch)
        times = []
        for call in range(number * self.batch + 1, (number + 1) * self.batch + 1):
            start = time.perf_counter()
            self.call(call)
            times.append(time.perf_counter() - start)
        return times

    def weigh(self, server: Server, number: int) -> None:
        """Let the server tell what a batch of calls cost it."""
        before = server.load()
        for call in range(number * self.batch, (number + 1) * self.batch):
            self.call(call)
        spent = server.load() - before
        self.loads.append(Load(spent.command_us / self.batch, spent.process_us / self.batch))


def race(contestants: Sequence[Timed], budget: float) -> Sequence[Timed]:
    """Time all contestants in turn for `budget` seconds.

    In turn, because whatever else the machine does must hit all of them alike: only ratios within
    one race mean anything.
    """
    for contestant in contestants:
        contestant.warm()
    # What was loaded until now is not garbage; without this each collection would visit it.
    gc.collect()
    gc.freeze()
    began = time.perf_counter()
    number = 0
    with Cpus() as cpus:
        while number < 3 or (number < 60 and time.perf_counter() - began < budget):
            # Each round begins with another one, so that nobody always runs behind the same.
            start = number % len(contestants)
            for contestant in [*contestants[start:], *contestants[:start]]:
                contestant.sample(number, cpus)
            number += 1
    return contestants


def weigh(contestants: Sequence[Timed], server: Server, weighings: int) -> None:
    """Weigh all contestants of a race in turn."""
    for number in range(weighings):
        for contestant in contestants:
            contestant.weigh(server, number)
