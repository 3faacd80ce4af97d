//! Several calls to several servers on one thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use _core::error::{Error, ErrorKind, Result};
use _core::redis::Deadline;
use _core::redis::command::Commands;
use _core::redis::pool::{Call, Counts, OwnConnection, Pool, Via, run_all};
use _core::redis::reply::ReplySink;
use serde_json::json;

use crate::redis_server::replies::{Replies, Reply};
use crate::redis_server::{RedisServer, ask, ask_within, command, free_port};
use crate::{LATE, on_time, ping, pong, pool_at};

fn within(limit_ms: u64) -> Deadline {
    Deadline::after(Some(Duration::from_millis(limit_ms)))
}

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// Runs `calls` without being interrupted; gives how long that took.
fn run(calls: &mut [Call<'_, Replies>], deadline: Deadline) -> Duration {
    let start = Instant::now();
    run_all(calls, deadline, &|| Ok(()));
    start.elapsed()
}

fn kind(call: &Call<'_, Replies>) -> ErrorKind {
    call.outcome.as_ref().unwrap().as_ref().unwrap_err().kind()
}

fn succeeded(call: &Call<'_, Replies>) -> bool {
    matches!(call.outcome, Some(Ok(())))
}

/// As many sinks as there are to be calls.
fn sinks<const N: usize>() -> [Replies; N] {
    std::array::from_fn(|_| Replies::default())
}

#[test]
fn one_stopped_server_holds_nobody_up() {
    let servers: Vec<_> = (0..4).map(|_| RedisServer::start(&[])).collect();
    let pools: Vec<_> = servers
        .iter()
        .map(|server| server.pool(json!({"redis_pool_size": 1})))
        .collect();
    // With connections kept and with new ones.
    for kept in [true, false] {
        for pool in &pools {
            assert!(!kept || ping(pool).is_ok());
        }
        servers[1].signal("STOP");
        let echo = command(&[b"ECHO", b"x"]);
        let mut sinks = sinks::<4>();
        let mut calls: Vec<_> = pools
            .iter()
            .zip(&mut sinks)
            .map(|(pool, sink)| Call::new(Via::Pool(pool), &echo, sink))
            .collect();
        std::thread::scope(|scope| {
            let running = scope.spawn(move || {
                let took = run(&mut calls, within(400));
                for (at, call) in calls.iter().enumerate() {
                    assert_eq!(succeeded(call), at != 1, "{call:?}");
                    let talked = call.took.unwrap_or(ms(400));
                    assert!((talked < LATE) == (at != 1), "{at}: {talked:?}");
                }
                assert_eq!(kind(&calls[1]), ErrorKind::Timeout);
                took
            });
            // Their turns are free again while the call to the stopped one hangs.
            std::thread::sleep(ms(100));
            for at in [0, 2, 3] {
                assert_eq!(ask_within(&pools[at], &[b"PING"], ms(100)).unwrap(), pong());
            }
            assert!(!running.is_finished());
            let took = running.join().unwrap();
            assert!(took >= ms(400) && took < ms(400) + LATE, "{took:?}");
        });
        assert_eq!(sinks[2].take(), vec![Reply::Bulk(b"x".to_vec())]);
        let open: Vec<_> = pools.iter().map(|pool| pool.counts().open).collect();
        assert_eq!(open, [1, 0, 1, 1]);
        servers[1].signal("CONT");
    }
}

#[test]
fn many_calls_at_once_are_each_answered_rightly() {
    let servers: Vec<_> = (0..3).map(|_| RedisServer::start(&[])).collect();
    let pools: Vec<_> = servers
        .iter()
        .map(|server| server.pool(json!({})))
        .collect();
    // From one command to hundreds of segments, so that writes and reads of all interleave.
    let text = |call: usize, n: usize| format!("{call}-{n}-").repeat(60);
    let pipeline = |call: usize| {
        let mut commands = Commands::default();
        for n in 0..=call * call * 40 {
            commands.push(&[b"ECHO", text(call, n).as_bytes()]);
        }
        commands
    };
    let pipelines: Vec<_> = (0..12).map(pipeline).collect();
    for _ in 0..3 {
        let mut sinks: [Replies; 12] =
            std::array::from_fn(|_| Replies::within(usize::MAX, 1 << 17));
        let mut calls: Vec<_> = sinks
            .iter_mut()
            .enumerate()
            .map(|(at, sink)| Call::new(Via::Pool(&pools[at % 3]), &pipelines[at], sink))
            .collect();
        run(&mut calls, within(20_000));
        assert!(calls.iter().all(succeeded));
        for (call, sink) in sinks.iter_mut().enumerate() {
            let replies = sink.take();
            assert_eq!(replies.len(), pipelines[call].len());
            for (n, reply) in replies.into_iter().enumerate() {
                assert_eq!(reply, Reply::Bulk(text(call, n).into_bytes()));
            }
        }
    }
    for pool in &pools {
        let counts = pool.counts();
        assert!(counts.open <= 4 && counts.open == counts.idle, "{counts:?}");
    }
}

#[test]
fn the_first_of_rivals_ends_the_others() {
    let servers = [RedisServer::start(&[]), RedisServer::start(&[])];
    let pools = [servers[0].pool(json!({})), servers[1].pool(json!({}))];
    ping(&pools[0]).unwrap();
    servers[0].signal("STOP");
    let echo = command(&[b"ECHO", b"x"]);
    let begins = Instant::now() + ms(30);
    let [mut slow, mut fast, mut other] = sinks();
    let mut calls = [
        Call::new(Via::Pool(&pools[0]), &echo, &mut slow),
        Call::new(Via::Pool(&pools[1]), &echo, &mut fast),
        Call::new(Via::Pool(&pools[1]), &echo, &mut other),
    ];
    (calls[0].rival, calls[1].rival) = (Some(7), Some(7));
    calls[1].begins = Some(begins);
    let took = run(&mut calls, within(5000));
    assert!(took >= ms(29) && took < ms(30) + LATE, "{took:?}");
    assert!(calls[0].outcome.is_none() && calls[0].took.unwrap() >= ms(29));
    assert!(succeeded(&calls[1]) && calls[1].took.unwrap() < LATE);
    assert!(succeeded(&calls[2]));
    assert_eq!((pools[0].counts().open, fast.take().len()), (0, 1));
    servers[0].signal("CONT");

    // A rival that is answered in time never begins the other.
    let [mut first, mut second] = sinks();
    let fresh = servers[1].pool(json!({}));
    let mut calls = [
        Call::new(Via::Pool(&pools[0]), &echo, &mut first),
        Call::new(Via::Pool(&fresh), &echo, &mut second),
    ];
    (calls[0].rival, calls[1].rival) = (Some(1), Some(1));
    calls[1].begins = Some(Instant::now() + ms(2000));
    assert!(run(&mut calls, within(5000)) < ms(2000));
    assert!(succeeded(&calls[0]) && calls[1].outcome.is_none() && calls[1].took.is_none());
    assert_eq!(fresh.counts(), Counts::default());

    // One that fails leaves the others alone.
    let nobody = pool_at(free_port(), &json!({}));
    let [mut first, mut second] = sinks();
    let mut calls = [
        Call::new(Via::Pool(&nobody), &echo, &mut first),
        Call::new(Via::Pool(&pools[0]), &echo, &mut second),
    ];
    (calls[0].rival, calls[1].rival) = (Some(0), Some(0));
    calls[1].begins = Some(Instant::now() + ms(30));
    run(&mut calls, within(5000));
    assert_eq!(kind(&calls[0]), ErrorKind::Connection);
    assert!(succeeded(&calls[1]));
}

#[test]
fn what_would_begin_after_the_deadline_never_does() {
    let server = RedisServer::start(&[]);
    let pool = server.pool(json!({}));
    let echo = command(&[b"ECHO", b"x"]);
    on_time(ms(60), "beginning", || {
        let [mut now, mut never] = sinks();
        let mut calls = [
            Call::new(Via::Pool(&pool), &echo, &mut now),
            Call::new(Via::Pool(&pool), &echo, &mut never),
        ];
        calls[1].begins = Some(Instant::now() + ms(1000));
        run(&mut calls, within(60));
        assert!(succeeded(&calls[0]));
        assert_eq!((kind(&calls[1]), calls[1].took), (ErrorKind::Timeout, None));
    });
}

#[test]
fn calls_to_one_pool_take_turns() {
    let server = RedisServer::start(&[]);
    let other = RedisServer::start(&[]);
    let (narrow, wide) = (
        server.pool(json!({"redis_pool_size": 1})),
        other.pool(json!({})),
    );
    let pipelines: Vec<_> = (0..8_u8).map(|n| command(&[b"ECHO", &[n]])).collect();
    let mut sinks = sinks::<8>();
    let mut calls: Vec<_> = pipelines
        .iter()
        .zip(&mut sinks)
        .map(|(commands, sink)| Call::new(Via::Pool(&narrow), commands, sink))
        .collect();
    assert!(run(&mut calls, within(5000)) < ms(1000));
    assert!(calls.iter().all(succeeded));
    for (n, sink) in sinks.iter_mut().enumerate() {
        assert_eq!(sink.take(), vec![Reply::Bulk(vec![n as u8])]);
    }
    assert_eq!(narrow.counts(), Counts { open: 1, idle: 1 });

    // While another thread has the only turn, calls to other servers go on.
    std::thread::scope(|scope| {
        scope.spawn(|| ask(&narrow, &[b"BLPOP", b"none", b"0.6"]).unwrap());
        while narrow.counts().idle > 0 {
            std::thread::yield_now();
        }
        let [mut waits, mut goes] = self::sinks();
        let mut calls = [
            Call::new(Via::Pool(&narrow), &pipelines[0], &mut waits),
            Call::new(Via::Pool(&wide), &pipelines[1], &mut goes),
        ];
        run(&mut calls, within(100));
        assert!(succeeded(&calls[1]));
        let error = calls[0].outcome.take().unwrap().unwrap_err();
        assert!(error.to_string().contains("all 1 connections"), "{error}");
        // The turn comes as soon as the other thread is done.
        let mut calls = [Call::new(Via::Pool(&narrow), &pipelines[0], &mut waits)];
        assert!(run(&mut calls, within(5000)) < ms(600) + LATE);
        assert!(succeeded(&calls[0]));
    });
}

#[test]
fn threads_that_need_several_pools_do_not_lock_each_other() {
    let servers: Vec<_> = (0..3).map(|_| RedisServer::start(&[])).collect();
    let pools: Vec<_> = servers
        .iter()
        .map(|server| server.pool(json!({"redis_pool_size": 1})))
        .collect();
    let echo = command(&[b"ECHO", b"x"]);
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (pools, echo) = (&pools, &echo);
            scope.spawn(move || {
                for n in 0..100 {
                    let mut sinks = sinks::<3>();
                    let mut calls: Vec<_> = sinks
                        .iter_mut()
                        .enumerate()
                        .map(|(at, sink)| {
                            Call::new(Via::Pool(&pools[(at + thread + n) % 3]), echo, sink)
                        })
                        .collect();
                    run(&mut calls, within(10_000));
                    assert!(calls.iter().all(succeeded), "{calls:?}");
                }
            });
        }
    });
    for pool in &pools {
        assert_eq!(pool.counts(), Counts { open: 1, idle: 1 });
    }
}

