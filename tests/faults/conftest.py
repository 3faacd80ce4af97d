"""Deployments to break, made once and whole again for each test."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.cluster import Cluster
from tests.support.sentinels import Sentinels


@pytest.fixture(autouse=True)
def no_collections() -> Iterator[None]:
    """The proxies are threads of this process, which holds all of pytest and Feast: a full
    collection takes more than 100 ms, during which nothing gets through them."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    """3 primaries and 3 replicas."""
    with closing(Cluster()) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """The shared cluster, with all nodes up and nothing in it."""
    shared_cluster.mend()
    return shared_cluster


@pytest.fixture
def proxied_cluster() -> Iterator[Cluster]:
    """A cluster of the test's own, each node behind a proxy. Proxies are slow when many connections
    are opened at once, so only tests of the network have them."""
    with closing(Cluster(proxied=True)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def shared_sentinels() -> Iterator[Sentinels]:
    """Three Sentinels with a primary and a replica."""
    with closing(Sentinels()) as sentinels:
        yield sentinels


@pytest.fixture
def sentinels(shared_sentinels: Sentinels) -> Sentinels:
    """The shared Sentinels, with all up and nothing stored."""
    shared_sentinels.mend()
    return shared_sentinels
