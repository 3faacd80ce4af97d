"""Many threads at once, and patience."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import feast_rs


def in_threads(count: int, work: Callable[..., Any], *arguments: Any) -> list[BaseException | None]:
    """Runs `work` in threads that start together; what each raised."""
    outcomes: list[BaseException | None] = [None] * count
    together = threading.Barrier(count)

    def run(place: int) -> None:
        together.wait()
        try:
            work(*arguments)
        except BaseException as error:
            outcomes[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def eventually(attempt: Callable[..., Any], *arguments: Any, seconds: float = 10.0) -> None:
    """Tries until nothing of feast-rs or of the test is raised any more."""
    end = time.monotonic() + seconds
    while True:
        try:
            attempt(*arguments)
        except (feast_rs.FeastRsError, AssertionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
