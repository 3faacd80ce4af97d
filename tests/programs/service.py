"""A FastAPI application as users have it: features are read inside the request.

The environment variable FEATURE_REPOSITORY says where `feature_store.yaml` is; READ_AT_IMPORT makes
it read before its server forks.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from fastapi import FastAPI
from feast import FeatureStore

from tests.support.drivers import FEATURES, check, read, read_on_new_loop

store = FeatureStore(os.environ["FEATURE_REPOSITORY"])
app = FastAPI()

if os.environ.get("READ_AT_IMPORT"):
    check(store, read)
    check(store, read_on_new_loop)


@app.get("/async")
async def awaited(drivers: str) -> dict[str, Any]:
    """Reads on the server's event loop."""
    answer = await store.get_online_features_async(FEATURES, rows(drivers))
    return {**answer.to_dict(), "process": os.getpid()}


@app.get("/sync")
def blocking(drivers: str) -> dict[str, Any]:
    """Reads in a thread of the server's pool."""
    answer = store.get_online_features(FEATURES, rows(drivers))
    return {**answer.to_dict(), "process": os.getpid()}


@app.get("/twice")
async def gathered(drivers: str) -> dict[str, Any]:
    """Reads twice at once, one of them in a thread."""
    first, second = await asyncio.gather(
        store.get_online_features_async(FEATURES, rows(drivers)),
        asyncio.to_thread(store.get_online_features, FEATURES, rows(drivers)),
    )
    assert first.to_dict() == second.to_dict()
    return {**first.to_dict(), "process": os.getpid()}


def rows(drivers: str) -> list[dict[str, int]]:
    """Entity rows of `1,2,3`."""
    return [{"driver_id": int(driver)} for driver in drivers.split(",")]
