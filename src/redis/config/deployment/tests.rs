//! Deployments as people write them, and what is understood.

use serde_json::json;

use super::*;
use crate::error::ErrorKind;

fn read(settings: &Value) -> DeploymentConfig {
    DeploymentConfig::from_json(&settings.to_string())
        .unwrap_or_else(|error| panic!("{settings}: {error}"))
}

fn addresses(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(Address::to_string).collect()
}

fn password(config: &RedisConfig) -> Option<&str> {
    config
        .credentials
        .written()
        .map(|login| login.password.expose())
}

#[test]
fn defaults() {
    let config = read(&json!({}));
    assert_eq!(config.kind, DeploymentKind::Standalone);
    assert_eq!(addresses(&config.seeds), ["localhost:6379"]);
    assert!(config.sentinel.is_none() && config.replicas.is_empty());
    assert_eq!(config.read_from, ReadFrom::Primary);
    assert_eq!(config.topology_refresh, Some(Duration::from_secs(60)));
    assert!(config.breaker.is_none() && config.hedge.is_none() && config.provider.is_none());
    assert_eq!(config.max_pending_bytes, 64 << 20);
    assert_eq!(config.node.role, Role::Any);
}

#[test]
fn the_seeds_of_a_cluster() {
    for (text, seeds) in [
        ("h1:7000,h2:7001", &["h1:7000", "h2:7001"][..]),
        ("h1,h2:7001, h3 ", &["h1:6379", "h2:7001", "h3:6379"]),
        ("h1:1,h1:1,h2:2", &["h1:1", "h2:2"]),
        ("[::1]:7000,[::2]", &["[::1]:7000", "[::2]:6379"]),
        (
            "h1:1,h2:2,skip_full_coverage_check=true,ssl=true,password=a,b",
            &["h1:1", "h2:2"],
        ),
        (
            "clustercfg.feast.xxxxxx.use1.cache.amazonaws.com:6379,ssl=True",
            &["clustercfg.feast.xxxxxx.use1.cache.amazonaws.com:6379"],
        ),
        ("redis://h1:7000,h2:7001", &["h1:7000", "h2:7001"]),
        ("redis://h1:7000,h2/0", &["h1:7000", "h2:6379"]),
        (
            "redis://u:a,b@h1:7000,[::1]:7001/0?socket_timeout=1",
            &["h1:7000", "[::1]:7001"],
        ),
        ("rediss://:a@b@h1:7000,h2:7001", &["h1:7000", "h2:7001"]),
    ] {
        let config = read(&json!({"redis_type": "redis_cluster", "connection_string": text}));
        assert_eq!(config.kind, DeploymentKind::Cluster);
        assert_eq!(addresses(&config.seeds), seeds, "{text}");
        assert_eq!(config.node.address, config.seeds[0]);
    }
}

#[test]
fn a_cluster_in_feasts_form() {
    let text = "h1:7000,h2:7001,skip_full_coverage_check=true,ssl=true,password=a,b";
    let config = read(&json!({"redis_type": "redis_cluster", "connection_string": text}));
    assert_eq!(password(&config.node), Some("a,b"));
    assert!(config.node.tls.is_some());
    assert_eq!(
        config.notices,
        ["connection_string: skip_full_coverage_check is ignored"]
    );
    let other = config.node.at(config.seeds[1].clone());
    assert_eq!(other.address.to_string(), "h2:7001");
    assert_eq!(password(&other), Some("a,b"));
}

#[test]
fn a_replica_of_a_cluster_is_asked_to_answer() {
    let cluster = |mut settings: Value| {
        settings["redis_type"] = "redis_cluster".into();
        let config = read(&settings);
        (config.read_from, config.node.role)
    };
    assert_eq!(cluster(json!({})), (ReadFrom::Primary, Role::Any));
    for (name, read_from) in [
        ("replica", ReadFrom::Replica),
        ("prefer_replica", ReadFrom::PreferReplica),
        ("lowest_latency", ReadFrom::LowestLatency),
    ] {
        assert_eq!(
            cluster(json!({"read_from": name})),
            (read_from, Role::SyncedNode)
        );
    }
    assert_eq!(
        cluster(json!({"hedge_percentile": 95})),
        (ReadFrom::Primary, Role::SyncedNode)
    );
    let redis_py = json!({"connection_string": "h:1,read_from_replicas=true"});
    assert_eq!(
        cluster(redis_py),
        (ReadFrom::PreferReplica, Role::SyncedNode)
    );
    let both = json!({"connection_string": "h:1,read_from_replicas=true,read_from=primary"});
    assert_eq!(cluster(both), (ReadFrom::Primary, Role::Any));
    let replica = read(&json!({"read_from": "replica"}));
    assert_eq!(replica.node.role, Role::Synced);
}

