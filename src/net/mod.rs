//! Sockets and what goes through them: bytes in, frames out.
//!
//! Nothing here spawns a task and nothing here knows the server or the log:
//! [`session`] and [`link`] turn bytes into inputs for the core, [`outgoing`]
//! is where the driver leaves what a session or a neighbour is to be sent, [`link_writer`] turns that into
//! bytes, [`listener`] accepts, and [`socket`] holds every
//! socket option. What takes long is done in slices of time.
//!
//! Cost per read of 256 KiB: one `recv`, one pass of hashing and one of
//! checking records, one message to the driver. Cost per write of up to 1 MiB:
//! one `writev`. A payload is never copied, unless it is small.

pub mod fault;
pub mod link;
pub mod link_writer;
pub mod listener;
pub mod outgoing;
mod pace;
pub mod packer;
pub mod session;
pub(crate) mod slice;
pub mod socket;
