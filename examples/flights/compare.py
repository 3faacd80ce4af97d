"""Stock Feast and another store on the same rows: first the same answers, then the times."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = list[dict[str, Any]]


def same(left: Any, right: Any) -> bool:
    """Equal in value and in type, with NaN equal to NaN, also inside lists."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def check_same(stock: Mapping[str, list[Any]], ours: Mapping[str, list[Any]]) -> int:
    """Compare two `to_dict` answers value for value; returns how many values agreed."""
    if stock.keys() != ours.keys():
        raise SystemExit(f"The stores answer different columns: {stock.keys() ^ ours.keys()}")
    for name, column in stock.items():
        if len(column) != len(ours[name]):
            raise SystemExit(f"{name}: {len(column)} rows from stock, {len(ours[name])} from ours")
        for row, (left, right) in enumerate(zip(column, ours[name], strict=True)):
            if not same(left, right):
                raise SystemExit(f"{name}, row {row}: stock says {left!r}, ours {right!r}")
    return sum(len(column) for column in stock.values())


def matrix_by_hand(answer: Mapping[str, list[Any]], features: Sequence[str]) -> NDArray[np.float32]:
    """What stock Feast leaves to the caller: a float32 matrix from the answer's lists."""
    return np.array([answer[name] for name in features], dtype=np.float32).T


def interleaved(calls: Sequence[Callable[[], object]], budget: float) -> list[float]:
    """Median seconds of each call, run in turn until `budget` seconds have gone.

    In turn, so that whatever else the machine does hits all of them alike.
    """
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    gc.collect()
    began = time.perf_counter()
    while not times[0] or (time.perf_counter() - began < budget and len(times[0]) < 200):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [median(taken) for taken in times]


def clock(seconds: float) -> str:
    """A duration in milliseconds, in a fixed width."""
    return f"{seconds * 1000:>9.2f} ms"