#[test]
fn own_connections() {
    let servers = [RedisServer::start(&[]), RedisServer::start(&[])];
    let pools = [servers[0].pool(json!({})), servers[1].pool(json!({}))];
    let mut own: Vec<OwnConnection> = pools.iter().map(Pool::own).collect();
    let id = command(&[b"CLIENT", b"ID"]);
    let run_own = |own: &mut [OwnConnection], limit| {
        let mut sinks = sinks::<2>();
        let mut calls: Vec<_> = own
            .iter_mut()
            .zip(&mut sinks)
            .map(|(own, sink)| Call::new(Via::Own(own), &id, sink))
            .collect();
        run(&mut calls, within(limit));
        let ended: Vec<_> = calls.iter().map(succeeded).collect();
        (ended, sinks.map(|mut sink| sink.take()))
    };
    let (ended, first) = run_own(&mut own, 5000);
    assert_eq!(ended, [true, true]);
    let (_, second) = run_own(&mut own, 5000);
    assert_eq!(first, second);
    assert_eq!(pools[0].counts(), Counts { open: 1, idle: 0 });
    // One that failed is closed; the next run opens another.
    servers[0].signal("STOP");
    assert_eq!(run_own(&mut own, 100).0, [false, true]);
    assert_eq!((pools[0].counts().open, pools[1].counts().open), (0, 1));
    servers[0].signal("CONT");
    let (ended, third) = run_own(&mut own, 5000);
    assert_eq!(ended, [true, true]);
    assert!(first[0] != third[0] && first[1] == third[1]);
    drop(own);
    assert_eq!(pools[1].counts(), Counts::default());
}