#[test]
fn sentinels() {
    let config = read(&json!({
        "redis_type": "redis_sentinel", "sentinel_master": "feast",
        "connection_string": "s1:26379,s2,[::1],db=2,password=data,ssl=true,ssl_ca_certs=/ca.pem",
        "sentinel_username": "watcher", "sentinel_password": "guard",
        "client_name": "ranker", "socket_timeout": 0.5, "read_from": "prefer_replica",
    }));
    assert_eq!(config.kind, DeploymentKind::Sentinel);
    assert_eq!(
        addresses(&config.seeds),
        ["s1:26379", "s2:26379", "[::1]:26379"]
    );
    assert_eq!(password(&config.node), Some("data"));
    assert_eq!((config.node.db, config.node.role), (2, Role::Synced));
    assert!(config.node.tls.is_some());
    let sentinel = config.sentinel.unwrap();
    assert_eq!(sentinel.master, "feast");
    let node = sentinel.node;
    assert_eq!(node.address.to_string(), "s1:26379");
    assert_eq!(password(&node), Some("guard"));
    assert_eq!((node.db, node.role), (0, Role::Any));
    assert!(node.tls.is_none());
    assert_eq!(node.client_name.as_deref(), Some("ranker"));
    assert_eq!(node.socket_timeout, Some(Duration::from_millis(500)));
}

#[test]
fn the_logins_of_sentinels() {
    let sentinel = |mut settings: Value| {
        settings["redis_type"] = "redis_sentinel".into();
        read(&settings).sentinel.unwrap()
    };
    let plain = sentinel(json!({"password": "data", "username": "u"}));
    assert_eq!(plain.master, "mymaster");
    let data = read(&json!({"redis_type": "redis_sentinel"})).node;
    assert_eq!(data.role, Role::Primary);
    assert!(plain.node.credentials.written().is_none());
    assert_eq!(plain.node.address.to_string(), "localhost:26379");
    let own = sentinel(json!({"sentinel_ssl": true, "ssl_ca_certs": "/ca.pem"}));
    assert_eq!(
        own.node.tls.as_ref().unwrap().ca_file,
        Some("/ca.pem".into())
    );
    // The only way in which stock Feast's comma form can log in to Sentinel.
    for text in [
        r#"s:1,sentinel_kwargs={"password":"a,b"},password=c"#,
        r#"s:1,password=c,sentinel_kwargs={"password":"a,b","ssl":false}"#,
        "s:1,password=c,sentinel_password=a,b",
        "redis://:c@s:1?sentinel_password=a,b",
    ] {
        let settings = json!({"connection_string": text, "redis_type": "redis_sentinel"});
        let config = read(&settings);
        assert_eq!(
            password(&config.sentinel.unwrap().node),
            Some("a,b"),
            "{text}"
        );
        assert_eq!(password(&config.node), Some("c"), "{text}");
        assert!(config.notices.is_empty(), "{text}");
    }
    let secure = read(&json!({
        "redis_type": "redis_sentinel", "connection_string": "rediss://s1:1,s2:2/0",
    }));
    assert!(secure.node.tls.is_some() && secure.sentinel.unwrap().node.tls.is_none());
    assert!(secure.notices[0].contains("sentinel_ssl"));
}

