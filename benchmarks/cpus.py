"""Whether the machine's CPUs are CPUs of their own at the moment.

The host of a virtual machine may run two of its CPUs on one core for a while, seconds or minutes.
Each is half as fast then while the other one works, which nothing in the machine tells. Who works
while Redis does takes up to twice as long; who waits for Redis, as stock Feast, does not. So a
sample that was taken then says nothing about the contestants.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import TracebackType

# How long each look takes, alone and together, and the helper longer than that.
_SECONDS = 0.004
_HELPER_SECONDS = 3 * _SECONDS

# CPUs of their own are as fast together as alone, but for caches and the host's mood: 0.9 and more.
# Those of one core come to 0.5 to 0.65.
_LEAST = 0.8

_HELPER = """
import sys, time
while sys.stdin.buffer.read(1):
    end = time.perf_counter() + {seconds}
    sys.stdout.buffer.write(b"!")
    sys.stdout.buffer.flush()
    while time.perf_counter() < end:
        sum(range(500))
"""


def _cpus() -> int:
    """How many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _pace() -> float:
    """How often in a second this CPU does a piece of work."""
    began = now = time.perf_counter()
    pieces = 0
    while now < began + _SECONDS:
        sum(range(500))
        pieces += 1
        now = time.perf_counter()
    return pieces / (now - began)


class Cpus:
    """The machine's CPUs, with a process that keeps a second one busy when asked to."""

    def __init__(self) -> None:
        # On a single CPU nothing ever works beside anything.
        self._helper = None if _cpus() < 2 else self._start()

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        code = _HELPER.format(seconds=_HELPER_SECONDS)
        return subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def __enter__(self) -> Cpus:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._helper is not None:
            self._helper.kill()
            self._helper.communicate()

    def are_apart(self) -> bool:
        """Whether this thread's CPU is as fast while another one works as alone."""
        if self._helper is None:
            return True
        assert self._helper.stdin is not None
        assert self._helper.stdout is not None
        alone = _pace()
        self._helper.stdin.write(b"?")
        self._helper.stdout.read(1)
        together = _pace()
        # It goes on for a while, beside which nobody shall be timed.
        time.sleep(_HELPER_SECONDS - _SECONDS)
        return together >= _LEAST * alone

    def wait(self, seconds: float) -> None:
        """Wait until they are apart, but no longer than that."""
        end = time.perf_counter() + seconds
        while not self.are_apart() and time.perf_counter() < end:
            pass