/// Replies of which the first is slow to be taken in.
struct Sluggish(Replies, Duration);

impl ReplySink for Sluggish {
    fn space(&mut self) -> Result<&mut [u8]> {
        self.0.space()
    }

    fn advance(&mut self, n: usize) -> Result<()> {
        std::thread::sleep(std::mem::take(&mut self.1));
        self.0.advance(n)
    }

    fn replies(&self) -> usize {
        self.0.replies()
    }
}

#[test]
fn an_answer_that_is_there_at_the_deadline_is_an_answer() {
    let servers = [RedisServer::start(&[]), RedisServer::start(&[])];
    let pools = [servers[0].pool(json!({})), servers[1].pool(json!({}))];
    for pool in &pools {
        ping(pool).unwrap();
    }
    let echo = command(&[b"ECHO", b"x"]);
    let mut sinks = [0, 1].map(|_| Sluggish(Replies::default(), ms(150)));
    let mut calls: Vec<Call<'_, dyn ReplySink>> = pools
        .iter()
        .zip(&mut sinks)
        .map(|(pool, sink)| Call::new(Via::Pool(pool), &echo, sink as &mut dyn ReplySink))
        .collect();
    run_all(&mut calls, within(80), &|| Ok(()));
    // Both replies come in time, and both are taken in too late.
    for call in &calls {
        assert!(matches!(call.outcome, Some(Ok(()))), "{calls:?}");
    }
    assert_eq!(pools[1].counts(), Counts { open: 1, idle: 1 });
}

