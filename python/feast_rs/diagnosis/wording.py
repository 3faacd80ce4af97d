"""How numbers, times and errors are written in a diagnosis."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Redis names the user in what it forbids, and some providers issue tokens as user names.
_USER = re.compile(r"\bUser \S+ has no permissions")
_LOGIN = re.compile(r"(?<=://)[^/@\s]*(?=@)")

#: The most names that a sentence has.
_NAMED = 5


def size(count: float) -> str:
    """A number of bytes."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def span(seconds: float) -> str:
    """A time span, in its largest units."""
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = int(seconds // 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def milliseconds(value: float | None) -> str:
    """A measured time."""
    return "-" if value is None else f"{value:.3g} ms"


def count(number: int, noun: str) -> str:
    """How many of something."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y") and not noun.endswith("ey"):
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}{'es' if noun.endswith('sh') else 's'}"


def names(given: Iterable[str]) -> str:
    """Some names, and how many more there are."""
    listed = sorted(given)
    shown = ", ".join(listed[:_NAMED])
    rest = len(listed) - _NAMED
    return f"{shown} and {rest} more" if rest > 0 else shown


def error(raised: BaseException) -> str:
    """An error's words in one line, without user names and logins."""
    text = " ".join(str(raised).split()) or type(raised).__name__
    return _LOGIN.sub("***", _USER.sub("the user has no permissions", text))
