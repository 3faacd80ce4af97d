"""Resident memory of a process that reads 1000 x 50 over and over.

Each loop runs in a process of its own, so that only the reads can grow it, and without transparent
huge pages: the kernel may join pages to one of 2 MB at any time, and a process that uses half of it
then seems to grow.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from .measure import differences
from .repository import open_store
from .shapes import FIVE_VIEWS
from .stores import entity_rows, read

ROWS = 1000
_SAMPLES = 50
# The first tenth may fill pools and caches; after it, this much more counts as growth.
_ALLOWED_SHARE = 0.03
_ALLOWED_BYTES = 4 << 20
# linux/prctl.h
_PR_SET_THP_DISABLE = 41


@dataclass(frozen=True)
class MemoryFigure:
    """Megabytes before the first read, after a tenth of the reads, and at most from then on."""

    reads: int
    before_mb: float
    tenth_mb: float
    peak_mb: float
    last_mb: float
    flat: bool


def _loop(
    pipe: Connection, directory: str, online_store: dict[str, Any], reads: int, arrow: bool
) -> None:
    """The child's work: read, and report the resident size now and then."""
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
        store = open_store(Path(directory), online_store)
        rows = entity_rows(FIVE_VIEWS, range(ROWS))
        refs = FIVE_VIEWS.refs()
        process = psutil.Process()
        sizes = [process.memory_info().rss]
        first = read(store, refs, rows).to_dict()
        for number in range(1, reads + 1):
            answer = read(store, refs, rows)
            columns: Any = answer.to_arrow() if arrow else answer.to_dict()
            if number % max(1, reads // _SAMPLES) == 0:
                sizes.append(process.memory_info().rss)
        last = columns.to_pydict() if arrow else columns
        pipe.send((sizes, differences(first, last)))
    except BaseException as error:
        pipe.send(([], f"{type(error).__name__}: {error}"))
        raise


def measure_memory(
    directory: Path,
    online_store: dict[str, Any],
    reads: int,
    arrow: bool,
) -> MemoryFigure:
    """Run one loop and judge whether its memory stays flat."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(
        target=_loop, args=(there, str(directory), online_store, reads, arrow), daemon=True
    )
    child.start()
    there.close()
    try:
        sizes, wrong = here.recv()
    except EOFError:
        raise SystemExit("The memory loop's process died without a word") from None
    finally:
        child.join(timeout=10)
    if wrong:
        raise SystemExit(f"The memory loop failed: {wrong}")
    tenth = max(1, len(sizes) // 10)
    peak = max(sizes[tenth:])
    allowed = max(_ALLOWED_BYTES, _ALLOWED_SHARE * sizes[tenth])
    return MemoryFigure(
        reads,
        sizes[0] / 1e6,
        sizes[tenth] / 1e6,
        peak / 1e6,
        sizes[-1] / 1e6,
        peak - sizes[tenth] <= allowed,
    )
