"""Stock Feast and feast-rs over one registry and one Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from feast import FeatureStore, RepoConfig

STOCK = "redis"
OURS = "feast_rs.RedisOnlineStore"


def feature_store(
    store_type: str, directory: Path, address: str, project: str = "proj", **settings: Any
) -> FeatureStore:
    """A feature store of the given online store type; all in `directory` share a registry."""
    registry = settings.pop("registry", {"registry_type": "file"})
    more = {name: settings.pop(name) for name in ("batch_engine",) if name in settings}
    offline_store = settings.pop("offline_store", "file")
    return FeatureStore(
        config=RepoConfig(
            project=project,
            provider=settings.pop("provider", "local"),
            registry={"path": str(directory / "registry.db"), **registry},
            entity_key_serialization_version=settings.pop("key_version", 3),
            online_store={"type": store_type, "connection_string": address, **settings},
            offline_store={"type": offline_store},
            **more,
        )
    )
