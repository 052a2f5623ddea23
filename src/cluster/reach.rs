//! The answer to "does this packet get through", as rules see it.

use std::sync::Arc;

use crate::network::{Disposition, Trace, Verdict};
use crate::shape::{Reflect, Row, Str, Type, View, derived};

derived! {
    /// Whether a packet and its answer get through, and what decides.
    Reach {
        /// `reachable`, `blocked` or `unknown`.
        disposition: Str,
        /// What blocks it, one text for each blocker, in the order of the path.
        blockers: Vec<Str>,
        /// Why it is unknown.
        notes: Vec<Str>,
        trace: TraceRef,
    }
}

/// The trace behind a [`Reach`]; rules hand it on but do not look inside.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceRef(pub Arc<Trace>);

impl Reflect for TraceRef {
    const TYPE: Type = Type::Any;
    fn view(&self) -> View<'_> {
        View::Null
    }
}

impl Reach {
    pub fn new(trace: Trace) -> Reach {
        let hops = || trace.forward.iter().chain(&trace.back);
        let blockers = hops()
            .filter(|h| h.verdict == Verdict::Blocked)
            .map(|h| {
                let by = h.by.as_deref().unwrap_or_default();
                match &h.note {
                    Some(note) => Str::from(format!("{} {} at {} ({note})", h.step, by, h.at)),
                    None => Str::from(format!("{} {} at {}", h.step, by, h.at)),
                }
            })
            .collect();
        let notes =
            hops().filter(|h| h.verdict == Verdict::Unknown).filter_map(|h| h.note.as_deref().map(Str::new)).collect();
        let disposition = Str::const_new(match trace.disposition {
            Disposition::Reachable => "reachable",
            Disposition::Blocked => "blocked",
            Disposition::Unknown => "unknown",
        });
        Reach { disposition, blockers, notes, trace: TraceRef(Arc::new(trace)) }
    }

    /// The objects that block it: ACLs, route tables, gateways, and for groups all of the interface.
    pub fn deciders(&self) -> Vec<Row> {
        let trace = &self.trace.0;
        let mut rows: Vec<Row> = trace
            .forward
            .iter()
            .chain(&trace.back)
            .filter(|h| h.verdict == Verdict::Blocked)
            .flat_map(|h| h.deciders.iter().copied())
            .collect();
        rows.dedup();
        rows
    }
}
