"""Feature values laid out for reading: a line per feature, a column per flight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CELL = 24


def cell(value: Any) -> str:
    """One value, short enough for a column; a missing one is a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime):
        return value.strftime("%d %b %H:%M UTC")
    if isinstance(value, list):
        return " ".join(cell(item) for item in value)
    text = str(value)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def feature_table(
    columns: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    values: Mapping[str, Sequence[Any]],
) -> str:
    """Render `values` (feature -> one value per column), grouped under headings."""
    label = 2 + max(len(name) for names in groups.values() for name in names)
    lines = [" " * (label + 2) + "".join(f"{column:>{_CELL + 2}}" for column in columns)]
    for heading, names in groups.items():
        lines.append(f"  {heading}")
        for name in names:
            cells = "".join(f"{cell(value):>{_CELL + 2}}" for value in values[name])
            lines.append(f"    {name:<{label - 2}}{cells}")
    return "\n".join(lines)


def matrix_table(rows: Sequence[str], matrix: NDArray[np.float32], width: int = 9) -> str:
    """Render the first rows and columns of a matrix, as a model would get it."""
    shown = matrix[: len(rows), :width]
    more = "   ..." if matrix.shape[1] > width else ""
    return "\n".join(
        f"  {name:<20}" + "".join(f"{number:>11.3f}" for number in row) + more
        for name, row in zip(rows, shown, strict=True)
    )
