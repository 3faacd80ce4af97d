"""A TCP proxy in front of Redis that does to replies what networks and strangers do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator

PONG = b"+PONG\r\n"

Piece = bytes | float | None
"""Bytes to send, seconds to wait, or None to close the connection."""


class Proxy:
    """Passes everything on, until `meddle` says what becomes of the replies to come.

    A reply to the login passes untouched, and nothing follows the pieces that `meddle` gives. What
    passes is late by `delay` and no faster than `rate`; `cut` and `half_close` are for the
    connections that are open at the time. `refuses` closes new ones as soon as they are made.
    """

    def __init__(self, port: int, listen: int = 0) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", listen))
        self.port: int = self._listener.getsockname()[1]
        self.meddle: Callable[[bytes], Iterable[Piece]] | None = None
        self.delay = 0.0
        """Seconds that each piece of a request and of a reply takes longer."""
        self.rate: float | None = None
        """Bytes per second of each connection in each direction."""
        self.refuses = False
        self._open: set[tuple[socket.socket, socket.socket]] = set()
        self._aborted: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """As a Feast connection string."""
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        """Accepts no more connections, and ends those there are."""
        # A thread that waits in `accept` keeps the socket listening unless it is woken.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def mend(self) -> None:
        """Lets everything pass as it comes."""
        self.meddle, self.delay, self.rate, self.refuses = None, 0.0, None, False

    def cut(self, reset: bool = False) -> None:
        """Ends the open connections, with a reset instead of an orderly end if so asked."""
        for client, server in list(self._open):
            if reset:
                abort(client)
                self._aborted.add(client)
                # Wakes who reads of it; the reset goes out when it is closed then.
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RD)
            else:
                shut(client)
            shut(server)

    def half_close(self) -> None:
        """Ends the replies of the open connections; requests still pass."""
        for client, _ in list(self._open):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    if self.refuses:
                        raise ConnectionRefusedError
                    server = socket.create_connection(("127.0.0.1", self._target), 5)
                except OSError:
                    abort(client)
                    client.close()
                    continue
                server.settimeout(None)
                threading.Thread(target=self._connect, args=(client, server), daemon=True).start()

    def _connect(self, client: socket.socket, server: socket.socket) -> None:
        """Passes on in both directions until both have ended."""
        ends = (client, server)
        self._open.add(ends)
        answers = threading.Thread(target=self._answer, args=(server, client), daemon=True)
        answers.start()
        with contextlib.suppress(OSError):
            self._ask(client, server)
        answers.join()
        self._open.discard(ends)
        self._aborted.discard(client)
        client.close()
        server.close()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        for chunk in chunks(client):
            self._take_time(chunk)
            self.pass_on(chunk, server)
        self.end(server)

    def _take_time(self, chunk: bytes) -> None:
        if self.delay:
            time.sleep(self.delay)
        if self.rate is not None:
            time.sleep(len(chunk) / self.rate)

    def end(self, server: socket.socket) -> None:
        """Closes the connection to the server, since the client did its own."""
        shut(server)

    def pass_on(self, chunk: bytes, server: socket.socket) -> None:
        """Sends a part of a request to the server."""
        server.sendall(chunk)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        for chunk in chunks(server):
            self._take_time(chunk)
            if self.meddle is None or chunk == PONG:
                with contextlib.suppress(OSError):
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
        if client not in self._aborted:
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


def abort(end: socket.socket) -> None:
    """Makes the end of a connection a reset, whenever it is closed."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
