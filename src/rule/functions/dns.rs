//! Functions for the rules of dns-does-not-resolve.

use super::{Function, Subject};

pub(super) fn functions() -> Vec<Function> {
    Vec::new()
}

pub(super) fn subjects() -> Vec<Subject> {
    Vec::new()
}
