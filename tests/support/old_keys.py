"""Deployments that write entity keys of version 2, and what is stored in both versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import redis
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from tests.support.rows import client_of
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import World

Dump = dict[bytes, tuple[bytes, int]]


class Deployment:
    """One registry and one Redis, through either store and in either version of the keys."""

    def __init__(self, directory: Path, address: str, project: str = "proj", **settings: Any):
        self.directory = directory
        self.stock_old, self.old, self.stock, self.new = (
            feature_store(kind, directory, address, project, key_version=version, **more)
            for kind, version, more in [
                (STOCK, 2, {}),
                (OURS, 2, settings),
                (STOCK, 3, {}),
                (OURS, 3, settings),
            ]
        )
        self.client: redis.Redis = client_of(self.stock)

    def apply(self, more: Iterable[Any] = ()) -> World:
        """The world's definitions."""
        return World(self.new, list(more))

    def keys(self, names: Mapping[str, Value], project: str = "proj") -> tuple[bytes, bytes]:
        """An entity's keys of version 2 and 3, by stock's own serializer."""
        entity = EntityKey(join_keys=list(names), entity_values=list(names.values()))
        old, new = (serialize_entity_key(entity, version) for version in (2, 3))
        return old + project.encode(), new + project.encode()

    def driver(self, number: int, project: str = "proj") -> tuple[bytes, bytes]:
        """A driver's keys of version 2 and 3."""
        return self.keys({"driver_id": Value(int64_val=number)}, project)

    def dump(self) -> Dump:
        """All that is stored, with when it expires."""
        return dump(self.client)

    def hashes(self) -> dict[bytes, dict[bytes, bytes]]:
        """All hashes."""
        return {
            key: self.client.hgetall(key)
            for key in self.client.scan_iter(count=1000)
            if self.client.type(key) == b"hash"
        }


def dump(client: redis.Redis) -> Dump:
    """All that a server stores, with when it expires."""
    return {
        key: (client.dump(key), client.pexpiretime(key)) for key in client.scan_iter(count=1000)
    }
