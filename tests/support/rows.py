"""What is stored, through redis-py."""

from __future__ import annotations

import redis
from feast import FeatureStore


def client_of(store: FeatureStore) -> redis.Redis:
    """redis-py's client of the store's server."""
    return redis.Redis.from_url(f"redis://{store.config.online_store.connection_string}")
