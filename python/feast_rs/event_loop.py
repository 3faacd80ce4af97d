"""Rust tasks as awaitables of whichever event loop is running."""

from __future__ import annotations

import asyncio
import itertools
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from feast_rs import _core

T = TypeVar("T")


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
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            self._waiting.pop(token, None)

    def _deliver(self) -> None:
        for token, result, error in self._completions.drain():
            future = self._waiting.get(token)
            if future is None or future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


_bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopBridge] = (
    weakref.WeakKeyDictionary()
)
_bridges_lock = threading.Lock()


async def run(start: Callable[[_core.Completions, int], _core.Task]) -> Any:
    """Starts a Rust task and waits for its outcome without blocking the event loop.

    A cancelled wait cancels the task.
    """
    loop = asyncio.get_running_loop()
    bridge = _bridges.get(loop)
    if bridge is None:
        with _bridges_lock:
            bridge = _bridges.get(loop)
            if bridge is None:
                bridge = _bridges[loop] = _LoopBridge(loop)
    return await bridge.run(start)
