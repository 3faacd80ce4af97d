"""Finding and deleting what a project has stored."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from feast import FeatureView, Field, RepoConfig
from feast.types import Bytes

from feast_rs import _core, feast_compat
from feast_rs.errors import ConnectionError

logger = logging.getLogger(__name__)

# Keys that one SCAN looks at. Large enough to keep round trips few, small enough to leave the
# server responsive: about a millisecond of its time.
_SCAN_COUNT = b"2000"

# Of a cluster; a server alone has them all.
_SLOTS = 16384


class KeyScanner:
    """The part of redis-py's client that Feast uses to find entities."""

    def __init__(self, client: _core.Client) -> None:
        self._client = client

    def scan_iter(self, match: bytes) -> Iterator[bytes]:
        """The keys that match a glob pattern; one may come more than once."""
        for page in self.pages(match):
            yield from page

    def pages(self, match: bytes) -> Iterator[list[bytes]]:
        """The same in lists as the servers send them: every primary's, one after the other.

        Where slots move between the servers of a cluster meanwhile, a key could be missed that went
        from one not scanned yet to one that was: all are scanned again then.
        """
        before = None
        while before != (owners := slot_owners(self._client)):
            before = owners
            for address, _ in owners:
                yield from self._pages_of(address, match)
            if len(owners) == 1:
                return

    def _pages_of(self, address: str, match: bytes) -> Iterator[list[bytes]]:
        cursor = b"0"
        while True:
            ((cursor, keys),) = self._client.execute(
                [[b"SCAN", cursor, b"MATCH", match, b"COUNT", _SCAN_COUNT]], address
            )
            if keys:
                yield keys
            if cursor == b"0":
                return


def slot_owners(client: _core.Client) -> list[tuple[str, list[tuple[int, int]]]]:
    """The primaries and the slots that each has now, as first and last of each range.

    Raises:
        ConnectionError: Some slots have no primary.
    """
    nodes = client.nodes(refresh=True)
    owners = [(node["address"], node["slots"]) for node in nodes if node["role"] == "primary"]
    owned = sum(last - first + 1 for _, slots in owners for first, last in slots)
    if owned < _SLOTS:
        known = ", ".join(node["address"] for node in nodes)
        raise ConnectionError(
            f"redis at {known}: {_SLOTS - owned} of the {_SLOTS} slots have no primary at the "
            "moment, and what they hold would be left out; try again when every slot is served"
        )
    return owners


def delete_entities(client: _core.Client, config: RepoConfig, join_keys: list[str]) -> None:
    """Deletes every key of these join keys in this project."""
    deleted = 0
    for keys in _project_keys(client, config, join_keys):
        deleted += sum(client.execute([[b"UNLINK", key] for key in keys]))
    logger.debug("Deleted %d rows for entity %s", deleted, ", ".join(join_keys))


def delete_view(client: _core.Client, config: RepoConfig, view: FeatureView) -> None:
    """Deletes the fields of a feature view from every key of its entity, and the key where no
    other view is left in it."""
    name = feast_compat.stored_view_name(view, config)
    fields = _core.view_fields(name, [feature.name for feature in view.features])
    timestamp = f"_ts:{name}".encode()
    deleted = 0
    for keys in _project_keys(client, config, list(view.join_keys)):
        stored = client.execute([[b"HKEYS", key] for key in keys])
        commands = []
        for key, names in zip(keys, stored, strict=True):
            views = {field for field in names if field.startswith(b"_ts:")}
            if timestamp not in views:
                continue
            commands.append([b"UNLINK", key] if len(views) == 1 else [b"HDEL", key, *fields])
        client.execute(commands)
        deleted += len(commands)
    logger.debug("Deleted %d rows for feature view %s", deleted, name)


def _project_keys(
    client: _core.Client, config: RepoConfig, join_keys: list[str]
) -> Iterator[list[bytes]]:
    """The keys of these join keys that are this project's.

    Stock Feast takes all that the pattern matches, which includes the keys of a project whose
    name ends alike, and misses version 2 keys.
    """
    owner = _core.KeyOwner(join_keys, config.entity_key_serialization_version, config.project)
    for page in KeyScanner(client).pages(owner.pattern):
        keys = [key for key in page if owner.owns(key)]
        if keys:
            yield keys


def precomputed_view(feature_service_name: str) -> Any:
    """The view under which Feast keeps the precomputed vectors of a feature service."""
    return FeatureView(
        name=f"__precomputed__{feature_service_name}",
        entities=[],
        schema=[Field(name="vector", dtype=Bytes)],
        source=None,
    )