#[test]
fn replicas_of_a_standalone_server() {
    for settings in [
        json!({"replicas": ["r1:1", "r2", "[::1]:3"]}),
        json!({"replicas": "r1:1, r2,[::1]:3"}),
        json!({"connection_string": "h:1,replicas=\"r1:1,r2,[::1]:3\""}),
        json!({"connection_string": "redis://h:1?replicas=r1:1,r2,[::1]:3"}),
    ] {
        let mut settings = settings;
        settings["read_from"] = "replica".into();
        let config = read(&settings);
        assert_eq!(
            addresses(&config.replicas),
            ["r1:1", "r2:6379", "[::1]:3"],
            "{settings}"
        );
        assert!(config.notices.is_empty());
    }
    let idle = read(&json!({"replicas": ["r1:1"]}));
    assert!(idle.notices[0].contains("no effect"));
    let hedged = read(&json!({"replicas": ["r1:1"], "hedge_percentile": 99}));
    assert!(hedged.notices.is_empty());
}

#[test]
fn the_breaker() {
    assert_eq!(
        read(&json!({"breaker": false, "breaker_min_calls": 3})).breaker,
        None
    );
    assert_eq!(
        read(&json!({"breaker": true})).breaker,
        Some(BreakerSettings {
            window: Duration::from_secs(10),
            min_calls: 10,
            failure_percent: 50.0,
            slow: None,
            open_for: Duration::from_secs(1),
        })
    );
    let own = json!({
        "breaker": true, "breaker_window_seconds": 2.5, "breaker_min_calls": 3,
        "breaker_failure_percent": 25, "breaker_slow_ms": 20, "breaker_open_seconds": 0.2,
    });
    let expected = BreakerSettings {
        window: Duration::from_millis(2500),
        min_calls: 3,
        failure_percent: 25.0,
        slow: Some(Duration::from_millis(20)),
        open_for: Duration::from_millis(200),
    };
    assert_eq!(read(&own).breaker, Some(expected));
    let text = "h:1,breaker=true,breaker_window_seconds=2.5,breaker_min_calls=3,\
                breaker_failure_percent=25,breaker_slow_ms=20,breaker_open_seconds=0.2";
    assert_eq!(
        read(&json!({"connection_string": text})).breaker,
        Some(expected)
    );
}

#[test]
fn hedged_reads() {
    let hedge = |mut settings: Value| {
        settings["redis_type"] = "redis_cluster".into();
        read(&settings).hedge.unwrap()
    };
    assert_eq!(
        hedge(json!({"hedge_percentile": 95})),
        HedgeSettings {
            percentile: 95.0,
            min: Duration::from_millis(1),
            max_percent: 10.0,
        }
    );
    assert_eq!(
        hedge(json!({"hedge_percentile": 99.9, "hedge_min_ms": 2.5, "hedge_max_percent": 5})),
        HedgeSettings {
            percentile: 99.9,
            min: Duration::from_micros(2500),
            max_percent: 5.0,
        }
    );
}

#[test]
fn credential_providers() {
    let provider = |settings: Value| read(&settings).provider.unwrap();
    for path in [
        "iam.token",
        "company.redis.iam:token",
        "iam:Tokens.issue",
        "_a.b_1",
    ] {
        let given = provider(json!({"credential_provider": path}));
        assert_eq!(given.function, path);
        assert_eq!(given.refresh, Duration::from_secs(600));
        assert!(given.username.is_none());
    }
    let given = provider(json!({
        "credential_provider": "iam.token", "username": "feast",
        "credential_refresh_seconds": 60, "password": "",
    }));
    assert_eq!(given.username.unwrap().expose(), "feast");
    assert_eq!(given.refresh, Duration::from_secs(60));
}

#[test]
fn other_limits() {
    let limits = |settings| {
        let config = read(&settings);
        (config.topology_refresh, config.max_pending_bytes)
    };
    assert_eq!(
        limits(json!({"topology_refresh_seconds": 0, "max_pending_bytes": 1000})),
        (None, 1000)
    );
    assert_eq!(
        limits(json!({"connection_string": "h,topology_refresh_seconds=2,max_pending_bytes=5"})),
        (Some(Duration::from_secs(2)), 5)
    );
}

/// Every one of `refused` is, with the words beside it and nothing secret.
fn assert_refused(refused: &[(serde_json::Value, &str)]) {
    for (settings, name) in refused {
        let error =
            DeploymentConfig::from_json(&settings.to_string()).expect_err(&settings.to_string());
        assert_eq!(error.kind(), ErrorKind::Config);
        let message = error.to_string();
        assert!(message.contains(name), "{settings}: {message}");
        assert!(!message.contains("s3cret"), "{settings}: {message}");
    }
}

