"""Threads, event loops and cancellation: right answers, no stalled loop, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from pathlib import Path

import psutil
import pytest
import redis
import uvloop

import feast_rs
from tests.support.drivers import (
    STORED,
    check,
    expected,
    filled_store,
    frame,
    read,
    read_async,
)
from tests.support.running import eventually, in_threads
from tests.support.server import RedisServer

STALL_SECONDS = 0.25
"""The longest that an event loop may stand still on a busy machine; typically it is 2 ms."""


def connections(server: RedisServer, name: str) -> int:
    """How many connections of this name the server has."""
    clients = redis.Redis(port=server.port).client_list()
    return sum(client["name"] == name for client in clients)


async def check_async(store: object, drivers: list[int]) -> None:
    assert (await read_async(store, drivers)).to_dict() == expected(drivers)


class Ticker:
    """Measures how long the event loop that it runs on stands still."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def __aenter__(self) -> Ticker:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _tick(self) -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest = max(self.longest, now - before)
            before = now


def test_thirty_two_threads(server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, server.address)
    places = iter(range(32))

    def work() -> None:
        place = next(places)
        for turn in range(25):
            drivers = [(place * 37 + turn * 11 + step) % 450 for step in range(1 + turn % 20)]
            check(store, read, drivers)

    assert in_threads(32, work) == [None] * 32


def test_three_loops_in_three_threads(server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, server.address, client_name="loops", redis_pool_size=8)
    places = iter(range(3))

    async def many(place: int) -> None:
        for turn in range(10):
            first = place * 100 + turn
            await asyncio.gather(
                *(check_async(store, [first + step, 2000, step]) for step in range(10))
            )

    assert in_threads(3, lambda: asyncio.run(many(next(places)))) == [None] * 3
    # A connection that was opened by one loop serves the others.
    assert 1 <= connections(server, "loops") <= 8


def test_threads_and_loops_together(server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, server.address)
    places = iter(range(12))

    def work() -> None:
        place = next(places)
        for turn in range(15):
            drivers = [place, turn, place + turn]
            if place % 2:
                check(store, read, drivers)
            else:
                asyncio.run(check_async(store, drivers))

    assert in_threads(12, work) == [None] * 12


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_many_loops_one_after_another(
    server: RedisServer, tmp_path: Path, new_loop: object
) -> None:
    store = filled_store(tmp_path, server.address)
    process = psutil.Process()

    def run_once(place: int) -> None:
        loop = new_loop()
        try:
            loop.run_until_complete(check_async(store, [place, place + 1]))
        finally:
            loop.close()

    for place in range(10):
        run_once(place)
    gc.collect()
    descriptors, threads = process.num_fds(), process.num_threads()
    for place in range(100):
        run_once(place)
    gc.collect()
    assert process.num_fds() <= descriptors + 1
    assert process.num_threads() <= threads + 1


def test_loops_that_are_closed_while_a_read_is_pending(
    own_server: RedisServer, tmp_path: Path
) -> None:
    store = filled_store(tmp_path, own_server.address, redis_pool_size=2)
    process = psutil.Process()

    def abandon() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(read_async(store, [1]))
        loop.run_until_complete(asyncio.sleep(0.001))
        assert not task.done()
        # What asyncio says of a pending task is meant for another.
        task._log_destroy_pending = False
        loop.close()

    def descriptors_after(count: int) -> int:
        own_server.pause()
        for _ in range(count):
            abandon()
            # A cycle of the task and its loop.
            gc.collect()
        own_server.resume()
        asyncio.run(check_async(store, [1]))
        gc.collect()
        return process.num_fds()

    before = descriptors_after(5)
    assert descriptors_after(30) <= before + 2


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_loop_goes_on_beside_64_reads(
    server: RedisServer, tmp_path: Path, factory: object
) -> None:
    store = filled_store(tmp_path, server.address)

    async def main() -> float:
        async with Ticker() as ticker:
            for turn in range(5):
                await asyncio.gather(
                    *(
                        check_async(store, list(range(place + turn, place + turn + 10)))
                        for place in range(64)
                    )
                )
        return ticker.longest

    loop = factory()
    try:
        longest = loop.run_until_complete(main())
    finally:
        loop.close()
    print(f"longest stall {longest * 1000:.1f} ms")
    assert longest < STALL_SECONDS


