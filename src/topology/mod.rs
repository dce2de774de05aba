//! What the operator writes about the network.

pub mod settings;
