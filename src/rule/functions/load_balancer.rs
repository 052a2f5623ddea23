//! Functions for the rules of load-balancer-not-deployed.

use super::{Function, Subject};

pub(super) fn functions() -> Vec<Function> {
    Vec::new()
}

pub(super) fn subjects() -> Vec<Subject> {
    Vec::new()
}
