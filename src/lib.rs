//! Treecast is a multicast publish/subscribe relay service.
//!
//! Relays at many sites form an overlay network. A message put into a group
//! at any relay fans out hop by hop along a tree computed for that group, and
//! every relay keeps a durable backlog per subscription, so a receiver that is
//! down still gets it later.

pub mod id;
pub mod limits;
pub mod units;

pub mod config;
pub mod topology;

pub mod log;
pub mod relay;

pub mod client;
pub mod wire;

pub mod metrics;
pub mod net;
pub mod server;

pub mod cli;
