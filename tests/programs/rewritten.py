"""Numbers are made, let go of and made again with other values, by the `_core` at a path; says so
if they are right and were kept. It needs nothing but Python, so that any release can run it."""

from __future__ import annotations

import importlib.util
import random
import struct
import sys
from collections.abc import Sequence
from typing import Any

SIZES = (0, 8, 29, 30, 31, 59, 60, 61, 63)


def load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("_core", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cell(value: float) -> bytes:
    """A `Value` of an integer or a float."""
    if isinstance(value, float):
        return b"\x29" + struct.pack("<d", value)
    left, digits = value % 2**64, bytearray()
    while left > 127:
        digits.append(left & 127 | 128)
        left >>= 7
    return bytes([0x20, *digits, left])


def objects(core: Any, values: Sequence[float]) -> list[Any]:
    column = core.Column("value", "Int64", [cell(value) for value in values])
    made: list[Any] = core.Answer.of_columns(len(values), [column]).to_dict(False)["value"]
    return made


def are_kept(made: list[Any]) -> bool:
    """Whether there is a reference beside the list's to each."""
    plain = max(sys.getrefcount(value) for value in [row / 7 for row in range(3)])
    return all(sys.getrefcount(value) > plain for value in made)


def number(chance: random.Random) -> float:
    if chance.random() < 0.5:
        return chance.gauss(0, 1e9)
    return chance.choice((1, -1)) * chance.getrandbits(chance.choice(SIZES))


def main() -> None:
    core = load(sys.argv[1])
    chance = random.Random(7)
    held: list[tuple[Any, str]] = []
    for _ in range(500):
        values = [number(chance) for _ in range(chance.randrange(300))]
        made = objects(core, values)
        assert list(map(repr, made)) == list(map(repr, values))
        assert list(map(hash, made)) == list(map(hash, values))
        held += [(value, repr(value)) for value in made if chance.random() < 0.02]
        held = held[-200:]
        assert [repr(value) for value, _ in held] == [text for _, text in held]
    for size in (0.5, 2**18, -(2**18), 2**40, -(2**40)):
        assert are_kept(objects(core, [size * row for row in range(300, 400)])), size
    # All are given up, so that an allocator that looks for damage sees each of them.
    made, held = [], []
    for _ in range(300):
        objects(core, [])
    print("right and kept")


if __name__ == "__main__":
    main()
