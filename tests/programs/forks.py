"""Reads in parent and children, whatever the parent was doing when it forked.

Usage: python -m tests.programs.forks REPOSITORY
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable

from feast import FeatureStore

from feast_rs import RedisOnlineStore
from tests.support.drivers import check, expected, read, read_async, read_on_new_loop

CHILD_SECONDS = 20


def fork(work: Callable[[], None]) -> int:
    """Runs `work` in a child, which ends with 0 if it went well, and by an alarm if it hangs."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.alarm(CHILD_SECONDS)
        work()
        code = 0
    except BaseException as error:
        print(f"child: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def ended_well(children: list[int]) -> None:
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0, f"a child ended with status {status}"


def both(store: FeatureStore, *drivers: int) -> None:
    for _ in range(3):
        check(store, read, drivers)
        check(store, read_on_new_loop, drivers)


def before_use(store: FeatureStore) -> None:
    """Fork, then use."""
    children = [fork(lambda place=place: both(store, place)) for place in range(3)]
    both(store, 100)
    ended_well(children)


def after_use(store: FeatureStore) -> None:
    """Use, then fork; the children's children too."""

    def with_grandchild(place: int) -> None:
        both(store, place)
        ended_well([fork(lambda: both(store, place, 200))])
        both(store, place)

    both(store, 1)
    children = [fork(lambda place=place: with_grandchild(place)) for place in range(3)]
    for place in range(20):
        both(store, place)
    ended_well(children)
    both(store, 2)


def async_only_child(store: FeatureStore) -> None:
    """A child whose first call is asynchronous, from within a coroutine of the parent."""

    async def main() -> None:
        assert (await read_async(store, [1])).to_dict() == expected([1])
        ended_well([fork(lambda: both(store, 5))])
        assert (await read_async(store, [2])).to_dict() == expected([2])

    asyncio.run(main())


def while_reading(store: FeatureStore) -> None:
    """Fork while threads and a loop of the parent have reads in flight."""
    stop = threading.Event()
    failures: list[BaseException] = []
    done = [0]

    def keep_reading(place: int) -> None:
        try:
            while not stop.is_set():
                check(store, read, [place, place + 1, 5000])
                done[0] += 1
        except BaseException as error:
            failures.append(error)

    async def keep_awaiting() -> None:
        while not stop.is_set():
            answers = await asyncio.gather(*(read_async(store, [place]) for place in range(8)))
            for place, answer in enumerate(answers):
                assert answer.to_dict() == expected([place])
            done[0] += 8

    def loop() -> None:
        try:
            asyncio.run(keep_awaiting())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=keep_reading, args=(place,)) for place in range(3)]
    threads += [threading.Thread(target=loop) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    for _ in range(6):
        ended_well([fork(lambda place=place: both(store, place)) for place in range(3)])
    so_far = done[0]
    time.sleep(0.1)
    assert done[0] > so_far, "the parent's reads stand still"
    stop.set()
    for thread in threads:
        thread.join(CHILD_SECONDS)
        assert not thread.is_alive(), "a thread of the parent hangs"
    assert not failures, failures


def first_use_and_fork_at_once(store: FeatureStore) -> None:
    """Fork while another thread makes the client and connects.

    The plan is there already: Feast's registry has a lock, which a fork at the wrong moment leaves
    locked in the child for ever.
    """
    provider = store._get_provider()
    planner = provider.online_store._planner
    for place in range(10):
        provider._online_store = RedisOnlineStore()
        provider._online_store._planner = planner
        started = threading.Event()

        def use(started: threading.Event = started) -> None:
            started.set()
            check(store, read, [1])
            check(store, read_on_new_loop, [2])

        thread = threading.Thread(target=use)
        thread.start()
        started.wait()
        time.sleep(0.0007 * place)
        ended_well([fork(lambda: both(store, 3))])
        thread.join()


def work_of_pool(place: int) -> bool:
    both(STORE, place)
    return True


def pool(store: FeatureStore) -> None:
    """`multiprocessing` with fork, on a store that is used already."""
    with multiprocessing.get_context("fork").Pool(3) as workers:
        assert workers.map_async(work_of_pool, range(9)).get(CHILD_SECONDS) == [True] * 9


if __name__ == "__main__":
    # Python 3.12 and later warn of it, and Feast's import turns such warnings on.
    warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
    STORE = FeatureStore(sys.argv[1])
    SCENES = [
        before_use,
        after_use,
        async_only_child,
        while_reading,
        first_use_and_fork_at_once,
        pool,
    ]
    for scene in SCENES:
        scene(STORE)
        print(scene.__name__, flush=True)
