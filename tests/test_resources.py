"""Memory, sockets and threads over thousands of reads, those that fail or are cancelled too."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis
from feast import FeatureStore

import feast_rs
from tests.support.drivers import (
    check,
    filled_store,
    hash_field,
    open_store,
    read,
    read_async,
    redis_key,
)
from tests.support.server import RedisServer, free_port

MEBIBYTE = 1 << 20
POOL = 8


def grows(work: Callable[[int], None], warm_up: int, times: int) -> int:
    """By how many bytes the process grows over `times` calls of `work`.

    Sockets and threads must not grow at all, beyond the connections that a pool may open again.
    """
    process = psutil.Process()
    for place in range(warm_up):
        work(place)
    gc.collect()
    memory = process.memory_info().rss
    things = process.num_fds(), process.num_threads()
    for place in range(times):
        work(place)
    gc.collect()
    after = process.num_fds(), process.num_threads()
    assert after[0] <= things[0] + POOL
    assert after[1] <= things[1] + 2
    growth = process.memory_info().rss - memory
    print(f"{growth / MEBIBYTE:.2f} MiB over {times}")
    return growth


def in_all_forms(store: FeatureStore, first: int) -> None:
    """A read, decoded in every way."""
    answer = read(store, range(first % 200, first % 200 + 100))
    answer.to_dict()
    answer.to_arrow()
    answer.to_matrix(["rate", "trips"])
    assert len(answer.proto.results) == 6
    assert answer.statuses
    assert answer.event_timestamps


async def some_async(store: FeatureStore, first: int) -> None:
    """Reads of which half are cancelled in flight."""
    tasks = [asyncio.create_task(read_async(store, range(first % 300, 400))) for _ in range(20)]
    await asyncio.sleep(0.002)
    for task in tasks[::2]:
        task.cancel()
    for answer in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(answer, BaseException):
            assert isinstance(answer, asyncio.CancelledError)
        else:
            answer.to_dict()


def test_answers_leave_nothing(server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, server.address)
    growth = grows(lambda place: in_all_forms(store, place), 400, 2500)
    assert growth < 4 * MEBIBYTE


def test_cancelled_reads_leave_nothing(server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, server.address, redis_pool_size=POOL)
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        growth = grows(lambda place: loop.run_until_complete(some_async(store, place)), 40, 160)
    assert growth < 6 * MEBIBYTE
    check(store, read)


def test_new_loops_leave_nothing(server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, server.address, redis_pool_size=POOL)
    growth = grows(lambda place: asyncio.run(some_async(store, place)), 40, 120)
    assert growth < 6 * MEBIBYTE


def test_errors_leave_nothing(server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, server.address)
    gone = open_store(tmp_path, f"127.0.0.1:{free_port()}")
    small = open_store(tmp_path, server.address, max_reply_bytes=30_000)
    admin = redis.Redis(port=server.port)
    admin.hset(redis_key(1), hash_field("tags"), b"\x62\x05\x0a")
    admin.delete(redis_key(2))
    admin.set(redis_key(2), "")

    def fail(place: int) -> None:
        with pytest.raises(feast_rs.DecodeError):
            read(store, [1]).to_dict()
        with pytest.raises(feast_rs.DecodeError):
            read(store, [1]).to_arrow()
        with pytest.raises(feast_rs.ServerError):
            read(store, [2, 3])
        with pytest.raises(feast_rs.ConnectionError):
            read(gone, [3])
        with pytest.raises(feast_rs.ProtocolError):
            read(small, range(3, 400))

    assert grows(fail, 150, 700) < 4 * MEBIBYTE


def test_async_errors_leave_nothing(server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, server.address, redis_pool_size=POOL)
    gone = open_store(tmp_path, f"127.0.0.1:{free_port()}")
    admin = redis.Redis(port=server.port)
    admin.delete(redis_key(2))
    admin.set(redis_key(2), "")

    async def fail() -> None:
        reads = [read_async(store, [2]) for _ in range(10)]
        reads += [read_async(gone, [2]) for _ in range(10)]
        outcomes = await asyncio.gather(*reads, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes[:10]} == {feast_rs.ServerError}
        assert {type(outcome) for outcome in outcomes[10:]} == {feast_rs.ConnectionError}

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        assert grows(lambda _: loop.run_until_complete(fail()), 40, 150) < 4 * MEBIBYTE


@pytest.mark.parametrize("outcome", ["answer", "error", "cancelled"])
def test_nothing_waits_for_the_garbage_collector(
    server: RedisServer, tmp_path: Path, outcome: str
) -> None:
    """A reply's buffer is large; it must go with its last reference, not some collections later."""
    address = f"127.0.0.1:{free_port()}" if outcome == "error" else server.address
    filled_store(tmp_path, server.address)
    store = open_store(tmp_path, address)

    async def once() -> None:
        with contextlib.suppress(feast_rs.ConnectionError, asyncio.CancelledError):
            if outcome == "cancelled":
                task = asyncio.create_task(read_async(store, [1]))
                await asyncio.sleep(0)
                task.cancel()
                await task
            else:
                await read_async(store, [1])

    async def garbage() -> int:
        for _ in range(3):
            await once()
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await once()
            return gc.collect()
        finally:
            gc.enable()

    assert asyncio.run(garbage()) < 20
