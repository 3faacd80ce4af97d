//! Configurations as people write them, and what is understood.

use serde_json::json;

use super::deployment::*;
use super::*;
use crate::redis::tls::Verification;

fn deployment(settings: &serde_json::Value) -> Result<DeploymentConfig> {
    DeploymentConfig::from_json(&settings.to_string())
}

fn read(settings: &serde_json::Value) -> Result<RedisConfig> {
    deployment(settings).map(|config| (*config.node).clone())
}

fn string(connection_string: &str) -> RedisConfig {
    read(&json!({ "connection_string": connection_string }))
        .unwrap_or_else(|error| panic!("{connection_string}: {error}"))
}

fn notices(settings: &serde_json::Value) -> Vec<String> {
    deployment(settings).unwrap().notices
}

fn refusal(settings: &serde_json::Value) -> String {
    let error = read(settings).expect_err(&settings.to_string());
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

fn password(config: &RedisConfig) -> Option<&str> {
    config
        .credentials
        .written()
        .map(|given| given.password.expose())
}

fn username(config: &RedisConfig) -> Option<&str> {
    let given = config.credentials.written()?;
    given.username.as_ref().map(Secret::expose)
}

#[test]
fn defaults() {
    let settings = json!({"type": "feast_rs.RedisOnlineStore", "key_ttl_seconds": 5});
    assert!(notices(&settings).is_empty());
    let config = read(&settings).unwrap();
    assert_eq!(config.address.to_string(), "localhost:6379");
    assert_eq!(config.db, 0);
    assert!(config.credentials.written().is_none());
    assert!(config.tls.is_none() && config.keepalive);
    assert_eq!(config.connect_timeout, Some(Duration::from_secs(5)));
    assert_eq!(config.socket_timeout, Some(Duration::from_secs(10)));
    assert_eq!(config.request_timeout, Some(Duration::from_secs(10)));
    assert_eq!((config.pool_size, config.max_reply_bytes), (64, 1 << 30));
    assert_eq!(config.busy_poll, Duration::from_micros(200));
    assert!(config.read_by_dump);
}

#[test]
fn addresses() {
    for (text, address) in [
        ("redis", "redis:6379"),
        ("redis:1234", "redis:1234"),
        (" redis:1234 , db=0\n", "redis:1234"),
        ("db=0,redis:1234", "redis:1234"),
        ("[::1]:1234", "[::1]:1234"),
        ("[::1]", "[::1]:6379"),
        ("::1", "[::1]:6379"),
        ("[fe80::1%eth0]:1", "[fe80::1%eth0]:1"),
        ("my_redis.svc-1:1,db=2", "my_redis.svc-1:1"),
        (
            "master.feast.xxxxxx.use1.cache.amazonaws.com:6379",
            "master.feast.xxxxxx.use1.cache.amazonaws.com:6379",
        ),
        ("redis://", "localhost:6379"),
        ("redis:///3", "localhost:6379"),
        ("redis://h", "h:6379"),
        ("REDIS://h:1/", "h:1"),
        ("redis://[::1]:1/0", "[::1]:1"),
        ("redis://u:p@[2001:db8::1]", "[2001:db8::1]:6379"),
        ("unix:///tmp/a%20b.sock?db=3", "unix:/tmp/a b.sock"),
        ("unix://u:p@/tmp/r.sock", "unix:/tmp/r.sock"),
        ("unix_socket_path=/tmp/r.sock,db=1", "unix:/tmp/r.sock"),
    ] {
        assert_eq!(string(text).address.to_string(), address, "{text}");
    }
}

#[test]
fn passwords_of_the_comma_form_are_taken_as_they_are() {
    for (text, expected) in [
        ("h:1,password=secret", Some("secret")),
        ("h:1,password=123456", Some("123456")),
        ("h:1,password=007", Some("007")),
        ("h:1,password=1e5", Some("1e5")),
        ("h:1,password=true", Some("true")),
        ("h:1,password=null", Some("null")),
        ("h:1,password=", None),
        ("h:1,password=,db=2", None),
        ("h:1,password=a,b,db=2", Some("a,b")),
        ("h:1,password=a,b=c,db=2", Some("a,b=c")),
        (
            "h:1,password=a=b==,ssl=False,abortConnect=False",
            Some("a=b=="),
        ),
        ("h:1,password=a@b:c%41/#?,db=2", Some("a@b:c%41/#?")),
        ("h:1,password=,,db=2", Some(",")),
        ("h:1,password=a,", Some("a,")),
        ("h:1,password= a ,db=2", Some(" a ")),
        ("h:1,password=it's", Some("it's")),
        ("h:1,password=\"a,db=2\",db=3", Some("a,db=2")),
        ("h:1,password=\"q\\\"\\u00fc\"", Some("q\"ü")),
        ("h:1,password=\"123\"", Some("123")),
        ("h:1,password=\"open,b", Some("\"open,b")),
        ("h:1,password=\"a\"b,db=2", Some("\"a\"b")),
        ("password=a,b,h:1", Some("a,b")),
        ("password=a,h2:70000,h:1", Some("a,h2:70000")),
        ("auth_token=a,b,h:1", Some("a,b")),
        ("h:1,password=pässwörd", Some("pässwörd")),
        ("h:1,password=a,DB=2", Some("a")),
    ] {
        assert_eq!(password(&string(text)), expected, "{text}");
        assert_eq!(string(text).address.to_string(), "h:1", "{text}");
    }
}

#[test]
fn logins_of_urls_are_percent_decoded() {
    for (text, user, expected) in [
        ("redis://:secret@h:1", None, Some("secret")),
        ("redis://u:secret@h:1", Some("u"), Some("secret")),
        ("redis://u@h:1", Some("u"), Some("")),
        ("redis://:@h:1", None, None),
        ("redis://:12345@h:1", None, Some("12345")),
        ("redis://:a%2Cb%3D%40%3A%25@h:1", None, Some("a,b=@:%")),
        ("redis://:a,b=c:d+e@h:1", None, Some("a,b=c:d+e")),
        ("redis://:100%@h:1", None, Some("100%")),
        ("redis://:a%zz%4@h:1", None, Some("a%zz%4")),
        ("redis://:a@b@h:1", None, Some("a@b")),
        ("redis://:a/b?c#d@h:1", None, Some("a/b?c#d")),
        ("redis://:a@b/c@h:1/2", None, Some("a@b/c")),
        ("redis://h:1?password=a%40b+c", None, Some("a@b c")),
        (
            "redis://h:1?username=u&password=a@b",
            Some("u"),
            Some("a@b"),
        ),
        ("redis://%75:%C3%BC@h:1", Some("u"), Some("ü")),
    ] {
        let config = string(text);
        assert_eq!(
            (username(&config), password(&config)),
            (user, expected),
            "{text}"
        );
        assert_eq!(config.address.to_string(), "h:1", "{text}");
    }
}

#[test]
fn parameters_mean_the_same_in_every_form() {
    let parameters = json!({
        "db": 3, "ssl": true, "ssl_cert_reqs": "none", "socket_timeout": 0.25,
        "socket_connect_timeout": 2, "redis_pool_size": 50, "tcp_keepalive": false,
        "request_timeout_ms": 1500, "write_timeout_ms": 700, "max_reply_bytes": 1000, "busy_poll_us": 7, "read_by_dump": false,
        "username": "u",
        "password": "p", "client_name": "c",
    });
    let pairs = |separator: &str| {
        let pairs: Vec<_> = parameters
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_string().replace('"', "")))
            .collect();
        pairs.join(separator)
    };
    let mut own = parameters.clone();
    own["connection_string"] = "h:1".into();
    for settings in [
        own,
        json!({"connection_string": format!("h:1,{}", pairs(","))}),
        json!({"connection_string": format!("redis://h:1?{}", pairs("&"))}),
        json!({"connection_string": format!("rediss://u:p@h:1/3?{}", pairs("&"))}),
    ] {
        assert_eq!(notices(&settings), Vec::<String>::new());
        let config = read(&settings).unwrap();
        assert_eq!(config.address.to_string(), "h:1");
        assert_eq!(
            (config.db, config.pool_size, config.keepalive),
            (3, 50, false)
        );
        assert_eq!(
            config.tls.as_ref().unwrap().verification,
            Verification::Nothing
        );
        assert_eq!(config.socket_timeout, Some(Duration::from_millis(250)));
        assert_eq!(config.connect_timeout, Some(Duration::from_secs(2)));
        assert_eq!(config.request_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(config.write_timeout, Some(Duration::from_millis(700)));
        assert_eq!(config.max_reply_bytes, 1000);
        assert_eq!(config.busy_poll, Duration::from_micros(7));
        assert!(!config.read_by_dump);
        assert_eq!(config.client_name.as_deref(), Some("c"));
        let login = config.credentials.written().unwrap();
        assert_eq!(
            (username(&config), Some(login.password.expose())),
            (Some("u"), Some("p"))
        );
    }
}

