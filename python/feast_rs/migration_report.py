"""What became of the keys of a migration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_OUTCOMES_OF_FOUND = ("migrated", "merged", "skipped", "conflicting", "failed")
_OUTCOMES = (*_OUTCOMES_OF_FOUND, "deleted", "kept", "unrecognised", "ambiguous")
_WORTH_A_LOOK = ("conflicting", "failed", "kept", "unrecognised", "ambiguous")


@dataclass
class MigrationReport:
    """What became of the keys of version 2.

    ``found`` is the sum of ``migrated``, ``merged``, ``skipped``, ``conflicting`` and ``failed``.
    """

    dry_run: bool
    """Whether nothing was written, and the counts say what would be."""

    found: int = 0
    """Keys of version 2 of this project."""

    migrated: int = 0
    """Keys copied to version 3, where there was none."""

    merged: int = 0
    """Keys of which a view was newer than in the key of version 3."""

    skipped: int = 0
    """Keys whose key of version 3 has all that they have, or newer."""

    conflicting: int = 0
    """Keys that differ from version 3 in a way that leaves open which is right; left alone."""

    failed: int = 0
    """Keys that could not be read or written; left alone."""

    deleted: int = 0
    """Keys of version 2 that were deleted after their copies were verified."""

    kept: int = 0
    """Keys that were to be deleted, but changed meanwhile."""

    unrecognised: int = 0
    """Keys that begin and end like this project's of version 2, but have none of its join keys, or
    are of another project whose name ends alike, or hold no feature rows; left alone."""

    ambiguous: int = 0
    """Keys that can be read in several ways; left alone."""

    seconds: float = 0.0
    """How long it took."""

    samples: dict[str, list[str]] = field(default_factory=dict)
    """The first keys of each outcome: the entity, or the key's bytes, and the reason."""

    @property
    def is_clean(self) -> bool:
        """Whether no key is left that somebody has to look at, or that another run has to take."""
        return not (self.conflicting or self.failed or self.kept or self.ambiguous)

    def add(self, counts: Mapping[str, int]) -> None:
        """Adds keys by their outcome."""
        for name, count in counts.items():
            setattr(self, name, getattr(self, name) + count)
        self.found = sum(getattr(self, name) for name in _OUTCOMES_OF_FOUND)

    def counts(self) -> dict[str, int]:
        """How many keys had each outcome."""
        return {name: getattr(self, name) for name in _OUTCOMES}

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return asdict(self)

    def to_text(self) -> str:
        """The report for people: the counts, and samples of what is worth a look."""
        head = "would be" if self.dry_run else "keys of version 2"
        lines = [f"found: {self.found} in {self.seconds:.1f} s; {head}:"]
        for name, count in self.counts().items():
            lines.append(f"  {name}: {count}")
            if self.dry_run or name in _WORTH_A_LOOK:
                lines += [f"    {text}" for text in self.samples.get(name, [])]
        return "\n".join(lines)
