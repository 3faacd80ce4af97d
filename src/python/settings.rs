//! What Python sees of a configuration: how it was understood, without its secrets.

use std::path::Path;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::redis::config::deployment::{DeploymentConfig, DeploymentKind, ReadFrom};
use crate::redis::config::{Credentials, RedisConfig, Secret};
use crate::redis::tls::{TlsSettings, Verification};

/// Stands for a secret that is there.
const MASK: &str = "***";

/// The effective settings as a dict, by the names that `feature_store.yaml` has for them; `servers`
/// are those of the connection string. Limits are in the setting's own unit, None where there is
/// none. What is off has no details.
pub fn describe<'py>(py: Python<'py>, config: &DeploymentConfig) -> PyResult<Bound<'py, PyDict>> {
    let settings = PyDict::new(py);
    let kind = match config.kind {
        DeploymentKind::Standalone => "redis",
        DeploymentKind::Cluster => "redis_cluster",
        DeploymentKind::Sentinel => "redis_sentinel",
    };
    let read_from = match config.read_from {
        ReadFrom::Primary => "primary",
        ReadFrom::Replica => "replica",
        ReadFrom::PreferReplica => "prefer_replica",
        ReadFrom::LowestLatency => "lowest_latency",
    };
    let texts = |addresses: &[_]| {
        addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    settings.set_item("redis_type", kind)?;
    settings.set_item("servers", texts(&config.seeds))?;
    if let Some(sentinel) = &config.sentinel {
        let (username, password) = masked(&sentinel.node);
        settings.set_item("sentinel_master", &sentinel.master)?;
        settings.set_item("sentinel_username", username)?;
        settings.set_item("sentinel_password", password)?;
        settings.set_item("sentinel_ssl", sentinel.node.tls.is_some())?;
    }
    settings.set_item("replicas", texts(&config.replicas))?;
    settings.set_item("read_from", read_from)?;
    settings.set_item("topology_refresh_seconds", seconds(config.topology_refresh))?;
    connection(&settings, &config.node)?;
    if let Some(provider) = &config.provider {
        settings.set_item("credential_provider", &provider.function)?;
        settings.set_item(
            "credential_refresh_seconds",
            seconds(Some(provider.refresh)),
        )?;
    }
    settings.set_item("max_pending_bytes", config.max_pending_bytes)?;
    settings.set_item("breaker", config.breaker.is_some())?;
    if let Some(breaker) = &config.breaker {
        settings.set_item("breaker_window_seconds", seconds(Some(breaker.window)))?;
        settings.set_item("breaker_min_calls", breaker.min_calls)?;
        settings.set_item("breaker_failure_percent", breaker.failure_percent)?;
        settings.set_item("breaker_slow_ms", milliseconds(breaker.slow))?;
        settings.set_item("breaker_open_seconds", seconds(Some(breaker.open_for)))?;
    }
    let percentile = config.hedge.map(|hedge| hedge.percentile);
    settings.set_item("hedge_percentile", percentile)?;
    if let Some(hedge) = &config.hedge {
        settings.set_item("hedge_min_ms", milliseconds(Some(hedge.min)))?;
        settings.set_item("hedge_max_percent", hedge.max_percent)?;
    }
    Ok(settings)
}

/// The settings of each connection.
fn connection(settings: &Bound<'_, PyDict>, node: &RedisConfig) -> PyResult<()> {
    let (username, password) = masked(node);
    settings.set_item("db", node.db)?;
    settings.set_item("username", username)?;
    settings.set_item("password", password)?;
    settings.set_item("client_name", &node.client_name)?;
    settings.set_item("ssl", node.tls.is_some())?;
    if let Some(tls) = &node.tls {
        encryption(settings, tls)?;
    }
    settings.set_item("socket_connect_timeout", seconds(node.connect_timeout))?;
    settings.set_item("socket_timeout", seconds(node.socket_timeout))?;
    settings.set_item("request_timeout_ms", milliseconds(node.request_timeout))?;
    settings.set_item("write_timeout_ms", milliseconds(node.write_timeout))?;
    settings.set_item("socket_keepalive", node.keepalive)?;
    settings.set_item("redis_pool_size", node.pool_size)?;
    settings.set_item("busy_poll_us", node.busy_poll.as_micros())?;
    settings.set_item("read_by_dump", node.read_by_dump)?;
    settings.set_item("max_reply_bytes", node.max_reply_bytes)
}

fn encryption(settings: &Bound<'_, PyDict>, tls: &TlsSettings) -> PyResult<()> {
    let verified = tls.verification != Verification::Nothing;
    let path = |path: &Option<_>| {
        path.as_deref()
            .map(|path: &Path| path.display().to_string())
    };
    settings.set_item("ssl_cert_reqs", if verified { "required" } else { "none" })?;
    let checked = tls.verification == Verification::Full;
    settings.set_item("ssl_check_hostname", checked)?;
    settings.set_item("ssl_ca_certs", path(&tls.ca_file))?;
    settings.set_item("ssl_ca_path", path(&tls.ca_directory))?;
    settings.set_item("ssl_ca_data", tls.ca_data.as_ref().map(|_| "given"))?;
    settings.set_item("ssl_certfile", path(&tls.certificate))?;
    settings.set_item("ssl_keyfile", path(&tls.key))?;
    settings.set_item("ssl_server_name", &tls.server_name)?;
    let oldest = if tls.only_tls13 { "TLSv1.3" } else { "TLSv1.2" };
    settings.set_item("ssl_min_version", oldest)
}

/// That there is a user name, and a password.
fn masked(node: &RedisConfig) -> (Option<&'static str>, Option<&'static str>) {
    let is_there = |secret: &Secret| !secret.expose().is_empty();
    let Some(Credentials { username, password }) = node.credentials.written() else {
        return (None, None);
    };
    let username = username.as_ref().is_some_and(is_there);
    (username.then_some(MASK), is_there(password).then_some(MASK))
}

fn seconds(limit: Option<Duration>) -> Option<f64> {
    limit.map(|limit| limit.as_secs_f64())
}

fn milliseconds(limit: Option<Duration>) -> Option<f64> {
    limit.map(|limit| limit.as_secs_f64() * 1e3)
}
