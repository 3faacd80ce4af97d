"""Interpreters that end while reads are under way, in ever new children of this process.

Usage: python -m tests.programs.exits REPOSITORY TIMES SCENE...
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable

from feast import FeatureStore

from tests.support.drivers import check, read, read_async, read_on_new_loop


def run_daemons(count: int, work: Callable[[], object], begun: threading.Semaphore) -> None:
    """Starts daemon threads, and waits until all are past their first read: in that one Feast has
    pydantic make the configuration, which aborts when the interpreter ends meanwhile."""
    for _ in range(count):
        threading.Thread(target=work, daemon=True).start()
    for _ in range(count):
        begun.acquire()
    time.sleep(0.05)


def daemon_threads(store: FeatureStore) -> None:
    """Blocking reads in daemon threads, which the interpreter leaves behind."""

    begun = threading.Semaphore(0)

    def keep_reading() -> None:
        read(store, range(50)).to_dict()
        begun.release()
        while True:
            read(store, range(50)).to_dict()

    run_daemons(4, keep_reading, begun)


def blocked_daemon_threads(store: FeatureStore) -> None:
    """The same, waiting for a server that is silent, or for a connection to it."""
    for _ in range(6):
        threading.Thread(target=read, args=(store, range(50)), daemon=True).start()
    time.sleep(0.05)


def daemon_loops(store: FeatureStore) -> None:
    """Asynchronous reads on loops of daemon threads."""

    begun = threading.Semaphore(0)

    async def keep_reading() -> None:
        await read_async(store, range(20))
        begun.release()
        while True:
            await asyncio.gather(*(read_async(store, range(20)) for _ in range(8)))

    run_daemons(2, lambda: asyncio.run(keep_reading()), begun)


def pending_tasks(store: FeatureStore) -> None:
    """A loop that ends with tasks in flight, which `asyncio.run` cancels."""

    async def main() -> None:
        for place in range(50):
            TASKS.append(asyncio.create_task(read_async(store, [place])))
        await asyncio.sleep(0.001)

    asyncio.run(main())


def loop_left_open(store: FeatureStore) -> None:
    """A loop that is neither finished nor closed, with reads in flight."""
    loop = asyncio.new_event_loop()
    for place in range(50):
        task = loop.create_task(read_async(store, [place]))
        task._log_destroy_pending = False
        TASKS.append(task)
    loop.run_until_complete(asyncio.sleep(0.001))


def after_reads(store: FeatureStore) -> None:
    """Nothing in flight; the runtime and the connections are there."""
    check(store, read)
    check(store, read_on_new_loop)


TASKS: list[object] = []


def main(path: str, times: str, *scenes: str) -> None:
    """Forks children, each of which plays a scene and leaves by the end of this program."""
    store = FeatureStore(path)
    store.list_feature_views()
    for scene in scenes:
        for _ in range(int(times)):
            child = os.fork()
            if not child:
                globals()[scene](store)
                return
            start = time.monotonic()
            _, status = os.waitpid(child, 0)
            print(scene, status, f"{time.monotonic() - start:.2f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
