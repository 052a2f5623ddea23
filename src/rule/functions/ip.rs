//! Functions for the rules of pods-get-no-ip.

use super::{Function, Subject};

pub(super) fn functions() -> Vec<Function> {
    Vec::new()
}

pub(super) fn subjects() -> Vec<Subject> {
    Vec::new()
}
