"""How late this machine is, apart from what is measured.

On two cores with six servers a thread that wants to run may have to wait, for a core and for the
GIL, and a callback for its turn on the event loop. A heart that is to beat every two milliseconds
suffers the same at the same time; what it was late is not held against a call that ended then. Of a
thread the kernel tells besides how long it was ready to run and had no core.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque

PERIOD = 0.002
LATE = 0.001
BEGINNING = 0.05
"""The first part of a call, in which the client begins to count its time."""


class Heartbeat:
    """The spans in which a beat was due and did not come."""

    def __init__(self) -> None:
        self._late: deque[tuple[float, float]] = deque(maxlen=50_000)

    def start_thread(self) -> None:
        """Beats in a thread of its own."""
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while True:
            due = time.monotonic() + PERIOD
            time.sleep(PERIOD)
            self._note(due)

    async def beat(self) -> None:
        """Beats on the running event loop."""
        while True:
            due = time.monotonic() + PERIOD
            await asyncio.sleep(PERIOD)
            self._note(due)

    def _note(self, due: float) -> None:
        now = time.monotonic()
        if now - due > LATE:
            self._late.append((due, now))

    def missed(self, begin: float, end: float) -> float:
        """Seconds of this span in which a beat was due."""
        spans = list(self._late)
        return sum(max(0.0, min(end, late) - max(begin, due)) for due, late in spans)

    def overtime(self, begin: float, end: float, limit: float, waited: float) -> float:
        """Seconds that a call took beyond its limit, less those when it could not run.

        `waited` is how long the call's thread was without a core.
        """
        missed = self.missed(begin, begin + BEGINNING) + self.missed(begin + limit, end)
        return end - begin - limit - max(missed, waited)


class CoreWait:
    """How long the calling thread has waited for a core in all, as Linux counts it."""

    def __init__(self) -> None:
        try:
            self._file = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", 0)
        except OSError:
            self._file = -1

    def seconds(self) -> float:
        """Until now; 0 where it is not counted."""
        if self._file < 0:
            return 0.0
        return int(os.pread(self._file, 100, 0).split()[1]) / 1e9