#[test]
fn time_limits() {
    let limits = |settings: serde_json::Value| {
        let config = read(&settings).unwrap();
        [
            config.connect_timeout,
            config.socket_timeout,
            config.request_timeout,
        ]
        .map(|limit| limit.map(|limit| limit.as_millis()))
    };
    assert_eq!(
        limits(
            json!({"connection_string": "redis://h:1?socket_timeout=0.1&socket_connect_timeout=0.2"})
        ),
        [Some(200), Some(100), Some(10_000)]
    );
    assert_eq!(
        limits(json!({"socket_timeout": 1})),
        [Some(1000), Some(1000), Some(10_000)]
    );
    assert_eq!(
        limits(json!({"connection_string": "h,socket_timeout=null,socket_connect_timeout=0"})),
        [None, None, Some(10_000)]
    );
    assert_eq!(
        limits(json!({"socket_timeout": null})),
        [Some(5000), Some(10_000), Some(10_000)]
    );
    assert_eq!(limits(json!({"request_timeout_ms": null}))[2], None);
    assert_eq!(limits(json!({"request_timeout_ms": 0}))[2], None);
    assert_eq!(limits(json!({"request_timeout_ms": "250"}))[2], Some(250));
    assert_eq!(read(&json!({})).unwrap().write_timeout, None);
    let off = json!({"write_timeout_ms": 0});
    assert_eq!(read(&off).unwrap().write_timeout, None);
}