def test_the_loop_goes_on_while_the_server_does_not(
    own_server: RedisServer, tmp_path: Path
) -> None:
    store = filled_store(tmp_path, own_server.address)

    async def main() -> float:
        await check_async(store, [1])
        own_server.pause()
        async with Ticker() as ticker:
            reads = [asyncio.create_task(check_async(store, [place])) for place in range(100)]
            await asyncio.sleep(0.5)
            assert not any(task.done() for task in reads)
            longest = ticker.longest
        own_server.resume()
        await asyncio.gather(*reads)
        return longest

    assert asyncio.run(main()) < STALL_SECONDS


def test_the_loop_goes_on_while_no_server_answers_the_login(
    own_server: RedisServer, tmp_path: Path
) -> None:
    store = filled_store(tmp_path, own_server.address, request_timeout_ms=400)
    own_server.pause()

    async def main() -> float:
        async with Ticker() as ticker:
            outcomes = await asyncio.gather(
                *(read_async(store, [place]) for place in range(100)), return_exceptions=True
            )
            assert {type(outcome) for outcome in outcomes} == {feast_rs.TimeoutError}
        return ticker.longest

    assert asyncio.run(main()) < STALL_SECONDS


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_thousands_of_cancelled_reads(server: RedisServer, tmp_path: Path, factory: object) -> None:
    name = f"cancelled-{factory.__module__}"
    store = filled_store(tmp_path, server.address, redis_pool_size=8, client_name=name)
    dice = random.Random(1)
    outcomes = {"answered": 0, "cancelled": 0}

    async def impatient(place: int) -> None:
        drivers = range(place % 400, 400 if place % 2 else place % 400 + 2)
        try:
            answer = await asyncio.wait_for(read_async(store, drivers), dice.uniform(0, 0.03))
        except asyncio.TimeoutError:
            outcomes["cancelled"] += 1
        else:
            assert answer.to_dict() == expected(drivers)
            outcomes["answered"] += 1

    async def main() -> None:
        for turn in range(60):
            await asyncio.gather(*(impatient(turn * 50 + place) for place in range(50)))
            assert connections(server, name) <= 8 + 50
        await asyncio.gather(*(check_async(store, [place]) for place in range(50)))

    loop = factory()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert outcomes["answered"] + outcomes["cancelled"] == 3000
    assert min(outcomes.values()) > 50
    print(outcomes)

    def few_connections() -> None:
        assert connections(server, name) <= 8

    eventually(few_connections)


def test_cancelling_while_waiting_for_a_connection(own_server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, own_server.address, redis_pool_size=2)

    async def main() -> None:
        await check_async(store, [1])
        own_server.pause()
        waiting = [asyncio.create_task(read_async(store, [place])) for place in range(20)]
        await asyncio.sleep(0.05)
        for task in waiting[:19]:
            task.cancel()
        own_server.resume()
        assert (await waiting[19]).to_dict() == expected([19])
        for task in waiting[:19]:
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.gather(*(check_async(store, [place]) for place in range(20)))

    asyncio.run(main())


def test_writes_from_many_tasks(server: RedisServer, tmp_path: Path) -> None:
    """The async form of a write, with its reads beside it."""
    store = filled_store(tmp_path, server.address)

    async def main() -> None:
        writes = [
            store.write_to_online_store_async("stats", frame(range(place, STORED, 10)))
            for place in range(10)
        ]
        reads = [check_async(store, [place, place + 200]) for place in range(50)]
        await asyncio.gather(*writes, *reads)

    asyncio.run(main())
    check(store, read, list(range(STORED)))
