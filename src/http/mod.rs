//! HTTP front doors of a relay: [`metrics`] for those who watch it.

pub mod metrics;
