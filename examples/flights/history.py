"""Trailing-window aggregates as of each day's end, in whole-column numpy.

A feature row must hold only what was known at its event timestamp, or a model trained on it
learns from the future. Every flight therefore counts from the midnight after it landed
(`known_day`), and a window covers the days up to and including that one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

# Larger than any day number in use, so that (group, day) packs into one sortable integer.
_DAYS = 100_000


@dataclass(frozen=True)
class Snapshots:
    """Events sorted by (group, day), and the distinct (group, day) pairs that get a row.

    `order` sorts any event column into this layout; `first`, `window` and `last` are offsets into
    it: where the group begins, where the trailing window begins, and one past the pair's events.
    """

    order: NDArray[np.intp]
    group: NDArray[np.int64]
    day: NDArray[np.int64]
    first: NDArray[np.intp]
    window: NDArray[np.intp]
    last: NDArray[np.intp]

    @classmethod
    def build(
        cls, group: NDArray[np.int64], moment: NDArray[np.int64], seconds: int, window_days: int
    ) -> Snapshots:
        """Group events (`moment` in units of which `seconds` make a day) into daily rows."""
        order = np.lexsort((moment, group))
        packed = group[order] * _DAYS + moment[order] // seconds
        pairs, starts = np.unique(packed, return_index=True)
        pair_group, pair_day = pairs // _DAYS, pairs % _DAYS
        earliest = np.maximum(pairs - (window_days - 1), pair_group * _DAYS)
        return cls(
            order=order,
            group=pair_group,
            day=pair_day,
            first=np.searchsorted(packed, pair_group * _DAYS),
            window=np.searchsorted(packed, earliest),
            last=np.append(starts[1:], len(packed)),
        )

    def _running(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums of the sorted column before each event, so that a range's sum is a difference."""
        return np.concatenate([[0.0], np.cumsum(np.nan_to_num(values[self.order]))])

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum since the group's first event; missing values count as nothing."""
        running = self._running(values)
        return running[self.last] - running[self.first]

    def recent(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the trailing window; missing values count as nothing."""
        running = self._running(values)
        return running[self.last] - running[self.window]

    def recent_mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over the window's known values, NaN where there is none."""
        known = self.recent((~np.isnan(values)).astype(np.float64))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(known > 0, self.recent(values) / known, np.nan)

    def final(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """The pair's latest event."""
        return values[self.order][self.last - 1]

    def last_known(self, values: NDArray[np.float64], count: int) -> pa.ListArray:
        """Up to `count` latest known values of the group, oldest first, as a float32 list."""
        ordered = values[self.order]
        known = np.flatnonzero(~np.isnan(ordered))
        end = np.searchsorted(known, self.last)
        begin = np.maximum(end - count, np.searchsorted(known, self.first))
        lengths = end - begin
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        picked = ordered[known[np.repeat(begin, lengths) + within]]
        return pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), pa.array(picked.astype(np.float32))
        )
