//! What real clusters, Sentinels and replicas say of themselves.

#[path = "../redis_server/mod.rs"]
mod redis_server;

mod redirects;
mod slots;
mod standalone;
