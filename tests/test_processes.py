"""Forks, exits and signals: no hang, no crash, no wrong answer."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.support.drivers import check, filled_store, open_store, read, read_async
from tests.support.server import RedisServer, embedded_binary, server_binary

ROOT = Path(__file__).parent.parent


def program(name: str, *arguments: object, seconds: float = 90) -> tuple[str, str]:
    """What a program of `tests/programs` printed; it must end with 0."""
    command = [sys.executable, "-W", "ignore", "-m", f"tests.programs.{name}"]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_forks(server: RedisServer, tmp_path: Path) -> None:
    filled_store(tmp_path, server.address)
    printed, complaints = program("forks", tmp_path)
    assert printed.split() == [
        "before_use",
        "after_use",
        "async_only_child",
        "while_reading",
        "first_use_and_fork_at_once",
        "pool",
    ]
    assert complaints == ""


def exits(directory: Path, times: int, *scenes: str) -> None:
    printed, complaints = program("exits", directory, times, *scenes)
    ends = [line.split() for line in printed.splitlines()]
    assert [end[:2] for end in ends] == [[scene, "0"] for scene in scenes for _ in range(times)]
    # Neither the connect timeout nor the socket's is waited for.
    assert max(float(seconds) for *_, seconds in ends) < 3
    assert complaints == ""


def test_exits(server: RedisServer, tmp_path: Path) -> None:
    filled_store(tmp_path, server.address)
    scenes = ["after_reads", "daemon_threads", "daemon_loops", "pending_tasks", "loop_left_open"]
    exits(tmp_path, 5, *scenes)


def test_exits_while_the_server_is_silent(own_server: RedisServer, tmp_path: Path) -> None:
    filled_store(tmp_path, own_server.address, redis_pool_size=3)
    own_server.pause()
    exits(tmp_path, 3, "blocked_daemon_threads", "pending_tasks", "loop_left_open")


@pytest.mark.skipif(os.environ.get("PYTHONMALLOC", "pymalloc") != "pymalloc", reason="its order")
def test_answers_lie_in_order(server: RedisServer, tmp_path: Path) -> None:
    """Also where blocks were freed in disorder; lists of Python are made in them as they are."""
    if server_binary() == embedded_binary():
        pytest.skip("Valkey sends the replies to so few keys at once, and no list is begun early")
    filled_store(tmp_path, server.address)
    printed, complaints = program("order", tmp_path)
    rounds = [json.loads(line) for line in printed.splitlines()]
    shares = {name: statistics.median(line[name] for line in rounds) for name in rounds[0]}
    assert shares["plain"] < 0.6
    assert shares["first"] > 0.9
    assert shares["second"] > 0.9
    assert complaints == ""


def read_in_child(address: str, directory: Path, driver: int) -> None:
    """What a spawned worker does: a store of its own, and one that came through pickle."""
    store = open_store(directory, address)
    check(store, read, [driver, driver + 1])
    provider = store._get_provider()
    provider._online_store = pickle.loads(pickle.dumps(provider.online_store))
    check(store, read, [driver])


def test_spawned_workers(server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, server.address)
    check(store, read)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
        tasks = [
            workers.submit(read_in_child, server.address, tmp_path, place) for place in range(2)
        ]
        assert [task.result(60) for task in tasks] == [None] * 2


@pytest.mark.parametrize("connected", [False, True])
def test_an_interrupt_ends_a_blocking_read(
    own_server: RedisServer, tmp_path: Path, connected: bool
) -> None:
    store = filled_store(tmp_path, own_server.address)
    if connected:
        check(store, read)
    own_server.pause()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        read(store, [1])
    assert 0.25 < time.monotonic() - start < 1
    own_server.resume()
    check(store, read)


def test_an_interrupt_ends_a_wait_for_a_connection(own_server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, own_server.address, redis_pool_size=1)
    check(store, read)
    own_server.pause()
    holder = threading.Thread(target=read, args=(store, [1]))
    holder.start()
    time.sleep(0.1)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        read(store, [1])
    assert 0.25 < time.monotonic() - start < 1
    own_server.resume()
    holder.join()
    check(store, read)


def test_an_interrupt_ends_an_event_loop(own_server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, own_server.address)
    own_server.pause()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(read_async(store, [1]))
    assert 0.25 < time.monotonic() - start < 1
    own_server.resume()
    check(store, read)


def test_a_signal_handler_that_does_not_raise(own_server: RedisServer, tmp_path: Path) -> None:
    store = filled_store(tmp_path, own_server.address)
    check(store, read)
    own_server.pause()
    signals = []
    before = signal.signal(signal.SIGUSR1, lambda *_: signals.append(time.monotonic()))
    try:
        for delay in (0.1, 0.2, 0.3):
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        threading.Timer(0.4, own_server.resume).start()
        check(store, read)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(signals) == 3
    assert signals[2] - signals[0] < 0.35


def test_a_signal_at_any_moment(own_server: RedisServer, tmp_path: Path) -> None:
    """Also at the last one before the thread falls asleep."""
    store = filled_store(tmp_path, own_server.address, request_timeout_ms=3000)
    check(store, read)
    own_server.pause()

    class Alarm(Exception):
        """Raised by the handler."""

    def ring(*_: object) -> None:
        raise Alarm

    def interrupted_after(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        read(store, [1])

    before = signal.signal(signal.SIGALRM, ring)
    waited = []
    try:
        for place in range(150):
            start = time.monotonic()
            with pytest.raises(Alarm):
                interrupted_after(0.0001 + place * 5e-6)
            waited.append(time.monotonic() - start)
    finally:
        signal.signal(signal.SIGALRM, before)
    print(f"the longest wait was {max(waited) * 1000:.0f} ms")
    assert max(waited) < 1
    own_server.resume()
    check(store, read)
