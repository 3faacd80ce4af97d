"""What is stored and read: feature views, their made-up values, and the bars of each read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
from feast.types import (
    Array,
    Bool,
    FeastType,
    Float32,
    Float64,
    Int32,
    Int64,
    String,
    UnixTimestamp,
)

EVENT_TIME = datetime(2026, 1, 1, tzinfo=timezone.utc)
_MISSING_SHARE = 0.05
_WORDS = ("alpine", "harbour", "meadow", "quarry", "thicket", "willow")

Column = list[Any]


@dataclass(frozen=True)
class Group:
    """Views that share one int64 entity, and so one hash per entity in Redis."""

    name: str
    entities: int
    views: Mapping[str, Mapping[str, FeastType]]
    nulls: bool = False

    @property
    def join_key(self) -> str:
        """The entity's join key."""
        return f"{self.name}_id"

    def refs(self, *views: str) -> list[str]:
        """`view:feature` of all features of these views, or of the group."""
        return [f"{view}:{name}" for view in views or self.views for name in self.views[view]]

    def values(self) -> dict[str, dict[str, Column]]:
        """One column of values per feature of each view, the same in every run."""
        rng = np.random.default_rng(20260101)
        answer: dict[str, dict[str, Column]] = {}
        for view, features in self.views.items():
            answer[view] = {
                name: self._column(rng, _MAKERS[dtype]) for name, dtype in features.items()
            }
        return answer

    def _column(self, rng: np.random.Generator, make: Callable[..., Column]) -> Column:
        column = make(rng, self.entities)
        if self.nulls:
            for row in np.flatnonzero(rng.random(self.entities) < _MISSING_SHARE):
                column[row] = None
        return column


def _float32(rng: np.random.Generator, n: int) -> Column:
    return list(map(float, rng.normal(size=n).astype(np.float32)))


def _lists(
    make: Callable[[np.random.Generator, int], Column], length: int
) -> Callable[..., Column]:
    def column(rng: np.random.Generator, n: int) -> Column:
        flat = make(rng, n * length)
        return [flat[i * length : (i + 1) * length] for i in range(n)]

    return column


def _int64(rng: np.random.Generator, n: int) -> Column:
    return list(map(int, rng.integers(-(2**40), 2**40, size=n)))


def _timestamps(rng: np.random.Generator, n: int) -> Column:
    return [EVENT_TIME - timedelta(seconds=int(s)) for s in rng.integers(0, 10**8, size=n)]


def _strings(rng: np.random.Generator, n: int) -> Column:
    numbers = rng.integers(0, 1000, size=n)
    return [f"{_WORDS[i % len(_WORDS)]}-{i}" for i in numbers]


_EMBEDDING = Array(Float32)
_MAKERS: dict[FeastType, Callable[..., Column]] = {
    Float64: lambda rng, n: list(map(float, rng.normal(size=n))),
    Float32: _float32,
    Int64: _int64,
    Int32: lambda rng, n: list(map(int, rng.integers(0, 5000, size=n))),
    Bool: lambda rng, n: list(map(bool, rng.integers(0, 2, size=n))),
    String: _strings,
    UnixTimestamp: _timestamps,
    Array(Int64): _lists(_int64, 3),
    Array(String): _lists(_strings, 2),
    _EMBEDDING: _lists(_float32, 5),
}


def _mixed(view: int) -> dict[str, FeastType]:
    counts: dict[FeastType, int] = {
        Float64: 30,
        Int64: 18,
        Float32: 14,
        String: 9,
        Bool: 6,
        Int32: 4,
        UnixTimestamp: 2,
        Array(Float32): 4,
        Array(Int64): 2,
        Array(String): 1,
    }
    types = [dtype for dtype, count in counts.items() for _ in range(count)]
    return {f"mixed{view}_{i}": dtype for i, dtype in enumerate(types)}


@dataclass(frozen=True)
class Embeddings(Group):
    """A group whose lists are as long as a sentence embedding."""

    length: int = 768

    def _column(self, rng: np.random.Generator, make: Callable[..., Column]) -> Column:
        wide = make is _MAKERS[_EMBEDDING]
        return super()._column(rng, _lists(_float32, self.length) if wide else make)


FIVE_VIEWS = Group(
    "user",
    3000,
    {f"five{v}": {f"five{v}_{i}": Float64 for i in range(10)} for v in range(5)},
)
MIXED = Group("item", 600, {f"mixed{v}": _mixed(v) for v in range(4)}, nulls=True)
TALL = Group("account", 300, {"tall": {f"tall_{i}": Float64 for i in range(300)}})
EMBEDDED = Embeddings(
    "document",
    200,
    {
        "scalars": {f"scalar_{i}": Float64 for i in range(5)},
        "vectors": {f"vector_{i}": _EMBEDDING for i in range(3)},
    },
)
GROUPS = (FIVE_VIEWS, MIXED, TALL, EMBEDDED)


@dataclass(frozen=True)
class Bar:
    """What a read must reach: factors over stock and the floor, and a share of Redis' time."""

    to_dict_faster: float
    to_arrow_over_floor: float
    redis_share: float


@dataclass(frozen=True)
class Shape:
    """One kind of request: so many entities, and these features of a group."""

    group: Group
    rows: int
    refs: list[str] = field(repr=False)
    label: str
    bar: Bar | None = None


def _whole(group: Group, rows: int, bar: Bar, words: str = "") -> Shape:
    refs = group.refs()
    return Shape(group, rows, refs, f"{rows} x {len(refs)}{words}", bar)


BARS = (
    _whole(FIVE_VIEWS, 1, Bar(10, 8, 1.0)),
    _whole(FIVE_VIEWS, 10, Bar(20, 3, 0.6)),
    _whole(FIVE_VIEWS, 100, Bar(30, 1.8, 0.5)),
    _whole(FIVE_VIEWS, 1000, Bar(40, 1.5, 0.5)),
    _whole(MIXED, 500, Bar(50, 1.5, 0.5), " mixed"),
)
# Few fields of wide hashes, where HGETALL would drag along what nobody asked for.
NARROW = (
    Shape(TALL, 100, ["tall:tall_150"], "100 x 1 of 300 fields"),
    Shape(EMBEDDED, 100, EMBEDDED.refs("scalars"), "100 x 5 beside three 768-float embeddings"),
)
