//! Threads and tasks that share a pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use _core::error::{Error, ErrorKind};
use _core::redis::Deadline;
use _core::redis::pool::Counts;
use serde_json::json;

use crate::redis_server::replies::{Replies, Reply};
use crate::redis_server::{RedisServer, ask, ask_async, ask_within, command};
use crate::{LATE, fails, ping, pong, runtime};

#[test]
fn an_exhausted_pool_makes_wait_until_the_limit() {
    let server = RedisServer::start(&[]);
    let pool = Arc::new(server.pool(json!({"redis_pool_size": 2})));
    let text = "all 2 connections to redis at";
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| ask(&pool, &[b"BLPOP", b"none", b"0.5"]).unwrap());
        }
        std::thread::sleep(Duration::from_millis(100));
        let (kind, message, took) = fails(&pool, 100);
        assert_eq!(kind, ErrorKind::Timeout);
        assert!(
            message.contains(text) && message.contains("request_timeout_ms = 100"),
            "{message}"
        );
        assert!(
            took >= Duration::from_millis(100) && took < Duration::from_millis(100) + LATE,
            "{took:?}"
        );
        let stopped = pool.run(
            &command(&[b"PING"]),
            &mut Replies::default(),
            Deadline::NEVER,
            &|| Err(Error::new(ErrorKind::Argument, "interrupted")),
        );
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Argument);
        assert_eq!(ping(&pool).unwrap(), pong());
    });
    assert_eq!(pool.counts(), Counts { open: 2, idle: 2 });

    runtime().block_on(async {
        let blocking: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move { ask_async(&pool, &[b"BLPOP", b"none", b"0.5"]).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut replies = Replies::default();
        let limit = Deadline::after(Some(Duration::from_millis(100)));
        let refused = command(&[b"PING"]);
        let refused = pool.run_async(&refused, &mut replies, limit);
        assert!(refused.await.unwrap_err().to_string().contains(text));
        assert_eq!(ask_async(&pool, &[b"PING"]).await.unwrap(), pong());
        for blocked in blocking {
            assert_eq!(blocked.await.unwrap().unwrap(), Reply::Null);
        }
    });
}

#[test]
fn threads_share_the_pool() {
    let server = RedisServer::start(&[]);
    for size in [1, 5, 64] {
        let pool = server.pool(json!({"redis_pool_size": size}));
        std::thread::scope(|scope| {
            for thread in 0..32 {
                let pool = &pool;
                scope.spawn(move || {
                    for n in 0..100 {
                        let text = format!("{thread}-{n}").into_bytes();
                        assert_eq!(ask(pool, &[b"ECHO", &text]).unwrap(), Reply::Bulk(text));
                    }
                });
            }
        });
        let counts = pool.counts();
        assert!(
            counts.open <= size && counts.open == counts.idle,
            "{counts:?}"
        );
    }
}

#[test]
fn tasks_share_the_pool_and_cancel_cleanly() {
    let server = RedisServer::start(&[]);
    let pool = Arc::new(server.pool(json!({"redis_pool_size": 8, "client_name": "tasks"})));
    runtime().block_on(async {
        let task = |task: usize| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    let text = format!("{task}-{n}").into_bytes();
                    let echo = [&b"ECHO"[..], &text];
                    if (task + n).is_multiple_of(5) {
                        // Given up at any point: before the turn, while connecting, half-way.
                        let patience = Duration::from_micros((n * 13) as u64);
                        let _ = tokio::time::timeout(patience, ask_async(&pool, &echo)).await;
                    } else {
                        let reply = ask_async(&pool, &echo).await.unwrap();
                        assert_eq!(reply, Reply::Bulk(text));
                    }
                }
            })
        };
        for task in (0..64).map(task).collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let counts = pool.async_counts();
        assert!(counts.open <= 8 && counts.open == counts.idle, "{counts:?}");

        let open = counts.open;
        let blocked = ask_async(&pool, &[b"BLPOP", b"none", b"5"]);
        let _ = tokio::time::timeout(Duration::from_millis(50), blocked).await;
        assert_eq!(pool.async_counts().open, open - 1);
        assert_eq!(ask_async(&pool, &[b"PING"]).await.unwrap(), pong());
    });
    let start = Instant::now();
    while server.clients("tasks") != pool.async_counts().open {
        assert!(start.elapsed() < Duration::from_secs(5), "connections leak");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn waiting_threads_are_served_in_turn() {
    let server = RedisServer::start(&[]);
    let pool = server.pool(json!({"redis_pool_size": 1}));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    ping(&pool).unwrap();
                }
            });
        }
        for _ in 0..50 {
            let waited = ask_within(&pool, &[b"PING"], Duration::from_millis(500));
            if waited.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            waited.unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}
