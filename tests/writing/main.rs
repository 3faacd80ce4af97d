//! The script of atomic writes, in a real server.

#[path = "../redis_server/mod.rs"]
mod redis_server;

use _core::write::script;
use serde_json::json;

use redis_server::replies::Reply;
use redis_server::{RedisServer, ask};

#[test]
fn the_server_knows_the_script_under_its_hash() {
    let server = RedisServer::start(&[]);
    let pool = server.pool(json!({}));
    let loaded = ask(&pool, &[b"SCRIPT", b"LOAD", script::SOURCE.as_bytes()]).unwrap();
    assert_eq!(loaded, Reply::Bulk(script::SHA.as_bytes().to_vec()));
}
