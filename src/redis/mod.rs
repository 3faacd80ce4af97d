//! Redis: who to talk to, what to say, what came back.
//!
//! - [`config`]: addresses, credentials, TLS and limits, from every form in which they are written.
//! - [`credentials`]: what connections log in with, and how that is renewed.
//! - [`command`]: commands into one buffer, in segments that bound what is in flight.
//! - [`deployment`]: all servers behind one door; which of them a request goes to.
//! - [`slot`] and [`topology`]: which servers there are, and which of them has a key.
//! - [`routing`]: a pipeline split among several of them, and the replies put back in order.
//! - [`pool`] and [`connection`]: sockets, blocking and async, under a [`Deadline`].
//! - [`reply`], [`tree`] and [`raw`]: replies taken in as they arrive, without I/O of their own.
//! - [`breaker`] and [`latency`]: how a server has been doing of late, and what follows from it.

pub mod breaker;
pub mod command;
pub mod config;
pub mod connection;
pub mod credentials;
pub mod deadline;
pub mod deployment;
pub(crate) mod habit;
pub mod latency;
pub mod pool;
pub mod raw;
pub mod reply;
pub mod routing;
pub mod slot;
pub mod tls;
pub mod topology;
pub mod tree;

pub use deadline::Deadline;
pub use pool::Pool;
