"""The `online_store` section as operators write it, and the package's life around it."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureStore, RepoConfig
from feast.repo_config import load_repo_config

import feast_rs
from tests.support.server import RedisServer
from tests.support.stores import OURS, STOCK, feature_store
from tests.support.world import ENTITIES, Float64, view, write

# Every secret below has this in it.
SECRET = "s3cr"


def repo_config(**settings: Any) -> RepoConfig:
    return RepoConfig(
        project="proj",
        provider="local",
        registry="registry.db",
        entity_key_serialization_version=3,
        online_store={"type": OURS, **settings},
    )


def from_yaml(directory: Path, section: str) -> RepoConfig:
    text = f"project: proj\nprovider: local\nregistry: {directory}/registry.db\n"
    text += "entity_key_serialization_version: 3\nonline_store:\n"
    text += textwrap.indent(textwrap.dedent(section).strip(), "  ") + "\n"
    path = directory / "feature_store.yaml"
    path.write_text(text)
    return load_repo_config(directory, path)


ACCEPTED = {
    "the type alone": f"type: {OURS}",
    "Feast's comma form": f"""
        type: {OURS}
        connection_string: redis-1:6379,ssl=true,password={SECRET},db=2
    """,
    "all of Feast's settings": f"""
        type: {OURS}
        connection_string: localhost:6379
        redis_type: redis
        key_ttl_seconds: 172800
        full_scan_for_deletion: true
        skip_dedup: false
        sentinel_master: mymaster
        client: glide
    """,
    "Azure's": f"""
        type: {OURS}
        connection_string: x.windows.net:6380,password={SECRET}=,ssl=True,abortConnect=False
    """,
    "a URL": f"""
        type: {OURS}
        connection_string: redis://:{SECRET}@redis-feast.internal:6379/3
    """,
    "a URL with time-outs": f"""
        type: {OURS}
        connection_string: redis://host:6379?socket_timeout=0.1&socket_connect_timeout=0.1
    """,
    "a URL with TLS": f"""
        type: {OURS}
        connection_string: rediss://user:{SECRET}%40%3A@host:6380
    """,
    "a Unix socket": f"""
        type: {OURS}
        connection_string: unix:///run/redis.sock?db=1
    """,
    "ElastiCache": f"""
        type: {OURS}
        connection_string: master.feast.xxxxxx.use1.cache.amazonaws.com:6379
        auth_token: {SECRET}
        ssl: true
        redis_pool_size: 50
        tcp_keepalive: true
    """,
    "IPv6": f"""
        type: {OURS}
        connection_string: "[::1]:6379"
    """,
    "a password that is a number": f"""
        type: {OURS}
        connection_string: localhost:6379
        password: 123456
    """,
    "a password with everything in it": f"""
        type: {OURS}
        connection_string: localhost:6379
        password: "{SECRET},a=b@c:d%20"
    """,
    "an empty password": f"""
        type: {OURS}
        connection_string: localhost:6379
        password: ""
    """,
    "settings of its own": f"""
        type: {OURS}
        connection_string: localhost
        request_timeout_ms: 50
        socket_timeout: 0.5
        socket_connect_timeout: 1
        strict_status: true
        max_reply_bytes: 1000000
        busy_poll_us: 0
        read_by_dump: false
        client_name: ranker
        db: 3
    """,
    "replicas": f"""
        type: {OURS}
        connection_string: primary:6379
        replicas: [replica-1:6379, replica-2:6379]
        read_from: prefer_replica
        hedge_percentile: 95
        hedge_min_ms: 2
        hedge_max_percent: 5
    """,
    "replicas in one text": f"""
        type: {OURS}
        connection_string: primary:6379
        replicas: replica-1:6379,replica-2:6379
        read_from: lowest_latency
    """,
    "a breaker and default values": f"""
        type: {OURS}
        connection_string: localhost:6379
        breaker: true
        breaker_window_seconds: 5
        breaker_min_calls: 20
        breaker_failure_percent: 25
        breaker_slow_ms: 15
        breaker_open_seconds: 0.5
        on_error: defaults
        default_values:
          driver_stats:rate: 0.5
          driver_stats:city: ""
          driver_stats:tags: [a, b]
        max_pending_bytes: 1000000
        topology_refresh_seconds: 0
    """,
    "a credential provider": f"""
        type: {OURS}
        connection_string: rediss://feast@host:6379
        credential_provider: company.redis:token
        credential_refresh_seconds: 300
    """,
    "a switch that is off": f"""
        type: {OURS}
        breaker: false
        breaker_min_calls: 20
        on_error: raise
        default_values: {{"driver_stats:rate": 0.5}}
    """,
    "the full name of the class": "type: feast_rs.online_store.RedisOnlineStore",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_operators_write_is_accepted(tmp_path: Path, name: str) -> None:
    config = from_yaml(tmp_path, ACCEPTED[name])
    section = config.online_store
    assert isinstance(section, feast_rs.RedisOnlineStoreConfig)
    for text in (repr(section), str(section), f"{section}", repr([section])):
        assert SECRET not in text
        assert "123456" not in text
    assert pickle.loads(pickle.dumps(section)) == section
    assert section.model_copy() == section


def test_environment_variables(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEAST_TEST_REDIS", server.address)
    section = f"type: {OURS}\nconnection_string: redis://${{FEAST_TEST_REDIS}}/1"
    config = from_yaml(tmp_path, section)
    assert config.online_store.connection_string == f"redis://{server.address}/1"
    store = FeatureStore(config=config)
    store.apply([ENTITIES["driver"], view("stats", ["driver"], {"rate": Float64})])
    write(store, "stats", [{"driver_id": 1, "rate": 0.5}])
    answer = store.get_online_features(["stats:rate"], [{"driver_id": 1}])
    assert answer.to_dict() == {"driver_id": [1], "rate": [0.5]}


CLUSTERS = {
    "a cluster in Feast's form": f"""
        type: {OURS}
        redis_type: redis_cluster
        connection_string: h1:7000,h2:7001,skip_full_coverage_check=true,ssl=true,password={SECRET}
    """,
    "a cluster as a list": f"""
        type: {OURS}
        redis_type: redis_cluster
        connection_string: ["h1:7000", "h2:7001", "[::1]:7002"]
        password: {SECRET}
    """,
    "a cluster as a URL": f"""
        type: {OURS}
        redis_type: redis_cluster
        connection_string: rediss://:{SECRET}@h1:7000,h2:7001/0?socket_timeout=0.1
        read_from: replica
    """,
    "ElastiCache in cluster mode": f"""
        type: {OURS}
        redis_type: redis_cluster
        connection_string: clustercfg.feast.xxxxxx.use1.cache.amazonaws.com:6379
        auth_token: {SECRET}
        ssl: true
    """,
    "Sentinel in Feast's form": f"""
        type: {OURS}
        redis_type: redis_sentinel
        sentinel_master: mymaster
        connection_string: s1:26379,s2:26379,s3:26379,db=1,password={SECRET}
    """,
    "Sentinel with a login": f"""
        type: {OURS}
        redis_type: redis_sentinel
        sentinel_master: feast
        connection_string: s1:26379,s2:26379,s3:26379
        sentinel_username: watcher
        sentinel_password: {SECRET}
        sentinel_ssl: true
        password: {SECRET}
    """,
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown redis_type": ({"redis_type": "redis_ring"}, "redis_type"),
    "an unknown setting": ({"conection_string": "x:1"}, "conection_string"),
    "a port that is none": ({"connection_string": "host:port"}, "port"),
    "another scheme": ({"connection_string": f"http://:{SECRET}@host"}, "scheme"),
    "a database that is none": ({"connection_string": "host:1,db=x"}, "db"),
    "a time-out below zero": ({"socket_timeout": -1}, "socket_timeout"),
    "a pool of nothing": ({"redis_pool_size": 0}, "redis_pool_size"),
    "a cluster's database": ({"redis_type": "redis_cluster", "db": 2}, "remove db"),
    "a cluster's replicas": (
        {"redis_type": "redis_cluster", "replicas": ["h:1"]},
        "remove it",
    ),
    "an unknown read_from": ({"read_from": "anywhere"}, "read_from"),
    "a replica without a port": ({"replicas": ["h:x"]}, "replicas"),
    "hedged reads of one server": ({"hedge_percentile": 95}, "list the server's replicas"),
    "a percentile that is none": ({"hedge_percentile": 20}, "hedge_percentile"),
    "a breaker that is off": ({"breaker_slow_ms": 10}, "breaker: true"),
    "default values for no use": (
        {"default_values": {"stats:rate": 1}},
        "set it .or on_error: raise.",
    ),
    "a default value of no feature": (
        {"on_error": "defaults", "default_values": {"rate": 1}},
        "'rate' is not written as view:feature",
    ),
    "an unknown on_error": ({"on_error": "ignore"}, "on_error"),
    "a provider that is no path": (
        {"password": "", "credential_provider": "token"},
        "dotted path",
    ),
    "a provider beside a password": ({"credential_provider": "a.b"}, "remove password"),
    "a queue of nothing": ({"max_pending_bytes": 0}, "max_pending_bytes"),
    "a secret in a setting of a wrong type": ({"ssl": f"{SECRET}"}, "ssl"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_when_the_file_is_read(name: str) -> None:
    settings, word = REFUSED[name]
    with pytest.raises(feast_rs.ConfigError, match=word) as refusal:
        repo_config(**{"password": SECRET, **settings})
    chain: BaseException | None = refusal.value
    while chain is not None:
        assert SECRET not in str(chain)
        assert SECRET not in repr(chain)
        chain = chain.__cause__ or chain.__context__


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_deployment_of_several_servers_is_accepted(tmp_path: Path, name: str) -> None:
    settings = from_yaml(tmp_path, CLUSTERS[name]).online_store
    assert settings.redis_type in ("redis_cluster", "redis_sentinel")
    assert SECRET not in repr(settings)


def test_defaults_are_stocks() -> None:
    from feast.infra.online_stores.redis import RedisOnlineStoreConfig

    stock, ours = RedisOnlineStoreConfig(), feast_rs.RedisOnlineStoreConfig()
    for name in RedisOnlineStoreConfig.model_fields:
        if name != "type":
            expected, actual = getattr(stock, name), getattr(ours, name)
            assert getattr(expected, "value", expected) == actual, name


def test_the_store_pickles(server: RedisServer, tmp_path: Path) -> None:
    store = feature_store(OURS, tmp_path, server.address)
    store.apply([ENTITIES["driver"], view("stats", ["driver"], {"rate": Float64})])
    write(store, "stats", [{"driver_id": 1, "rate": 0.5}])
    online_store = store._get_provider().online_store
    again = pickle.loads(pickle.dumps(online_store))
    assert type(again) is feast_rs.RedisOnlineStore
    config = pickle.loads(pickle.dumps(store.config))
    features, rows = ["stats:rate"], [{"driver_id": 1}]
    for used in (again, online_store):
        answer = used.get_online_features(config, features, rows, store.registry, "proj")
        assert answer.to_dict()["rate"] == [0.5]


def test_it_is_stocks_store_to_those_who_ask() -> None:
    from feast.infra.online_stores.redis import RedisOnlineStore

    assert isinstance(feast_rs.RedisOnlineStore(), RedisOnlineStore)
    assert feast_rs.RedisOnlineStore().async_supported.read
    assert feast_rs.RedisOnlineStore().async_supported.write


def test_two_stores_of_one_process_do_not_mix(
    server: RedisServer, own_server: RedisServer, tmp_path: Path
) -> None:
    store = feature_store(OURS, tmp_path, server.address)
    other = feature_store(OURS, tmp_path, own_server.address)
    store.apply([ENTITIES["driver"], view("stats", ["driver"], {"rate": Float64})])
    write(store, "stats", [{"driver_id": 1, "rate": 0.5}])
    online_store = store._get_provider().online_store
    for asked, expected in ((store, 0.5), (other, None), (store, 0.5)):
        # Through one object, as Feast's feature server reloads its configuration.
        answer = online_store.get_online_features(
            asked.config, ["stats:rate"], [{"driver_id": 1}], store.registry, "proj"
        )
        assert answer.to_dict()["rate"] == [expected]


def run(script: str, *arguments: str) -> str:
    """Runs a script in a Python of its own; what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_imports_starts_and_opens_nothing() -> None:
    run(
        """
        import os, sys
        files = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
        import feast_rs
        assert not any(name.split(".")[0] in ("feast", "redis", "numpy") for name in sys.modules)
        assert "feast_rs._core" not in sys.modules
        feast_rs.RedisOnlineStore
        feast_rs.RedisOnlineStore()
        assert "feast" in sys.modules
        if files:
            # Feast starts no thread of its own that stays.
            tasks = os.listdir("/proc/self/task")
            names = [open(f"/proc/self/task/{task}/comm").read() for task in tasks]
            assert not any("feast-rs" in name for name in names), names
        """
    )


