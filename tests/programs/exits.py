"""Interpreters that end while reads are under way, in ever new children of this process.

Usage: python -m tests.programs.exits REPOSITORY TIMES SCENE...
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import warnings

from feast import FeatureStore

from tests.support.drivers import check, read, read_async, read_on_new_loop


def daemon_threads(store: FeatureStore) -> None:
    """Blocking reads in daemon threads, which the interpreter leaves behind."""

    def keep_reading() -> None:
        while True:
            read(store, range(50)).to_dict()

    for _ in range(4):
        threading.Thread(target=keep_reading, daemon=True).start()
    time.sleep(0.05)


def blocked_daemon_threads(store: FeatureStore) -> None:
    """The same, waiting for a server that is silent, or for a connection to it."""
    for _ in range(6):
        threading.Thread(target=read, args=(store, range(50)), daemon=True).start()
    time.sleep(0.05)


def daemon_loops(store: FeatureStore) -> None:
    """Asynchronous reads on loops of daemon threads."""

    async def keep_reading() -> None:
        while True:
            await asyncio.gather(*(read_async(store, range(20)) for _ in range(8)))

    for _ in range(2):
        threading.Thread(target=lambda: asyncio.run(keep_reading()), daemon=True).start()
    time.sleep(0.05)


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
    # Python 3.12 and later warn of it, and Feast's import turns such warnings on.
    warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
    store = FeatureStore(path)
    store.list_feature_views()
    # Made here once: pydantic aborts when the interpreter ends while a daemon thread is in it.
    assert store.config.online_store
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