#[test]
fn what_is_ignored_is_said() {
    let noticed = |text: &str| notices(&json!({ "connection_string": text }));
    let azure = "x.redis.cache.windows.net:6380,password=a=,ssl=True,abortConnect=False";
    assert!(string(azure).tls.is_some());
    assert_eq!(
        noticed(azure),
        ["connection_string: abortConnect is ignored"]
    );

    let several = "r1:1,r2:2,skip_full_coverage_check=true,r3:3,misspelt=1";
    assert_eq!(string(several).address.to_string(), "r1:1");
    assert_eq!(noticed(several).len(), 3);
    assert!(noticed(several)[1].contains("misspelt"));
    assert!(noticed(several)[2].contains("names 3 servers"));

    // After a password, an unknown name may be a piece of it.
    assert_eq!(
        noticed("h,password=a,db=0,tail=1"),
        ["connection_string: part 4 is unknown and ignored"]
    );

    let client = notices(&json!({"client": "glide", "redis_type": "redis"}));
    assert!(client[0].contains("glide"));
    let idle = json!({"ssl_ca_certs": "/ca.pem", "ssl": false});
    assert!(notices(&idle)[0].starts_with("ssl_ca_certs has no effect without ssl: true"));
    let digits = json!({"password": 12345});
    assert_eq!(password(&read(&digits).unwrap()), Some("12345"));
    let said = &notices(&digits)[0];
    assert!(said.contains("quotes") && !said.contains("12345"));
}

#[test]
fn a_key_of_its_own_wins_over_the_string() {
    let settings = json!({
        "connection_string": "redis://:old@h:1/2?max_connections=3",
        "auth_token": "new", "db": 4, "redis_pool_size": 5,
    });
    let config = read(&settings).unwrap();
    assert_eq!(password(&config), Some("new"));
    assert_eq!((config.db, config.pool_size), (4, 5));
    assert_eq!(notices(&settings).len(), 3);
    let same = notices(&json!({"connection_string": "h,password=a", "password": "a"}));
    assert_eq!(same, Vec::<String>::new());
}

