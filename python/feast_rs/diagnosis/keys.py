"""Whose keys there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from feast_rs import _core
from feast_rs.diagnosis.definitions import Definitions, JoinKeys
from feast_rs.entity_keys import deserialize_entity_keys
from feast_rs.errors import EntityKeyError

VERSIONS = (3, 2)

# Other projects are named by way of example; finding each name takes some tries.
_OTHERS_LOOKED_AT = 40
_LONGEST_PROJECT = 80

_ARROW_TYPES = {
    pa.int32(): "INT32",
    pa.int64(): "INT64",
    pa.string(): "STRING",
    pa.large_string(): "STRING",
    pa.binary(): "BYTES",
    pa.large_binary(): "BYTES",
}


@dataclass
class OwnKeys:
    """Keys of one set of join keys in one version."""

    version: int
    join_keys: JoinKeys
    is_registered: bool
    keys: list[bytes] = field(default_factory=list)
    types: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """How many have values of which types, in the order of the join keys."""


class KeyCensus:
    """Sorts keys into this project's and others'."""

    def __init__(self, definitions: Definitions, project: str) -> None:
        self._project = project
        self._suffix = project.encode()
        self._sets = list(definitions.key_types)
        self._owners = [
            (_core.KeyOwner(list(names), version, project), version, names)
            for version in VERSIONS
            for names in self._sets
        ]
        self.own: dict[tuple[int, JoinKeys], OwnKeys] = {}
        self.others: Counter[str] = Counter()
        """Keys by the project that they are of, as far as they were looked at."""
        self._other_keys = 0

    def count(self, version: int) -> int:
        """How many of this project's keys are of a version."""
        return sum(len(own.keys) for own in self.own.values() if own.version == version)

    def read(self, version: int) -> list[OwnKeys]:
        """Those that reads with this version find; all, if it finds none."""
        right = [own for own in self.own.values() if own.version == version]
        return right or list(self.own.values())

    def add(self, keys: Iterable[bytes]) -> list[bytes]:
        """Sorts keys; gives back those of this project."""
        return [key for key in keys if self._add(key)]

    def _add(self, key: bytes) -> bool:
        if key.endswith(self._suffix):
            bare = key[: len(key) - len(self._suffix)]
            for owner, version, names in self._owners:
                if owner.owns(key) and self._take(key, bare, version, names):
                    return True
            # Version 3 tells the names itself.
            if self._take(key, bare, 3, ()):
                return True
        self._other_keys += 1
        if self._other_keys <= _OTHERS_LOOKED_AT and (project := self._project_of(key)):
            self.others[project] += 1
        return False

    def _take(self, key: bytes, bare: bytes, version: int, names: JoinKeys) -> bool:
        try:
            parsed = deserialize_entity_keys([bare], names, version=version)
        except EntityKeyError:
            return False
        join_keys = tuple(parsed.schema.names)
        if not join_keys:
            return False
        own = self.own.setdefault((version, join_keys), OwnKeys(version, join_keys, bool(names)))
        own.keys.append(key)
        own.types[tuple(_type_name(column) for column in parsed.schema.types)] += 1
        return True

    def _project_of(self, key: bytes) -> str | None:
        """The project that an entity key is followed by, if it is one."""
        for length in range(1, min(len(key), _LONGEST_PROJECT)):
            bare, tail = key[:-length], key[-length:]
            for version, names in [(3, ()), *((2, names) for names in self._sets)]:
                try:
                    parsed = _core.parse_keys([bare], version, list(names))
                except EntityKeyError:
                    continue
                if pa.record_batch(parsed).num_columns == 0:
                    continue
                text = tail.decode(errors="replace")
                if text.isprintable() and text != self._project:
                    return text
        return None


def _type_name(arrow_type: pa.DataType) -> str:
    return _ARROW_TYPES.get(arrow_type, "UNIX_TIMESTAMP")
