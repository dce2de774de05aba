//! Treecast is a multicast publish/subscribe relay service.
//!
//! Relays at many sites form an overlay network. A message put into a group
//! at any relay fans out hop by hop along a tree computed for that group, and
//! every relay keeps a durable backlog per subscription, so a receiver that is
//! down still gets it later. One relay alone is complete in itself.
//!
//! **To write an application** read [`client`] and nothing else:
//! [`client::Client`] connects, [`client::Publisher`] puts and retries by itself,
//! [`client::Subscriber`] is a stream of messages with acks.
//!
//! **To embed a relay** use [`server::Server`] with [`server::ServerOptions`].
//!
//! # Map
//!
//! Data flows one way: session → driver → core → log → link writer. Modules in
//! reading order, each using only those above it and `wire` what `log` counts by:
//!
//! | module | what it is |
//! |---|---|
//! | [`id`] | names and numbers of the domain, newtypes only |
//! | [`limits`] | every bound, its reason, and what happens when it is reached |
//! | [`units`] | sizes and durations as people write them |
//! | [`topology`] | the operator's file: relays, links, groups and their settings, all faults at once |
//! | [`config`] | what one relay is told, from flags and file |
//! | [`wire`] | what travels: [frames](wire::frame), [control bodies](wire::body), [runs of records](wire::run) |
//! | [`log`] | the one append-only order of everything a relay must not forget: [`log::Log`], [`log::DiskLog`], [`log::Recovery`] |
//! | [`routing`] | the map of the network and the tree of every group: pure functions of what relays advertise |
//! | [`survey`] | what a topology file alone tells: pictures, plans and reports over the trees that its relays will have |
//! | [`relay`] | the core: [`relay::Relay`] is told [`relay::Input`]s and wants [`relay::Effect`]s; no clock, no files, no sockets |
//! | [`metrics`] | every metric |
//! | [`net`] | sockets: bytes to inputs, effects to bytes |
//! | [`server`] | a running relay: tasks, threads, start and stop; front doors hold [`server::handle::Sessions`] |
//! | [`http`] | front doors over HTTP: metrics |
//! | [`client`] | the library for applications |
//! | [`cli`] | the command line |
//!
//! `docs/architecture.md` follows a put, a delivery, an ack, a restart and a
//! message over three relays through them, `docs/protocol.md` gives the wire and the disk byte by byte,
//! and `docs/guarantees.md` names for each promise what breaks it and which
//! tests hold it.
//!
//! # Absent on purpose
//!
//! - No server-side state per message: a backlog is a range of the log.
//! - No lock around the relay's state: the driver owns it.
//! - No timer in the commit path, and no retry of a sync that failed.
//! - No keys and no encryption in this version: a relay listens on loopback
//!   unless told otherwise.

pub mod dice;
pub mod id;
pub mod limits;
pub mod units;

pub mod config;
pub mod topology;

pub mod routing;
pub mod survey;

pub mod log;
pub mod relay;

pub mod client;
pub mod wire;

pub mod metrics;
pub mod net;
pub mod server;

pub mod http;

pub mod cli;

#[cfg(any(test, feature = "sim"))]
pub mod sim;

/// The examples in the documents are compiled, and run where they can be.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/architecture.md")]
    struct Architecture;
}