#[test]
fn refused_servers_name_the_parameter_and_no_secret() {
    assert_refused(&[
        (json!({"redis_type": "redis_cluster", "db": 1}), "remove db"),
        (
            json!({"redis_type": "redis_cluster", "connection_string": "redis://h1:1,h2:2/3"}),
            "remove db",
        ),
        (
            json!({"redis_type": "redis_cluster", "connection_string": "unix:///s"}),
            "Unix socket",
        ),
        (
            json!({"redis_type": "redis_sentinel", "unix_socket_path": "/s"}),
            "Unix socket",
        ),
        (
            json!({"redis_type": "redis_cluster", "replicas": ["h:1"]}),
            "replicas",
        ),
        (
            json!({"redis_type": "redis_sentinel", "sentinel_master": ""}),
            "sentinel_master",
        ),
        (
            json!({"redis_type": "redis_sentinel", "sentinel_password": true}),
            "sentinel_password",
        ),
        (
            json!({"redis_type": "redis_sentinel", "connection_string": "h,sentinel_kwargs=s3cret"}),
            "sentinel_kwargs",
        ),
        (json!({"replicas": ["h:x"]}), "replicas"),
        (json!({"replicas": [1]}), "replicas"),
        (json!({"replicas": {"h": 1}}), "replicas"),
        (json!({"read_from": "anywhere"}), "read_from"),
    ]);
}

#[test]
fn refused_ways_name_the_parameter_and_no_secret() {
    assert_refused(&[
        (json!({"breaker": "s3cret"}), "breaker"),
        (json!({"breaker_min_calls": 5}), "breaker: true"),
        (
            json!({"breaker": true, "breaker_window_seconds": 0}),
            "breaker_window_seconds",
        ),
        (
            json!({"breaker": true, "breaker_failure_percent": 101}),
            "from 1 to 100",
        ),
        (
            json!({"breaker": true, "breaker_open_seconds": 0}),
            "breaker_open_seconds",
        ),
        (
            json!({"breaker": true, "breaker_min_calls": 0}),
            "breaker_min_calls",
        ),
        (
            json!({"hedge_percentile": 95}),
            "hedge_percentile needs a second server",
        ),
        (
            json!({"redis_type": "redis_cluster", "hedge_percentile": 49}),
            "from 50 to 99.9",
        ),
        (
            json!({"redis_type": "redis_cluster", "hedge_percentile": "nan"}),
            "from 50 to 99.9",
        ),
        (json!({"hedge_min_ms": 5}), "set hedge_percentile"),
        (json!({"hedge_max_percent": 5}), "set hedge_percentile"),
        (
            json!({"credential_refresh_seconds": 5}),
            "credential_provider",
        ),
        (json!({"credential_provider": "token"}), "dotted path"),
        (
            json!({"credential_provider": "s3cret token"}),
            "dotted path",
        ),
        (json!({"credential_provider": "a.b:"}), "dotted path"),
        (json!({"credential_provider": "a..b"}), "dotted path"),
        (json!({"credential_provider": "a:b:c"}), "dotted path"),
        (
            json!({"credential_provider": "a.b", "auth_token": "s3cret"}),
            "remove",
        ),
        (
            json!({"credential_provider": "a.b", "connection_string": "redis://:s3cret@h"}),
            "remove",
        ),
        (
            json!({"credential_provider": "a.b", "credential_refresh_seconds": 0}),
            "credential_refresh_seconds",
        ),
        (json!({"max_pending_bytes": 0}), "max_pending_bytes"),
        (
            json!({"topology_refresh_seconds": -1}),
            "topology_refresh_seconds",
        ),
    ]);
}

#[test]
fn debug_output_holds_no_secret() {
    let config = read(&json!({
        "redis_type": "redis_sentinel", "username": "tok3n", "password": "s3cret",
        "sentinel_username": "tok3n", "sentinel_password": "s3cret",
    }));
    let provided = read(&json!({"credential_provider": "a.b", "username": "tok3n"}));
    for shown in [format!("{config:?}"), format!("{provided:?}")] {
        assert!(
            !shown.contains("s3cret") && !shown.contains("tok3n"),
            "{shown}"
        );
    }
}
