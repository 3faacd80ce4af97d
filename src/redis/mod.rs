//! Redis: who to talk to, what to say, what came back.
//!
//! - [`config`]: addresses, credentials, TLS and limits, from every form in which they are written.
//! - [`credentials`]: what connections log in with, and how that is renewed.
//! - [`command`]: commands into one buffer, in segments that bound what is in flight.
//! - [`reply`] and [`tree`]: replies taken in as they arrive, without I/O of their own.
//! - [`connection`] and [`pool`]: sockets, blocking and async, under a [`Deadline`].

pub mod command;
pub mod config;
pub mod connection;
pub mod credentials;
pub mod deadline;
pub mod pool;
pub mod reply;
pub mod tls;
pub mod tree;

pub use deadline::Deadline;
pub use pool::Pool;