#[test]
fn refusals_name_the_parameter_and_no_secret() {
    for (settings, name) in [
        (json!({"redis_type": "other"}), "redis_type"),
        (json!({"client": "other"}), "client"),
        (json!({"connection_string": 6379}), "connection_string"),
        (json!({"connection_string": ""}), "names no server"),
        (json!({"connection_string": "db=0"}), "names no server"),
        (json!({"connection_string": "h:s3cret"}), "part 1"),
        (json!({"connection_string": "h:0"}), "part 1"),
        (json!({"connection_string": "h:1,s3 cret"}), "part 2"),
        (json!({"connection_string": "http://h:1"}), "scheme"),
        (
            json!({"connection_string": "redis+cluster://u:s3cret@h:1"}),
            "scheme",
        ),
        (
            json!({"connection_string": "redis://:s3cret@h:1/zero"}),
            "URL",
        ),
        (
            json!({"connection_string": "redis://:s3cret@h1:1,h2:x"}),
            "URL",
        ),
        (
            json!({"connection_string": "redis://:s3cret%ff@h:1"}),
            "UTF-8",
        ),
        (json!({"connection_string": "redis://:s3cret@"}), "URL"),
        (json!({"connection_string": "unix://:s3cret@h/x"}), "URL"),
        (
            json!({"connection_string": "rediss://h", "ssl": false}),
            "ssl",
        ),
        (
            json!({"connection_string": "unix:///x", "ssl": true}),
            "ssl",
        ),
        (json!({"connection_string": "h,db=x"}), "db"),
        (json!({"connection_string": "h,db=-1"}), "db"),
        (json!({"db": 1.5}), "db"),
        (json!({"db": [1]}), "db"),
        (json!({"ssl": "perhaps"}), "ssl"),
        (json!({"socket_timeout": -1}), "socket_timeout"),
        (json!({"socket_timeout": "nan"}), "socket_timeout"),
        (json!({"socket_timeout": 1e300}), "socket_timeout"),
        (json!({"request_timeout_ms": "soon"}), "request_timeout_ms"),
        (json!({"redis_pool_size": 0}), "redis_pool_size"),
        (json!({"max_connections": -4}), "max_connections"),
        (json!({"max_reply_bytes": 0}), "max_reply_bytes"),
        (json!({"client_name": "a b"}), "client_name"),
        (json!({"password": 1.5}), "password"),
        (json!({"password": true}), "password"),
        (json!({"password": ["s3cret"]}), "password"),
        (
            json!({"password": "s3cret", "auth_token": "other"}),
            "auth_token",
        ),
        (
            json!({"ssl": true, "ssl_cert_reqs": "maybe"}),
            "ssl_cert_reqs",
        ),
        (
            json!({"ssl": true, "ssl_password": "s3cret"}),
            "ssl_password",
        ),
        (
            json!({"ssl": true, "ssl_validate_ocsp": true}),
            "ssl_validate_ocsp",
        ),
        (
            json!({"ssl": true, "ssl_min_version": "TLSv1"}),
            "ssl_min_version",
        ),
        (json!({"ssl": true, "ssl_keyfile": "k"}), "ssl_certfile"),
    ] {
        let message = refusal(&settings);
        assert!(message.contains(name), "{settings}: {message}");
        assert!(!message.contains("s3"), "{settings}: {message}");
    }
    let broken = DeploymentConfig::from_json("{\"password\": \"s3cret").unwrap_err();
    assert!(!broken.to_string().contains("s3"));
}

#[test]
fn tls_settings() {
    let tls = |settings: serde_json::Value| read(&settings).unwrap().tls.unwrap();
    assert_eq!(tls(json!({"ssl": true})).verification, Verification::Full);
    let written = tls(json!({
        "connection_string": "rediss://10.0.0.1", "ssl_check_hostname": false,
        "ssl_ca_certs": "/ca.pem", "ssl_certfile": "/c.pem", "ssl_keyfile": "/k.pem",
        "ssl_min_version": "TLSv1.3", "ssl_server_name": "r.example",
    }));
    assert_eq!(written.verification, Verification::Authority);
    assert_eq!(written.ca_file, Some("/ca.pem".into()));
    assert!(written.only_tls13);
    let missing = written.client_config().unwrap_err().to_string();
    assert!(missing.contains("ssl_ca_certs: /ca.pem"), "{missing}");
    assert!(string("h,ssl=False").tls.is_none());
    assert!(string("h,ssl=0").tls.is_none());
}

#[test]
fn debug_output_holds_no_secret() {
    let config = string("rediss://tok3n:s3cret@h:1");
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("s3cret") && !shown.contains("tok3n"),
        "{shown}"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in ".*") {
        let _ = read(&json!({ "connection_string": text }));
        let _ = read(&json!({ "connection_string": format!("redis://{text}") }));
        let _ = read(&json!({ "connection_string": format!("h,password={text}") }));
        let _ = DeploymentConfig::from_json(&text);
    }

    #[test]
    fn a_key_of_its_own_keeps_any_password(text in ".+") {
        let config = read(&json!({ "password": &text })).unwrap();
        proptest::prop_assert_eq!(password(&config), Some(text.as_str()));
    }

    #[test]
    fn a_json_string_keeps_any_password(text in ".+") {
        let quoted = serde_json::to_string(&text).unwrap();
        let config = string(&format!("h:1,password={quoted},db=2"));
        proptest::prop_assert_eq!(password(&config), Some(text.as_str()));
        proptest::prop_assert_eq!(config.db, 2);
    }
}
