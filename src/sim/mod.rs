//! Many relays in one thread, under one seed, watched by an oracle.
//!
//! The real core runs in every [`node::Node`]; its log, its disk and its links are simulated: a
//! seed decides what arrives when, what is synced, which relay crashes and loses what was not,
//! which link breaks and loses what was on its way. [`world::World`] lets it run, [`storms`] how, and
//! [`oracle::Oracle`], which knows every put and every start, says what is wrong.
//!
//! The same seed gives the same run, step by step: a failure is replayed by its number.

mod changing;
pub mod node;
pub mod oracle;
pub mod storms;
mod watch;
pub mod world;

#[cfg(test)]
mod tests;
