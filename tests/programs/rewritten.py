"""Numbers are made, let go of and made again with other values; says whether they are right."""

from __future__ import annotations

import random

from feast.protos.feast.types.Value_pb2 import Value

from feast_rs import _core

SIZES = (0, 8, 29, 30, 31, 59, 60, 61, 63)


def integer(chance: random.Random) -> int:
    sign = chance.choice((1, -1))
    return sign * chance.getrandbits(chance.choice(SIZES))


def main() -> None:
    chance = random.Random(7)
    for _ in range(300):
        values = [
            integer(chance) if chance.random() < 0.5 else chance.gauss(0, 1e9)
            for _ in range(chance.randrange(300))
        ]
        cells = [
            (Value(int64_val=value) if isinstance(value, int) else Value(double_val=value))
            for value in values
        ]
        column = _core.Column("value", "Int64", [cell.SerializeToString() for cell in cells])
        made = _core.Answer.of_columns(len(values), [column]).to_dict(False)["value"]
        assert list(map(repr, made)) == list(map(repr, values))
        del made
    print("the same")


if __name__ == "__main__":
    main()
