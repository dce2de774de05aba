//! The network as its operator drew it.

pub mod settings;
