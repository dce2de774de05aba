//! The client against a relay that a test plays by hand.

mod connect;
mod early;
mod late;
mod publish;
mod receive;
mod relay;
mod single;
