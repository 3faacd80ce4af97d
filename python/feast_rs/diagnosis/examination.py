"""The whole diagnosis, from the configuration to the stored rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from feast_rs import _core
from feast_rs.config import RedisOnlineStoreConfig, redis_settings
from feast_rs.diagnosis import configuration, hashes, replication, topology, wording
from feast_rs.diagnosis.definitions import Definitions, read_definitions
from feast_rs.diagnosis.findings import Diagnosis, Findings, ServerReport
from feast_rs.diagnosis.key_agreement import examine_keys
from feast_rs.diagnosis.keys import KeyCensus
from feast_rs.diagnosis.memory import examine_memory
from feast_rs.diagnosis.rights import examine_rights
from feast_rs.diagnosis.row_agreement import examine_rows
from feast_rs.diagnosis.sentinels import examine_sentinels
from feast_rs.diagnosis.servers import Server, examine_field_expiry, examine_server
from feast_rs.entity_keys import serialize_entity_keys
from feast_rs.errors import ArgumentError, FeastRsError

if TYPE_CHECKING:
    from feast import FeatureStore, RepoConfig

SAMPLE = 200
"""Hashes of each primary that are looked at."""
TIMEOUT = 5.0
"""Seconds that each step may take."""

_AT_ONCE = 8


def diagnose(store: FeatureStore, *, sample: int = SAMPLE, timeout: float = TIMEOUT) -> Diagnosis:
    """Examines a feature store's Redis, its configuration, and whether what is stored is what the
    registry says. It reads only.

    Args:
        store: A store whose online store is Redis, through feast-rs or stock Feast.
        sample: Hashes of each primary that are looked at, at the most.
        timeout: Seconds that each step may take: a command to a server, or the sampling of one.

    Returns:
        What was found. A server that cannot be reached is a finding, not an exception.

    Raises:
        ConfigError: The online store is not Redis.
        ArgumentError: ``sample`` or ``timeout`` is out of range.
    """
    from feast_rs.online_store import RedisOnlineStore

    settings = redis_settings(store.config)
    config, registry, project = store.config, store.registry, store.project
    online_store = store._get_provider().online_store
    if isinstance(online_store, RedisOnlineStore):
        return online_store.diagnose(config, registry, project, sample=sample, timeout=timeout)
    return examine(settings, config, registry, project, sample, timeout)


def examine(
    settings: RedisOnlineStoreConfig,
    config: RepoConfig,
    registry: Any,
    project: str,
    sample: int,
    timeout: float,
    used: _core.Client | None = None,
) -> Diagnosis:
    """Examines all there is; see :func:`diagnose`. `used` is the client that this process uses, if
    there is one."""
    if sample < 0:
        raise ArgumentError(f"sample is a number of hashes, not {sample}")
    if not 0 < timeout <= 3600:
        raise ArgumentError(f"timeout is a positive number of seconds up to 3600, not {timeout}")
    began = time.monotonic()
    diagnosis = Diagnosis(project, datetime.now(timezone.utc))
    found = Findings()
    own = _core.Client(settings.connection_settings())
    diagnosis.settings = configuration.understood(settings, own)
    configuration.examine_settings(settings, own, found)
    definitions = _definitions(registry, config, project, found)
    version = config.entity_key_serialization_version
    examination = _Examination(settings, own, timeout, found)
    examination.servers_of(diagnosis, _example_key(definitions, version, project))
    examination.stored(diagnosis, definitions, version, project, sample)
    if used is not None:
        _examine_breakers(used, found)
    diagnosis.take(found)
    diagnosis.seconds = round(time.monotonic() - began, 3)
    return diagnosis


def _definitions(registry: Any, config: Any, project: str, found: Findings) -> Definitions:
    if registry is None:
        found.info(
            "registry",
            None,
            "no registry was given: views and types were not compared",
            "Give it to diagnose, or use feast_rs.diagnose(store).",
        )
        return Definitions()
    try:
        definitions = read_definitions(registry, config, project)
    except Exception as error:
        found.error(
            "registry",
            None,
            f"the registry cannot be read: {type(error).__name__}: {wording.error(error)}",
            "Correct registry in feature_store.yaml, and run feast apply if it is new.",
        )
        return Definitions()
    if definitions.views:
        found.ok("registry", None, f"{wording.count(len(definitions.views), 'stored view')}")
    else:
        found.warning(
            "registry",
            None,
            f"the registry has no feature view of project {project}",
            "Run feast apply, or set project to the one whose definitions there are.",
        )
    return definitions


def _example_key(definitions: Definitions, version: int, project: str) -> bytes:
    """A key that this project could have."""
    names = next(iter(definitions.key_types), ("id",))
    columns = {name: ["0"] for name in names}
    (key,) = serialize_entity_keys(columns, version=version, suffix=project.encode()).to_pylist()
    return bytes(key)


class _Examination:
    """The servers, and what is on them."""

    def __init__(
        self,
        settings: RedisOnlineStoreConfig,
        own: _core.Client,
        timeout: float,
        found: Findings,
    ) -> None:
        self._settings = settings
        self._effective = own.settings
        self._timeout = timeout
        self._found = found
        self._client = configuration.client_of(settings, timeout)
        self._servers: list[Server] = []

    def servers_of(self, diagnosis: Diagnosis, key: bytes) -> None:
        """Topology and servers."""
        found, settings = self._found, self._settings
        if settings.redis_type == "redis_sentinel":
            self._sentinels(diagnosis)
        reports = topology.discover(self._client, self._effective, found)
        diagnosis.servers += reports
        self._servers = [self._server(report) for report in reports]
        for findings in self._at_once(self._servers, key):
            found.extend(findings)
        topology.examine_kind(self._effective, self._servers, found)
        foreign = replication.examine_listed(self._effective, self._servers, found)
        own = [server for server in self._servers if server not in foreign]
        read_from = self._effective["read_from"]
        topology.examine_shards(settings, [server.report for server in own], found)
        replication.examine_replication(own, read_from, found)
        # Of reads that go to others' servers enough is said.
        if reports and (not foreign or read_from == "primary"):
            topology.examine_reads(read_from, reports, found)
        configuration.examine_measured(self._effective, reports, found)

    def _server(self, report: ServerReport) -> Server:
        return Server(self._client, report, self._timeout)

    def _sentinels(self, diagnosis: Diagnosis) -> None:
        reports = [ServerReport(at, "sentinel") for at in self._effective["servers"]]
        diagnosis.servers += reports
        sentinels = [self._server(report) for report in reports]
        examine_sentinels(sentinels, self._effective["sentinel_master"], self._found)

    def _at_once(self, servers: Sequence[Server], key: bytes) -> list[Findings]:
        def examined(server: Server) -> Findings:
            found = Findings()
            needed = topology.reads_need(server.report.role, self._effective["read_from"])
            try:
                if examine_server(server, needed, found):
                    examine_memory(server, self._settings.key_ttl_seconds is not None, found)
                    examine_rights(server, self._settings, key, found)
                    if self._settings.ttl_per_view and server.report.role != "replica":
                        examine_field_expiry(server, found)
            except FeastRsError as error:
                found.error(
                    "server",
                    server.address,
                    wording.error(error),
                    "It went away while it was examined; see its log, and run this again.",
                )
            return found

        if not servers:
            return []
        with ThreadPoolExecutor(min(_AT_ONCE, len(servers)), "feast-rs-doctor") as threads:
            return list(threads.map(examined, servers))

    def stored(
        self,
        diagnosis: Diagnosis,
        definitions: Definitions,
        version: int,
        project: str,
        sample: int,
    ) -> None:
        """Keys and hashes on the primaries."""
        found = self._found
        primaries = [server for server in self._servers if server.report.role != "replica"]
        # A replica that is all there is has what there is to read.
        primaries = primaries or self._servers
        serving = [server for server in primaries if server.report.reachable]
        if not serving or not sample:
            found.info(
                "sample",
                None,
                "no hash was looked at: " + ("none was to be" if serving else "no primary serves"),
                "" if serving else "Run this again when the servers are back.",
            )
            return
        census = KeyCensus(definitions, project)
        samples = [
            hashes.sample(server, census, sample, self._timeout, found) for server in serving
        ]
        report = hashes.summarize(samples, len(serving) == len(primaries))
        diagnosis.hashes = report
        limits = hashes.listpack_limits(serving[0])
        features = definitions.features_by_field()
        hashes.examine_hashes(samples, report, limits, features, found)
        examine_keys(census, definitions, version, project, report.complete, found)
        stored = [one for taken in samples for one in taken.hashes]
        examine_rows(stored, census.read(version), definitions, self._settings, report, found)


def _examine_breakers(client: _core.Client, found: Findings) -> None:
    """Servers that this process leaves alone at the moment."""
    try:
        nodes = client.nodes()
    except FeastRsError:
        return
    for node in nodes:
        if node["breaker"] in ("open", "half_open"):
            found.warning(
                "breaker",
                node["address"],
                f"this process leaves it alone: {node['failures']} of its last {node['calls']} "
                f"calls failed, {node['slow']} were slow",
                "See what is said of the server; it is tried again by itself "
                "(breaker_open_seconds).",
            )
