"""Credential providers of every kind, which issue what a test tells them to."""

from __future__ import annotations

import threading
import time
from typing import Any

USER = "feast"
NOT_CALLABLE = "s3cret"

issued: Any = None
"""What `issue` returns, or raises if it is an exception."""

pause = 0.0
"""How long it takes, in seconds."""

calls: list[tuple[str, int]] = []
"""Which threads have called it, and in which process."""


def reset(answer: Any) -> None:
    """Issues `answer` from now on, at once."""
    global issued, pause
    issued, pause = answer, 0.0
    calls.clear()


def issue() -> Any:
    """The provider."""
    calls.append((threading.current_thread().name, threading.get_ident()))
    time.sleep(pause)
    if isinstance(issued, BaseException):
        raise issued
    return issued


async def issue_async() -> str:
    """A provider that cannot be one."""
    return "s3cret"


class Tokens:
    """A provider inside of a class."""

    @staticmethod
    def issue() -> Any:
        """The same."""
        return issue()
