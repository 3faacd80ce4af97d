"""Feast's online path on Redis, in Rust.

Set ``online_store.type: feast_rs.RedisOnlineStore`` in ``feature_store.yaml``; everything else of
a Feast deployment stays as it is, the bytes in Redis included.

Importing this package imports neither Feast nor the extension module, starts no thread and opens
no socket; what is used is loaded when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from feast_rs.errors import (
    ArgumentError,
    ConfigError,
    ConnectionError,
    DecodeError,
    EncodeError,
    EntityKeyError,
    EntityRowsError,
    FeastRsError,
    FeatureListError,
    MaterializationError,
    MissingJoinKeyError,
    NoEntityRowsError,
    ProtocolError,
    ServerError,
    SourceError,
    SourceNotFoundError,
    TimeoutError,
)

if TYPE_CHECKING:
    from feast_rs.compute_engine import StreamingComputeEngine, StreamingComputeEngineConfig
    from feast_rs.config import RedisOnlineStoreConfig
    from feast_rs.diagnosis import Diagnosis, Finding, diagnose
    from feast_rs.entity_keys import deserialize_entity_keys, serialize_entity_keys
    from feast_rs.key_migration import migrate_keys
    from feast_rs.materialization import materialize, materialize_incremental
    from feast_rs.migration_report import MigrationReport
    from feast_rs.online_store import RedisOnlineStore
    from feast_rs.provider import ArrowProvider
    from feast_rs.pushing import push
    from feast_rs.registry_file import FileRegistryStore
    from feast_rs.reports import MaterializationReport, ViewReport
    from feast_rs.response import OnlineResponse
    from feast_rs.values import decode_values, encode_values
    from feast_rs.writing import WriteReport, write_batches

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "ArrowProvider",
    "ConfigError",
    "ConnectionError",
    "DecodeError",
    "Diagnosis",
    "EncodeError",
    "EntityKeyError",
    "EntityRowsError",
    "FeastRsError",
    "FeatureListError",
    "FileRegistryStore",
    "Finding",
    "MaterializationError",
    "MaterializationReport",
    "MigrationReport",
    "MissingJoinKeyError",
    "NoEntityRowsError",
    "OnlineResponse",
    "ProtocolError",
    "RedisOnlineStore",
    "RedisOnlineStoreConfig",
    "ServerError",
    "SourceError",
    "SourceNotFoundError",
    "StreamingComputeEngine",
    "StreamingComputeEngineConfig",
    "TimeoutError",
    "ViewReport",
    "WriteReport",
    "__version__",
    "decode_values",
    "deserialize_entity_keys",
    "diagnose",
    "encode_values",
    "materialize",
    "materialize_incremental",
    "migrate_keys",
    "push",
    "serialize_entity_keys",
    "write_batches",
]

_HOMES = {
    "ArrowProvider": "provider",
    "Diagnosis": "diagnosis",
    "FileRegistryStore": "registry_file",
    "Finding": "diagnosis",
    "MaterializationReport": "reports",
    "MigrationReport": "migration_report",
    "OnlineResponse": "response",
    "RedisOnlineStore": "online_store",
    "RedisOnlineStoreConfig": "online_store",
    "StreamingComputeEngine": "compute_engine",
    "StreamingComputeEngineConfig": "compute_engine",
    "ViewReport": "reports",
    "WriteReport": "writing",
    "decode_values": "values",
    "deserialize_entity_keys": "entity_keys",
    "diagnose": "diagnosis",
    "encode_values": "values",
    "materialize": "materialization",
    "materialize_incremental": "materialization",
    "migrate_keys": "key_migration",
    "push": "pushing",
    "serialize_entity_keys": "entity_keys",
    "write_batches": "writing",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
