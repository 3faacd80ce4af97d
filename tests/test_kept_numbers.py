"""Numbers of earlier answers that are given out again with other values: only nobody's are."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import given, settings
from hypothesis import strategies as st

from feast_rs import _core

PROGRAM = Path(__file__).parent / "programs" / "rewritten.py"

# Where the number of an integer's digits changes, where Python has objects of its own, and beyond.
EDGES = [0, 1, 4, 5, 6, 255, 256, 257, 1023, 1024, 1025]
EDGES += [2**30 - 1, 2**30, 2**30 + 1, 2**60 - 1, 2**60, 2**60 + 1, 2**62, 2**63 - 1]
INTS = st.sampled_from([*EDGES, *(-edge for edge in EDGES), -(2**63)]) | st.integers(
    -(2**63), 2**63 - 1
)
FLOATS = st.floats(width=64)


def cells(dtype: str, values: list[Any]) -> list[bytes]:
    names = {"Int64": "int64_val", "Float64": "double_val"}
    if dtype in names:
        return [Value(**{names[dtype]: value}).SerializeToString() for value in values]
    listed = []
    for value in values:
        message = Value()
        getattr(
            message, {"Array(Int64)": "int64_list_val"}.get(dtype, "double_list_val")
        ).val.extend(value)
        listed.append(message.SerializeToString())
    return listed


def objects(dtype: str, values: list[Any]) -> list[Any]:
    column = _core.Column("value", dtype, cells(dtype, values))
    made: list[Any] = _core.Answer.of_columns(len(values), [column]).to_dict(False)["value"]
    return made


KINDS = {
    "Int64": INTS,
    "Float64": FLOATS,
    "Array(Int64)": st.lists(INTS, min_size=1, max_size=4),
    "Array(Float64)": st.lists(FLOATS, min_size=1, max_size=4),
}
COLUMN = st.sampled_from(sorted(KINDS)).flatmap(
    lambda dtype: st.tuples(st.just(dtype), st.lists(KINDS[dtype], max_size=30))
)


@given(st.lists(st.tuples(COLUMN, st.sets(st.integers(0, 29), max_size=8)), max_size=12))
@settings(max_examples=300, deadline=None)
def test_what_somebody_has_stays(answers: list[tuple[tuple[str, list[Any]], set[int]]]) -> None:
    held: list[tuple[Any, str]] = []
    for (dtype, values), keep in answers:
        made = objects(dtype, values)
        assert repr(made) == repr(values)
        held += [(made[place], repr(values[place])) for place in keep if place < len(values)]
        del made
        assert [repr(value) for value, _ in held] == [text for _, text in held]


# Numbers of several answers.
BATCHES = [[batch + row / 7 for row in range(1000)] for batch in range(40)]


def ids(values: list[Any]) -> set[int]:
    return {id(value) for value in values}


def test_numbers_are_given_out_again() -> None:
    first = ids(objects("Float64", BATCHES[0]))
    made = objects("Float64", BATCHES[1])
    assert ids(made) == first
    assert made == BATCHES[1]


def test_integers_of_either_sign_and_as_many_digits() -> None:
    first = ids(objects("Int64", [2**40 + row for row in range(1000)]))
    numbers = [(-1) ** row * (2**50 + row) for row in range(1000)]
    made = objects("Int64", numbers)
    assert ids(made) == first
    assert made == numbers
    assert [hash(value) for value in made] == [hash(value) for value in numbers]


def test_whoever_has_the_last_answer_while_the_next_one_is_made() -> None:
    before: list[set[int]] = []
    made: list[float] = []
    for batch in BATCHES:
        made = objects("Float64", batch)
        assert made == batch
        before.append(ids(made))
    assert before[-1] == before[-3] != before[-2]


def test_answers_that_are_kept() -> None:
    kept = [objects("Float64", batch) for batch in BATCHES]
    assert kept == BATCHES
    # Theirs are left to them in the end, and there are others to be given out again.
    seen = [ids(objects("Float64", BATCHES[0])) for _ in range(100)]
    assert seen[-1] == seen[-2]
    assert kept == BATCHES


def test_no_more_than_so_many_are_kept() -> None:
    """Which are 16 MiB."""
    made = objects("Float64", [row / 7 for row in range(600_000)])
    plain = min(sys.getrefcount(value) for value in made)
    assert plain < max(sys.getrefcount(value) for value in made)
    assert sum(sys.getrefcount(value) > plain for value in made) <= 2**19


def test_those_that_no_answer_needs_are_given_up() -> None:
    objects("Float64", [row / 7 for row in range(40_000)])
    small = [_core.Column("value", "Float64", cells("Float64", BATCHES[0][:10]))]
    answer = _core.Answer.of_columns(10, small)
    before = sys.getallocatedblocks()
    for _ in range(10_000):
        answer.to_dict(False)
    assert sys.getallocatedblocks() < before - 30_000


def test_threads_do_not_share_them() -> None:
    def work(thread: int) -> None:
        for turn in range(200):
            floats = [thread + turn / 3 + row for row in range(300)]
            ints = [(thread << 40) + (turn << 20) + row for row in range(300)]
            made = objects("Float64", floats), objects("Int64", ints)
            assert made == (floats, ints)

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(work, range(12)))


@pytest.mark.parametrize("allocator", ["malloc", "debug", "pymalloc"])
def test_no_memory_but_theirs_is_written(allocator: str) -> None:
    """Python's debug allocator looks at what lies around each object."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", PROGRAM],
        env=os.environ | {"PYTHONMALLOC": allocator},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "the same\n"), done.stderr