#[test]
fn an_interrupt_ends_what_is_under_way() {
    let servers = [RedisServer::start(&[]), RedisServer::start(&[])];
    let pools = [servers[0].pool(json!({})), servers[1].pool(json!({}))];
    let (echo, block) = (
        command(&[b"ECHO", b"x"]),
        command(&[b"BLPOP", b"none", b"5"]),
    );
    let [mut first, mut second] = sinks();
    let mut calls = [
        Call::new(Via::Pool(&pools[0]), &echo, &mut first),
        Call::new(Via::Pool(&pools[1]), &block, &mut second),
    ];
    let asked = AtomicBool::new(false);
    run_all(&mut calls, Deadline::NEVER, &|| {
        asked.store(true, Ordering::SeqCst);
        Err(Error::new(ErrorKind::Argument, "interrupted"))
    });
    assert!(asked.into_inner() && succeeded(&calls[0]));
    assert_eq!(kind(&calls[1]), ErrorKind::Argument);
    assert_eq!((pools[0].counts().idle, pools[1].counts().open), (1, 0));
}

#[test]
fn nothing_to_run() {
    run(&mut [], Deadline::NEVER);
    let pool = pool_at(free_port(), &json!({}));
    let (nothing, mut sink) = (Commands::default(), Replies::default());
    let mut calls = [Call::new(Via::Pool(&pool), &nothing, &mut sink)];
    run(&mut calls, Deadline::NEVER);
    assert!(succeeded(&calls[0]));
}
