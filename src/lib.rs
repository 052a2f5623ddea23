//! A troubleshooting linter for Amazon EKS networking.

pub mod diagnostic;
pub mod network;
pub mod shape;
pub mod snapshot;