def test_constructing_a_feature_store_opens_no_socket(server: RedisServer, tmp_path: Path) -> None:
    """`feast serve` builds the application before it forks."""
    script = """
        import os, sys
        from pathlib import Path
        from tests.support.stores import OURS, feature_store
        store = feature_store(OURS, Path(sys.argv[1]), sys.argv[2])
        store._get_provider().online_store
        links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                 if os.path.exists(f"/proc/self/fd/{fd}")]
        assert not any(link.startswith("socket:") for link in links), links
        names = [open(f"/proc/self/task/{t}/comm").read() for t in os.listdir("/proc/self/task")]
        assert not any("feast-rs" in name for name in names), names
    """
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    run(script, str(tmp_path), server.address)


def test_it_works_without_redis_py(server: RedisServer, tmp_path: Path) -> None:
    stock = feature_store(STOCK, tmp_path, server.address)
    stock.apply([ENTITIES["driver"], view("stats", ["driver"], {"rate": Float64})])
    write(stock, "stats", [{"driver_id": 1, "rate": 0.5}])
    script = """
        import asyncio, sys
        from importlib.abc import MetaPathFinder
        from pathlib import Path

        class NoRedis(MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("redis", "hiredis", "glide", "glide_sync"):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
                return None

        sys.meta_path.insert(0, NoRedis())
        from tests.support.stores import OURS, feature_store
        from tests.support.world import write
        store = feature_store(OURS, Path(sys.argv[1]), sys.argv[2])
        write(store, "stats", [{"driver_id": 2, "rate": 1.5}])
        rows = [{"driver_id": 1}, {"driver_id": 2}]
        answer = store.get_online_features(["stats:rate"], rows)
        assert answer.to_dict()["rate"] == [0.5, 1.5]
        awaited = asyncio.run(store.get_online_features_async(["stats:rate"], rows))
        assert awaited.to_dict() == answer.to_dict()
        table = store.get_feature_view("stats")
        store._get_provider().online_store.teardown(store.config, [table], [])
        assert store.get_online_features(["stats:rate"], rows).to_dict()["rate"] == [None, None]
        assert "redis" not in sys.modules
        print("done")
    """
    assert run(script, str(tmp_path), server.address) == "done\n"
