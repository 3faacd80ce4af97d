"""Reads as a service makes them: from eight threads, and from 64 coroutines on one loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from statistics import median
from typing import Any

from feast import FeatureStore

from .measure import differences
from .shapes import FIVE_VIEWS
from .stores import STOCK, Rows, Stores, check_answers, entity_rows, read

THREADS = 8
THREAD_ROWS = 100
COROUTINES = 64
COROUTINE_ROWS = 10
_TICK = 0.001
_ROUNDS = 3


@dataclass(frozen=True)
class ThreadResult:
    """Reads a second by contestant, all threads together."""

    reads_per_second: dict[str, float]


@dataclass(frozen=True)
class AsyncResult:
    """Reads a second, and how long the loop could not run anything else (milliseconds)."""

    reads_per_second: dict[str, float]
    longest_stall_ms: dict[str, float]
    median_stall_ms: dict[str, float]
    idle_stall_ms: float


def _requests(count: int, size: int) -> list[Rows]:
    """Neighbouring slices of the entities, one for each caller."""
    return [
        entity_rows(FIVE_VIEWS, [(caller * size + i) % FIVE_VIEWS.entities for i in range(size)])
        for caller in range(count)
    ]


def _in_threads(work: Callable[[Rows], object], requests: list[Rows], seconds: float) -> float:
    """Reads a second when each thread repeats its request for `seconds`."""
    counts = [0] * len(requests)
    errors: list[BaseException] = []
    ready = threading.Barrier(len(requests) + 1)
    stop = threading.Event()

    def run(caller: int) -> None:
        try:
            ready.wait()
            while not stop.is_set():
                work(requests[caller])
                counts[caller] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(requests))]
    for thread in threads:
        thread.start()
    gc.collect()
    ready.wait()
    began = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - began
    if errors:
        raise errors[0]
    return sum(counts) / taken


def _checked_in_threads(store: FeatureStore, requests: list[Rows]) -> None:
    """All threads read at once, and each must get the answer to its own request."""
    refs = FIVE_VIEWS.refs()
    expected = {id(rows): read(store, refs, rows).to_dict() for rows in requests}

    def work(rows: Rows) -> None:
        wrong = differences(expected[id(rows)], read(store, refs, rows).to_dict())
        if wrong:
            raise SystemExit(f"A thread got another answer than a lone caller: {wrong}")

    _in_threads(work, requests, 0.3)


def _dict_reader(store: FeatureStore, refs: list[str]) -> Callable[[Rows], object]:
    return lambda rows: read(store, refs, rows).to_dict()


def measure_threads(stores: Stores, seconds: float) -> ThreadResult:
    """Throughput of all threads of one process, in turns of `seconds`."""
    refs = FIVE_VIEWS.refs()
    requests = _requests(THREADS, THREAD_ROWS)
    for rows in requests:
        check_answers(stores, refs, rows)
    every = {**stores.stock, stores.label: stores.ours}
    works: dict[str, Callable[[Rows], object]] = {}
    for name, store in every.items():
        _checked_in_threads(store, requests)
        works[f"{name} to_dict"] = _dict_reader(store, refs)
    works[f"{stores.label} to_arrow"] = lambda rows: read(
        stores.ours_for_arrow, refs, rows
    ).to_arrow()
    rates: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(_ROUNDS):
        for name, work in works.items():
            rates[name].append(_in_threads(work, requests, seconds))
    return ThreadResult({name: median(found) for name, found in rates.items()})


async def _tick(stop: asyncio.Event, stalls: list[float]) -> None:
    """Sleep a millisecond again and again, and note by how much each sleep was late."""
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        due = loop.time() + _TICK
        await asyncio.sleep(_TICK)
        stalls.append(loop.time() - due)


async def _concurrently(
    work: Callable[[Rows], Coroutine[Any, Any, object]], requests: list[Rows], seconds: float
) -> tuple[float, list[float]]:
    """Reads a second from as many coroutines as requests, and the loop's delays meanwhile."""
    stalls: list[float] = []
    stop = asyncio.Event()
    done = 0
    end = time.perf_counter() + seconds

    async def caller(rows: Rows) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await work(rows)
            done += 1

    ticker = asyncio.create_task(_tick(stop, stalls))
    began = time.perf_counter()
    await asyncio.gather(*(caller(rows) for rows in requests))
    taken = time.perf_counter() - began
    stop.set()
    await ticker
    return done / taken, stalls


async def _measure_async(stores: Stores, seconds: float) -> AsyncResult:
    refs = FIVE_VIEWS.refs()
    requests = _requests(COROUTINES, COROUTINE_ROWS)
    expected = {id(rows): read(stores.stock[STOCK], refs, rows).to_dict() for rows in requests}
    # Stock's async reads always go through redis-py, whatever `client` says.
    every = {STOCK: stores.stock[STOCK], stores.label: stores.ours}
    rates: dict[str, list[float]] = {name: [] for name in every}
    longest: dict[str, list[float]] = {name: [] for name in every}
    usual: dict[str, list[float]] = {name: [] for name in every}

    def reader(store: FeatureStore) -> Callable[[Rows], Coroutine[Any, Any, Any]]:
        async def work(rows: Rows) -> dict[str, Any]:
            answer = await store.get_online_features_async(features=refs, entity_rows=rows)
            return answer.to_dict()

        return work

    async def checked(store: FeatureStore, name: str) -> None:
        answers = await asyncio.gather(*(reader(store)(rows) for rows in requests))
        for rows, answer in zip(requests, answers, strict=True):
            wrong = differences(expected[id(rows)], answer)
            if wrong:
                raise SystemExit(f"{name}: a coroutine got another answer: {wrong}")

    async def nothing(rows: Rows) -> None:
        await asyncio.sleep(seconds)

    for name, store in every.items():
        await checked(store, name)
    gc.collect()
    _, idle = await _concurrently(nothing, requests[:1], seconds)
    for _ in range(_ROUNDS):
        for name, store in every.items():
            gc.collect()
            rate, stalls = await _concurrently(reader(store), requests, seconds)
            rates[name].append(rate)
            longest[name].append(1e3 * max(stalls))
            usual[name].append(1e3 * median(stalls))
    return AsyncResult(
        {name: median(found) for name, found in rates.items()},
        {name: median(found) for name, found in longest.items()},
        {name: median(found) for name, found in usual.items()},
        1e3 * max(idle),
    )


def measure_async(stores: Stores, seconds: float) -> AsyncResult:
    """Throughput of 64 coroutines, and how late a ticker beside them wakes up.

    Each coroutine calls `to_dict` itself, on the loop, as a handler would; so a stall is the time
    in which answers that arrived together were converted one after the other.
    """
    return asyncio.run(_measure_async(stores, seconds))
