"""What is kept of earlier answers: numbers that nobody has are given out again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import given, settings
from hypothesis import strategies as st

from feast_rs import DecodeError, _core

PROGRAM = Path(__file__).parent / "programs" / "rewritten.py"

# Where the number of an integer's digits changes, where Python has objects of its own, and beyond.
EDGES = [0, 1, 4, 5, 6, 255, 256, 257, 1023, 1024, 1025]
EDGES += [2**30 - 1, 2**30, 2**30 + 1, 2**60 - 1, 2**60, 2**60 + 1, 2**62, 2**63 - 1]
INTEGERS = st.sampled_from([*EDGES, *(-edge for edge in EDGES), -(2**63)]) | st.integers(
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
    "Int64": INTEGERS,
    "Float64": FLOATS,
    "Array(Int64)": st.lists(INTEGERS, min_size=1, max_size=4),
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


def are_kept(values: list[Any]) -> bool:
    """Whether there is a reference beside the list's to each."""
    plain = max(sys.getrefcount(value) for value in [row / 7 for row in range(3)])
    return all(sys.getrefcount(value) > plain for value in values)


def blocks() -> list[float]:
    """Takes the memory of whatever was freed."""
    return [row / 3 for row in range(5000)]


INTS = [2**18, -(2**18), 2**40, -(2**40)]


@pytest.mark.parametrize("size", [0.5, *INTS])
def test_numbers_are_given_out_again(size: float) -> None:
    dtype = "Float64" if isinstance(size, float) else "Int64"
    numbers = [size * row for row in range(1000, 2000)]
    first = objects(dtype, numbers)
    assert first == numbers
    assert are_kept(first)
    places = ids(first)
    del first
    taken = blocks()
    others = [-size * row for row in range(1300, 2300)]
    made = objects(dtype, others)
    assert ids(made) == places
    assert made == others
    assert [hash(value) for value in made] == [hash(value) for value in others]
    assert taken == blocks()


def test_those_within_lists() -> None:
    first = objects("Array(Float64)", [[row / 7, row / 3] for row in range(500)])
    plain = max(sys.getrefcount(value) for value in [[1.5], [2.5]])
    # Whoever has a list may put anything into it, so none is kept.
    assert max(sys.getrefcount(value) for value in first) == plain
    places = {id(number) for value in first for number in value}
    assert all(are_kept(value) for value in first)
    del first
    taken = blocks()
    made = objects("Float64", BATCHES[0])
    assert ids(made) == places
    assert taken == blocks()


def test_whoever_has_the_last_answer_while_the_next_one_is_made() -> None:
    seen: set[int] = set()
    made: list[float] = []
    taken = []
    for batch in BATCHES:
        made = objects("Float64", batch)
        assert made == batch
        again = len(ids(made) & seen)
        seen |= ids(made)
        taken.append(blocks())
    assert again > 980
    assert taken[0] == taken[-1]


def test_whoever_picks_one_out() -> None:
    """Of each answer another one: it is left out, and the others are given out again."""
    picked = []
    objects("Float64", BATCHES[0])
    places: set[int] = set()
    for turn, batch in enumerate(BATCHES):
        made = objects("Float64", batch)
        assert made == batch
        assert turn == 0 or len(places & ids(made)) >= 999
        places = ids(made)
        picked.append(made[turn * 7 % 1000])
        del made
    assert picked == [batch[turn * 7 % 1000] for turn, batch in enumerate(BATCHES)]


def test_answers_that_are_held() -> None:
    held = [objects("Float64", batch) for batch in BATCHES]
    assert held == BATCHES
    assert any(not are_kept(values) for values in held)
    # Some of theirs are left to them in the end.
    assert any(are_kept(objects("Float64", BATCHES[0])) for _ in range(100))
    assert held == BATCHES


def test_a_cell_that_cannot_be_read() -> None:
    expected = BATCHES[1]
    broken = [*cells("Float64", BATCHES[0]), b"\x29\x00"]
    column = _core.Column("value", "Float64", broken)
    for _ in range(3):
        with pytest.raises(DecodeError, match="row 1000"):
            _core.Answer.of_columns(1001, [column]).to_dict(False)
        made = objects("Float64", expected)
        assert made == expected
        assert are_kept(made)


