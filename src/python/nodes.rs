//! What Python sees of a deployment's servers.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::redis::breaker::BreakerState;
use crate::redis::deployment::Member;

/// What is known of a server, as a dict.
pub fn describe<'py>(py: Python<'py>, member: &Member) -> PyResult<Bound<'py, PyDict>> {
    let node = &member.node;
    let described = PyDict::new(py);
    described.set_item("address", node.address().to_string())?;
    let role = if member.is_primary {
        "primary"
    } else {
        "replica"
    };
    described.set_item("role", role)?;
    described.set_item("slots", &member.slots)?;
    let breaker = node.breaker();
    let state = breaker.map_or("off", |breaker| {
        match breaker.state(std::time::Instant::now()) {
            BreakerState::Closed => "closed",
            BreakerState::Open { .. } => "open",
            BreakerState::HalfOpen => "half_open",
        }
    });
    described.set_item("breaker", state)?;
    let counts = breaker.map(|breaker| breaker.counts(std::time::Instant::now()));
    let counts = counts.unwrap_or_default();
    described.set_item("calls", counts.calls)?;
    described.set_item("failures", counts.failures)?;
    described.set_item("slow", counts.slow)?;
    let latency = node.latencies().smoothed();
    described.set_item(
        "latency_ms",
        latency.map(|latency| latency.as_secs_f64() * 1e3),
    )?;
    let (blocking, asynchronous) = (node.pool().counts(), node.pool().async_counts());
    described.set_item("connections", blocking.open + asynchronous.open)?;
    Ok(described)
}
