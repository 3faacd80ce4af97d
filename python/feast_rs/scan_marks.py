"""How far a scan of all primaries has come, kept in a file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feast_rs.errors import ArgumentError

# Seconds between writes of the file.
_SAVE_SECONDS = 1.0


Slots = Sequence[Sequence[int]]
"""The first and the last slot of each range."""


class ScanMarks:
    """The cursor of each server's SCAN, in memory and, with a path, in a file.

    A cursor means something only to the server process that gave it: after a restart or a failover
    the keys lie in another order. So each comes with the server's ``run_id``, and one of another
    process is not used. It comes with the slots, too, that the server had when its scan began: what
    came with others since may not have been seen.
    """

    def __init__(self, path: str | os.PathLike[str] | None, job: dict[str, Any]) -> None:
        """Reads the file, if there is one.

        Args:
            path: The file, or None to keep the marks in memory only.
            job: What is being done. The marks of another job are not used.

        Raises:
            ArgumentError: The file is no such file, or is of another job; or its directory is not
                there.
        """
        self._path = Path(path) if path is not None else None
        self._job = job
        self._nodes: dict[str, dict[str, Any]] = {}
        self._saved = time.monotonic()
        self.counts: dict[str, int] = {}
        if self._path is not None and self._path.exists():
            self._load(self._path)
        elif self._path is not None and not self._path.parent.is_dir():
            raise ArgumentError(f"the state cannot be kept in {self._path}: no such directory")

    def _load(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text())
            job, self._nodes, self.counts = content["job"], content["nodes"], content["counts"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise ArgumentError(f"{path} is no state file of feast-rs: {error!r}") from None
        if job != self._job:
            raise ArgumentError(
                f"{path} belongs to a run with other settings ({json.dumps(job)}): finish that "
                "run with its settings, or delete the file to start anew"
            )

    def begin(self, address: str, run_id: str, slots: Slots) -> bytes:
        """Where to go on at this server process; ``0`` to begin."""
        node = self._nodes.get(address)
        if node is not None and node["run_id"] == run_id and not node["done"]:
            return str(node["cursor"]).encode()
        self._nodes[address] = {"run_id": run_id, "cursor": "0", "done": False, "slots": slots}
        return b"0"

    def move(self, address: str, cursor: bytes) -> None:
        """All before `cursor` is done."""
        self._nodes[address]["cursor"] = cursor.decode()
        if time.monotonic() - self._saved >= _SAVE_SECONDS:
            self.save()

    def finish(self, address: str) -> None:
        """All of this server is done."""
        self._nodes[address]["done"] = True
        self.save()

    def is_done(self, address: str, run_id: str, slots: Slots) -> bool:
        """Whether all of this server process is done, and all of these slots with it."""
        node = self._nodes.get(address)
        if node is None or not node["done"] or node["run_id"] != run_id:
            return False
        return _members(slots) <= _members(node["slots"])

    def save(self) -> None:
        """Writes the file, whole or not at all."""
        self._saved = time.monotonic()
        if self._path is None:
            return
        content = {"job": self._job, "nodes": self._nodes, "counts": self.counts}
        draft = self._path.with_name(f"{self._path.name}.new")
        draft.write_text(json.dumps(content, indent=1))
        os.replace(draft, self._path)

    def delete(self) -> None:
        """The job is done: the next run begins anew."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _members(slots: Slots) -> set[int]:
    return {slot for first, last in slots for slot in range(first, last + 1)}