def test_no_more_than_so_many_are_kept() -> None:
    """Which are 16 MiB. A large answer that is held is in nobody's way when it is gone."""
    numbers = [row / 7 for row in range(600_000)]
    made = objects("Float64", numbers)
    plain = min(sys.getrefcount(value) for value in made)
    assert plain < max(sys.getrefcount(value) for value in made)
    assert sum(sys.getrefcount(value) > plain for value in made) <= 2**19
    objects("Float64", BATCHES[0])
    assert made == numbers
    del made
    assert are_kept(objects("Float64", BATCHES[1]))


def test_those_that_no_answer_needs_are_given_up() -> None:
    held = [objects("Float64", [row / 7 for row in range(20_000)]) for _ in range(8)]
    assert any(are_kept(values) for values in held)
    del held
    column = _core.Column("value", "Float64", cells("Float64", BATCHES[0][:10]))
    answer = _core.Answer.of_columns(10, [column])
    before = sys.getallocatedblocks()
    for _ in range(50_000):
        answer.to_dict(False)
    assert sys.getallocatedblocks() < before - 100_000
    assert are_kept(answer.to_dict(False)["value"])


def test_threads_do_not_share_them() -> None:
    def work(thread: int) -> None:
        for turn in range(200):
            floats = [thread + turn / 3 + row for row in range(300)]
            ints = [(thread << 40) + (turn << 20) + row for row in range(300)]
            made = objects("Float64", floats), objects("Int64", ints)
            assert made == (floats, ints)

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(work, range(12)))


def test_texts_of_earlier_answers_are_the_same_objects() -> None:
    words = [f"café {number}" if number % 3 else f"word {number}" for number in range(50)]
    values = (words * 6)[:300]

    def texts() -> list[str]:
        made = [Value(string_val=value).SerializeToString() for value in values]
        column = _core.Column("value", "String", made)
        answer: list[str] = _core.Answer.of_columns(300, [column]).to_dict(False)["value"]
        return answer

    texts()
    first, second = texts(), texts()
    assert first == second == values
    assert len(ids(first + second)) < 2 * len(words)


def pythons() -> list[str]:
    """The interpreters that are found here, this one first."""
    names = [f"python3.{minor}" for minor in range(10, 20)]
    found = [sys.executable, *filter(None, map(shutil.which, names))]
    found += map(str, sorted(Path.home().glob(".pyenv/versions/3.*/bin/python")))
    told: dict[str, str] = {}
    for python in found:
        ask = [python, "-c", "import sys; print(sys.version_info >= (3, 10), sys.version)"]
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
        if done.stdout.startswith("True"):
            told.setdefault(done.stdout, python)
    return list(told.values())


@pytest.mark.parametrize("allocator", ["malloc", "debug", "pymalloc"])
def test_no_memory_but_theirs_is_written(allocator: str) -> None:
    """By no Python that is here. Its debug allocator looks at what lies around each object."""
    for python in pythons():
        done = subprocess.run(
            [python, "-X", "dev", PROGRAM, _core.__file__],
            env=os.environ | {"PYTHONMALLOC": allocator},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "right and kept\n"), (python, done.stderr)


def test_interpreters_do_not_share_them(tmp_path: Path) -> None:
    """The memory of another one may go with it."""
    pytest.importorskip("_xxsubinterpreters")
    code = f"""
        import sys
        sys.argv = ["", {_core.__file__!r}]
        sys.path.insert(0, {str(PROGRAM.parent)!r})
        import rewritten
        made = rewritten.objects(rewritten.load(sys.argv[1]), [1.5, 2**40])
        open({str(tmp_path / "told")!r}, "w").write(str((made, rewritten.are_kept(made))))
    """
    program = f"""
        import textwrap, _xxsubinterpreters as interpreters
        exec(textwrap.dedent({code!r}))
        other = interpreters.create(isolated=False)
        interpreters.run_string(other, textwrap.dedent({code.replace("told", "other")!r}))
        interpreters.destroy(other)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)
    assert (tmp_path / "told").read_text() == "([1.5, 1099511627776], True)"
    assert (tmp_path / "other").read_text() == "([1.5, 1099511627776], False)"
