"""Deployments to break, made once for a module and whole again for each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.cluster import Cluster
from tests.support.sentinels import Sentinels


@pytest.fixture(scope="module")
def module_cluster() -> Iterator[Cluster]:
    """3 primaries and 3 replicas, each behind a proxy."""
    with closing(Cluster(proxied=True)) as cluster:
        yield cluster


@pytest.fixture
def cluster(module_cluster: Cluster) -> Cluster:
    """The module's cluster, with all nodes up and nothing in it."""
    module_cluster.mend()
    return module_cluster


@pytest.fixture(scope="module")
def module_sentinels() -> Iterator[Sentinels]:
    """Three Sentinels with a primary and a replica."""
    with closing(Sentinels()) as sentinels:
        yield sentinels


@pytest.fixture
def sentinels(module_sentinels: Sentinels) -> Sentinels:
    """The module's Sentinels, with all up and nothing stored."""
    module_sentinels.mend()
    return module_sentinels
