//! A primary and its replicas without a cluster, by themselves and watched by Sentinels.

use _core::error::ErrorKind;
use _core::redis::config::Address;
use _core::redis::topology::role::{Link, Role};
use _core::redis::topology::sentinel;
use _core::redis::tree;
use serde_json::json;

use crate::redis_server::cluster::wait_until;
use crate::redis_server::sentinels::Sentinels;
use crate::redis_server::{RedisServer, answer};

fn address(server: &RedisServer) -> Address {
    server.config(json!({})).address.clone()
}

fn replica_of(port: u16) -> RedisServer {
    let replica = ["--replicaof", "127.0.0.1", &port.to_string()].map(str::to_owned);
    RedisServer::start_with(|port| {
        let own = ["--port".to_owned(), port.to_string()];
        own.into_iter().chain(replica.clone()).collect()
    })
}

fn primary() -> RedisServer {
    RedisServer::start(&["--repl-diskless-sync-delay", "0"])
}

fn role(server: &RedisServer) -> Role {
    let reply = answer(&server.pool(json!({})), &[b"ROLE"]).unwrap();
    Role::parse(&reply, &address(server)).unwrap()
}

#[test]
fn roles() {
    let mut server = primary();
    let lone = Role::Primary { replicas: vec![] };
    assert_eq!(role(&server), lone);
    let mut replicas = [replica_of(server.port), replica_of(server.port)];
    replicas.sort_by_key(|replica| replica.port);
    let with = |replicas: &[RedisServer]| Role::Primary {
        replicas: replicas.iter().map(address).collect(),
    };
    wait_until("the replicas are in step", || {
        role(&server) == with(&replicas)
    });
    let of = |link| Role::Replica {
        primary: Some(address(&server)),
        link,
    };
    let [connected, down] = [of(Link::Connected), of(Link::Down)];
    // The primary counts it in before it has taken in the last of its copy.
    wait_until("the replica finds so too", || {
        role(&replicas[0]) == connected
    });
    replicas[0].kill();
    wait_until("one is gone", || role(&server) == with(&replicas[1..]));
    server.kill();
    wait_until("the primary is gone", || role(&replicas[1]) == down);
}

#[test]
fn sentinels() {
    let mut server = primary();
    let replicas = [replica_of(server.port), replica_of(server.port)];
    let sentinels = Sentinels::start(3, "orders", server.port, 2, "");
    let asked = sentinels.address(0);
    let ask = |what: &str, name: &str| -> tree::Reply {
        let pool = sentinels.servers[0].pool(json!({}));
        let parts = ["SENTINEL", what, name].map(str::as_bytes);
        answer(&pool, &parts).unwrap()
    };
    let role = answer(&sentinels.servers[0].pool(json!({})), &[b"ROLE"]).unwrap();
    assert_eq!(Role::parse(&role, &asked).unwrap(), Role::Sentinel);
    let found_primary = || {
        let reply = ask("GET-MASTER-ADDR-BY-NAME", "orders");
        sentinel::primary(&reply, "orders", &asked).unwrap()
    };
    let found_replicas =
        || sentinel::replicas(&ask("REPLICAS", "orders"), "orders", &asked).unwrap();
    let mut all = replicas.each_ref().map(address);
    all.sort_unstable();
    assert_eq!(found_primary(), address(&server));
    wait_until("the replicas are in step", || found_replicas() == all);
    let reply = ask("SENTINELS", "orders");
    let mut others = sentinel::sentinels(&reply, "orders", &asked).unwrap();
    others.sort_unstable();
    let mut expected = [sentinels.address(1), sentinels.address(2)];
    expected.sort_unstable();
    assert_eq!(others, expected);

    let unknown = [
        sentinel::primary(&ask("GET-MASTER-ADDR-BY-NAME", "none"), "none", &asked).err(),
        sentinel::replicas(&ask("REPLICAS", "none"), "none", &asked).err(),
        sentinel::sentinels(&ask("SENTINELS", "none"), "none", &asked).err(),
    ];
    for error in unknown.map(Option::unwrap) {
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("\"none\""), "{error}");
    }
    let no_sentinel = answer(
        &server.pool(json!({})),
        &[b"SENTINEL", b"REPLICAS", b"orders"],
    );
    let error = sentinel::replicas(&no_sentinel.unwrap(), "orders", &asked).unwrap_err();
    assert!(error.to_string().contains("is no Sentinel"), "{error}");

    // A replica that hangs is left out, and comes back.
    replicas[0].signal("STOP");
    wait_until("one hangs", || found_replicas() == [address(&replicas[1])]);
    replicas[0].signal("CONT");
    wait_until("it goes on", || found_replicas() == all);
    // The primary dies, one of the two takes over, and the other follows it.
    server.kill();
    wait_until("there is a new primary", || {
        found_primary() != address(&server)
    });
    let new = found_primary();
    assert!(all.contains(&new));
    let follower: Vec<Address> = all.iter().filter(|&other| *other != new).cloned().collect();
    wait_until("the other follows", || found_replicas() == follower);
}
