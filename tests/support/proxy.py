"""A TCP proxy in front of Redis that does to replies what networks and strangers do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator

PONG = b"+PONG\r\n"

Piece = bytes | float | None
"""Bytes to send, seconds to wait, or None to close the connection."""


class Proxy:
    """Passes everything on, until `meddle` says what becomes of the replies to come.

    A reply to the login passes untouched, and nothing follows the pieces that `meddle` gives.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.meddle: Callable[[bytes], Iterable[Piece]] | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """As a Feast connection string."""
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        """Accepts no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for target, ends in (
                    (self._ask, (client, server)),
                    (self._answer, (server, client)),
                ):
                    threading.Thread(target=target, args=ends, daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        for chunk in chunks(client):
            self.pass_on(chunk, server)
        self.end(server)

    def end(self, server: socket.socket) -> None:
        """Closes the connection to the server, since the client did its own."""
        shut(server)

    def pass_on(self, chunk: bytes, server: socket.socket) -> None:
        """Sends a part of a request to the server."""
        server.sendall(chunk)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        for chunk in chunks(server):
            if self.meddle is None or chunk == PONG:
                client.sendall(chunk)
                continue
            with contextlib.suppress(OSError):
                for piece in self.meddle(chunk):
                    if isinstance(piece, bytes):
                        client.sendall(piece)
                    elif piece is not None:
                        time.sleep(piece)
                    else:
                        shut(client)
            return
        shut(client)


def chunks(source: socket.socket) -> Iterator[bytes]:
    """What comes from a socket until it ends."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(1 << 16):
            yield chunk


def shut(end: socket.socket) -> None:
    """Closes a connection for both sides."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
