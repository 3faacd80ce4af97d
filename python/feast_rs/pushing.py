"""Frames that are pushed, without what Feast's own ``push`` does besides."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from feast.data_source import PushMode

from feast_rs import feast_compat
from feast_rs.errors import FeastRsError
from feast_rs.frames import encode_frame
from feast_rs.writing import our_online_store, policy_of

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore


def push(
    store: FeatureStore,
    push_source_name: str,
    df: pd.DataFrame,
    allow_registry_cache: bool = True,
    to: PushMode = PushMode.ONLINE,
) -> None:
    """``store.push`` for micro-batches: the same rows in the same bytes, in a fraction of the time.

    Feast's own method reads and parses the whole registry at each call, to see whether a feature
    service keeps precomputed vectors, and makes all views anew at the next one. Here the registry's
    cache tells that too. The rows go through Arrow, whatever the ``provider``.

    Args:
        store: A store whose ``online_store.type`` is ``feast_rs.RedisOnlineStore``.
        push_source_name: Every view with this push source gets the rows.
        df: The rows, a data frame: columns of join keys, features and the event timestamp.
        allow_registry_cache: Whether views and services may be those of the registry's cache.
        to: The online store, the offline store, or both.

    Raises:
        PushSourceNotFoundException: No view has this push source.
        ArgumentError: A column is missing, or the online store is another one.
        EntityKeyError, EncodeError: A value does not fit. Nothing is written to the view then.
        FeastRsError: Redis could not be reached, or refused a row; with how many rows were
            acknowledged. Or the rows were written, and a service's vectors not.
    """
    settings = store.config.online_store
    cached = allow_registry_cache
    pushed = []
    for view in feast_compat.views_of_push_source(store, push_source_name, cached):
        if to in (PushMode.ONLINE, PushMode.ONLINE_AND_OFFLINE):
            if not feast_compat.has_rows(view):
                store.write_to_online_store(view.name, df, allow_registry_cache=cached)
            elif _has_values(view, df):
                rows = encode_frame(store.config, view, df)
                our_online_store(store).client(settings).write(rows, policy_of(settings, view))
            pushed.append(view.name)
        if to in (PushMode.OFFLINE, PushMode.ONLINE_AND_OFFLINE):
            store.write_to_offline_store(view.name, df, allow_registry_cache=cached)
    if pushed:
        _compute_vectors(store, pushed, cached)


def _compute_vectors(store: FeatureStore, views: list[str], cached: bool) -> None:
    """Computes the vectors of all services of these views again, and tells of the first failure."""
    failed: dict[str, Exception] = {}
    for service in feast_compat.precomputed_services(store, views, cached):
        try:
            store.precompute_feature_service(service.name)
        except Exception as error:
            failed[service.name] = error
    for name, cause in failed.items():
        raise FeastRsError(
            f"the rows were written; the precomputed vectors of feature service '{name}' were not: "
            f"{cause}"
        ) from cause


def _has_values(view: Any, df: pd.DataFrame) -> bool:
    """Whether there is anything to write; warns as stock Feast does if not."""
    if df.empty:
        warnings.warn("Cannot write empty dataframe to online store", stacklevel=3)
        return False
    names = [feature.name for feature in view.features]
    # A column that is not there is told of when the rows are encoded.
    if not names or any(name not in df or not df[name].isnull().all() for name in names):
        return True
    warnings.warn("Cannot write dataframe with empty feature columns to online store", stacklevel=3)
    return False
