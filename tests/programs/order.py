"""Where the objects of answers lie, in an interpreter whose free memory is in disorder.

Usage: python -m tests.programs.order REPOSITORY
"""

from __future__ import annotations

import itertools
import json
import random
import sys

from feast import FeatureStore

from tests.support.drivers import STORED, read

ROUNDS = 5
READS = 100
LENGTH = 5 * STORED
FEATURES = ["stats:rate", "stats:trips", "stats:seen"]


def strew() -> None:
    """Frees blocks in disorder, as a long row of answers of changing sizes does."""
    numbers = [number + 0.5 for number in range(200_000)]
    random.shuffle(numbers)


def forward(numbers: list[float]) -> float:
    """The share of the numbers of a list that lie behind the one before them."""
    pairs = itertools.pairwise(numbers)
    return sum(id(one) < id(other) for one, other in pairs) / (len(numbers) - 1)


def main(path: str) -> None:
    """Prints, round by round, the shares that lie in order: of a list that Python makes, of an
    answer's first list, which is begun before the reply is whole, and of its second one, of which
    nothing is begun."""
    store = FeatureStore(path)
    drivers = [place % STORED for place in range(LENGTH)]
    random.seed(1)
    for _ in range(ROUNDS):
        for _ in range(READS):
            strew()
            plain = forward([number + 0.5 for number in range(LENGTH)])
            answer = read(store, drivers, FEATURES)
            # Where this thread was kept from a core, nothing was begun: another answer is read.
            if answer._answer.early_values:
                break
            answer.to_dict()
        else:
            sys.exit(f"no list was begun early in {READS} reads")
        first = forward(answer.to_dict()["rate"])
        strew()
        second = forward(answer.to_dict()["rate"])
        print(json.dumps({"plain": plain, "first": first, "second": second}))


if __name__ == "__main__":
    main(*sys.argv[1:])
