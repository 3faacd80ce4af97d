//! The names of parameters, in redis-py's spelling where it has one.

/// What feast-rs heeds.
pub(super) const HEEDED: &[&str] = &[
    "auth_token",
    "client_name",
    "db",
    "max_connections",
    "max_reply_bytes",
    "password",
    "redis_pool_size",
    "request_timeout_ms",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_timeout",
    "ssl",
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_keyfile",
    "ssl_min_version",
    "ssl_password",
    "ssl_server_name",
    "ssl_validate_ocsp",
    "ssl_validate_ocsp_stapled",
    "tcp_keepalive",
    "unix_socket_path",
    "username",
];

/// What redis-py and StackExchange.Redis (the form that Azure shows) know, and feast-rs has no
/// use for. Known, so that they also end a password in the comma form.
const IGNORED: &[&str] = &[
    "abortConnect",
    "address_remap",
    "allowAdmin",
    "asyncTimeout",
    "cache",
    "cache_config",
    "channelPrefix",
    "checkCertificateRevocation",
    "cluster_error_retry_attempts",
    "configChannel",
    "configCheckSeconds",
    "connectRetry",
    "connectTimeout",
    "connection_class",
    "connection_pool",
    "credential_provider",
    "decode_responses",
    "defaultDatabase",
    "driver_info",
    "dynamic_startup_nodes",
    "encoding",
    "encoding_errors",
    "event_dispatcher",
    "health_check_interval",
    "heartbeatInterval",
    "keepAlive",
    "lib_name",
    "lib_version",
    "load_balancing_strategy",
    "maint_notifications_config",
    "name",
    "parser_class",
    "protocol",
    "queue_class",
    "read_from_replicas",
    "redis_connect_func",
    "reinitialize_steps",
    "require_full_coverage",
    "resolveDns",
    "responseTimeout",
    "retry",
    "retry_on_error",
    "retry_on_timeout",
    "serviceName",
    "single_connection_client",
    "skip_full_coverage_check",
    "socket_keepalive_options",
    "socket_read_size",
    "socket_type",
    "sslHost",
    "sslProtocols",
    "ssl_exclude_verify_flags",
    "ssl_include_verify_flags",
    "ssl_ocsp_context",
    "ssl_ocsp_expected_cert",
    "syncTimeout",
    "tiebreaker",
    "timeout",
    "user",
    "version",
    "writeBuffer",
];

/// How a name stands to feast-rs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    Heeded(&'static str),
    Ignored(&'static str),
    Unknown,
}

/// How `name` stands. `StackExchange`'s names are written in any case, so all may be.
pub(super) fn standing(name: &str) -> Standing {
    let find = |names: &[&'static str]| {
        names
            .iter()
            .copied()
            .find(|known| known.eq_ignore_ascii_case(name))
    };
    match (find(HEEDED), find(IGNORED)) {
        (Some(known), _) => Standing::Heeded(known),
        (None, Some(known)) => Standing::Ignored(known),
        (None, None) => Standing::Unknown,
    }
}
