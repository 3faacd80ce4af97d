"""The bars: one caller, one request at a time, in five sizes and two awkward shapes."""

from __future__ import annotations

import marshal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from .floor import BareRead
from .measure import Timed, race, weigh
from .repository import entity_key, stock_fields
from .server import Server
from .shapes import Shape
from .stores import Stores, check_answers, entity_rows, read

FLOOR = "floor"
SPIN = "floor, spinning"
OBJECTS = "floor, then the objects"
STOCK_COMMANDS = "stock's commands, bare"
# Requests differ from call to call, as in a service, so that no cache makes them free.
_REQUESTS = 8
_LARGE_REQUESTS = 3
_LARGE_ROWS = 500
# Redis rounds a command's time to microseconds.
_NOISE = 1.1


@dataclass(frozen=True)
class Figure:
    """What one contestant took for a read."""

    seconds: float
    redis_command_us: float
    redis_process_us: float
    samples: int
    retaken: int
    """Samples that were taken again: see `cpus.py`."""
    doubtful: int
    """Of `samples`, those that count though they were to be taken again."""


@dataclass(frozen=True)
class ReadResult:
    """A shape's figures by contestant, the ratios that matter, and whether they pass."""

    label: str
    values_checked: int
    figures: dict[str, Figure]
    stock: str
    to_dict_faster: float
    to_arrow_over_floor: float
    redis_share: float
    bar: dict[str, float] | None
    passed: dict[str, bool]


def _contestants(
    stores: Stores, server: Server, shape: Shape, requests: list[list[int]]
) -> list[Timed]:
    rows = [entity_rows(shape.group, numbers) for numbers in requests]
    columns = [{shape.group.join_key: numbers} for numbers in requests]
    keys = [[entity_key(shape.group, n) for n in numbers] for numbers in requests]
    whole = [BareRead.whole_hashes(server, k) for k in keys]
    fields = [BareRead.fields(server, k, stock_fields(shape.refs)) for k in keys]
    objects = [_marshalled(read(stores.ours, shape.refs, given).to_dict()) for given in rows]
    count = len(requests)

    def floor_and_objects(number: int) -> object:
        whole[number % count]()
        return marshal.loads(objects[number % count])

    def to_dict(store: Any) -> Callable[[int], object]:
        return lambda number: read(store, shape.refs, rows[number % count]).to_dict()

    def to_arrow(given: list[Any]) -> Callable[[int], object]:
        store = stores.ours_for_arrow
        return lambda number: read(store, shape.refs, given[number % count]).to_arrow()

    return [
        *(Timed(name, to_dict(store)) for name, store in stores.stock.items()),
        Timed(f"{stores.label} to_dict", to_dict(stores.ours)),
        Timed(f"{stores.label} to_arrow", to_arrow(rows)),
        Timed(f"{stores.label} to_arrow, rows as columns", to_arrow(columns)),
        Timed(FLOOR, lambda number: whole[number % count]()),
        Timed(OBJECTS, floor_and_objects),
        Timed(SPIN, lambda number: whole[number % count].spin()),
        Timed(STOCK_COMMANDS, lambda number: fields[number % count]()),
    ]


def _marshalled(answer: dict[str, list[Any]]) -> bytes:
    """An answer for `marshal`, the interpreter's own and fastest maker of objects, less the columns
    of times, which it cannot make: a `to_dict` that begins when the replies are there can hardly be
    faster than the floor and this."""
    made = {
        name: values
        for name, values in answer.items()
        if not any(isinstance(value, datetime) for value in values)
        and not any(
            isinstance(value, list) and value and isinstance(value[0], datetime) for value in values
        )
    }
    # The version without references between objects, which cost time.
    return marshal.dumps(made, 2)


def requests_of(shape: Shape) -> list[list[int]]:
    """The entities of each request of a shape, the same in every run."""
    rng = np.random.default_rng(shape.rows)
    return [
        list(map(int, rng.choice(shape.group.entities, size=shape.rows, replace=False)))
        for _ in range(_LARGE_REQUESTS if shape.rows >= _LARGE_ROWS else _REQUESTS)
    ]


def measure_read(
    stores: Stores, server: Server, shape: Shape, budget: float, weighings: int
) -> ReadResult:
    """Check that all stores agree on every request of a shape, then race them."""
    requests = requests_of(shape)
    checked = 0
    for numbers in requests:
        answer = check_answers(stores, shape.refs, entity_rows(shape.group, numbers))
        checked += sum(map(len, answer.values()))
    timed = race(_contestants(stores, server, shape, requests), budget)
    weigh(timed, server, weighings)
    figures = {
        one.name: Figure(
            one.seconds,
            one.command_us,
            one.process_us,
            one.samples,
            one.retaken,
            one.doubtful,
        )
        for one in timed
    }
    return _judge(stores, shape, checked, figures)


def _judge(stores: Stores, shape: Shape, checked: int, figures: dict[str, Figure]) -> ReadResult:
    stock = min(stores.stock, key=lambda name: figures[name].seconds)
    ours = figures[f"{stores.label} to_dict"]
    arrow = figures[f"{stores.label} to_arrow"]
    faster = figures[stock].seconds / ours.seconds
    over = arrow.seconds / figures[FLOOR].seconds
    share = ours.redis_command_us / figures[stock].redis_command_us
    if shape.bar is None:
        passed = {"to_dict": faster >= 1.0, "redis": share <= _NOISE}
    else:
        passed = {
            "to_dict": faster >= shape.bar.to_dict_faster,
            "to_arrow": over <= shape.bar.to_arrow_over_floor,
            "redis": share <= shape.bar.redis_share,
        }
    bar = None if shape.bar is None else asdict(shape.bar)
    return ReadResult(shape.label, checked, figures, stock, faster, over, share, bar, passed)
