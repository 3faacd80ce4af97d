"""Rust tasks as awaitables of whichever event loop is running."""

from __future__ import annotations

import asyncio
import itertools
import os
import weakref
from collections.abc import Callable
from typing import Any

from feast_rs import _core


class _LoopBridge:
    """The results on their way to one event loop.

    It holds no reference to the loop, so that the loop can be collected.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._completions = _core.Completions()
        self._tokens = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        loop.add_reader(self._completions.fileno(), self._deliver)

    async def run(self, start: Callable[[_core.Completions, int], _core.Task]) -> Any:
        token = next(self._tokens)
        future = asyncio.get_running_loop().create_future()
        self._waiting[token] = future
        try:
            task = start(self._completions, token)
        except BaseException:
            del self._waiting[token]
            raise
        try:
            return await future
        except BaseException:
            # Cancelled, or the coroutine was closed. A task that has ended does not mind.
            task.cancel()
            raise
        finally:
            self._waiting.pop(token, None)
            # An exception's traceback refers to this frame, and the future to the exception: a
            # cycle, which would wait for the garbage collector.
            del future

    def _deliver(self) -> None:
        for token, result, error in self._completions.drain():
            future = self._waiting.get(token)
            if future is None or future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


# Each loop runs in one thread, so no two threads want the same entry, and there is no lock that
# another thread could hold while this process is forked.
_bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopBridge] = (
    weakref.WeakKeyDictionary()
)


def _forget_parent() -> None:
    # The sockets inside are shared with the parent: either process would take the other's wake-ups.
    global _bridges
    _bridges = weakref.WeakKeyDictionary()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)


async def run(start: Callable[[_core.Completions, int], _core.Task]) -> Any:
    """Starts a Rust task and waits for its outcome without blocking the event loop.

    A cancelled wait cancels the task.
    """
    loop = asyncio.get_running_loop()
    bridge = _bridges.get(loop)
    if bridge is None:
        _drop_closed()
        bridge = _bridges[loop] = _LoopBridge(loop)
    return await bridge.run(start)


def _drop_closed() -> None:
    """Lets go of loops that were closed while a read was pending: the future that waits for it
    refers to its loop."""
    for reference in _bridges.keyrefs():
        loop = reference()
        if loop is not None and loop.is_closed():
            _bridges.pop(loop, None)
