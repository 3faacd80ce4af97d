"""How long single calls took: percentiles, where a race has medians of batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Seconds of a number of calls."""

    calls: int
    median: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """The percentiles of these calls; each is the time of one of them."""
        middle, late = np.percentile(seconds, [50, 99], method="higher")
        return cls(len(seconds), float(middle), float(late), max(seconds))
