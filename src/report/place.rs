//! Where evidence stands: from (document, pointer) to bytes, line and column, each document looked at once.

use std::collections::HashMap;
use std::ops::Range;

use crate::diagnostic::Evidence;
use crate::snapshot::Snapshot;
use crate::snapshot::pointer::{Finder, Lines};

/// The documents of a snapshot in which something was looked up.
pub(crate) struct Places<'s> {
    snapshot: &'s Snapshot,
    seen: HashMap<u32, (Finder<'s>, Lines)>,
}

/// Where a piece of evidence stands.
#[derive(Debug)]
pub(crate) struct Place<'s> {
    pub file: &'s str,
    /// The whole document.
    pub text: &'s str,
    /// The bytes of the value, or of its nearest parent that is there.
    pub span: Range<usize>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Line and column after the last character.
    pub end: (usize, usize),
    /// Where the line begins.
    pub line_start: usize,
}

impl<'s> Places<'s> {
    pub fn new(snapshot: &'s Snapshot) -> Places<'s> {
        Places { snapshot, seen: HashMap::new() }
    }

    /// The place of `evidence`; the document's first byte when the JSON is broken. Nothing only when there is no
    /// such document.
    pub fn find(&mut self, evidence: &Evidence) -> Option<Place<'s>> {
        let document = self.snapshot.documents.get(evidence.document as usize)?;
        let (finder, lines) = self.open(evidence.document)?;
        let span = finder.span_or_parent(&evidence.pointer).unwrap_or(0..0);
        let (line, column) = lines.place(&document.text, span.start);
        let line_start = lines.line_start(&document.text, span.start);
        let end = lines.place(&document.text, span.end);
        Some(Place { file: &document.path, text: &document.text, span, line, column, end, line_start })
    }

    /// Whether exactly this value is recorded.
    pub fn is_there(&mut self, evidence: &Evidence) -> bool {
        self.open(evidence.document).is_some_and(|(finder, _)| finder.span(&evidence.pointer).is_some())
    }

    /// The object that holds the value at the place of `evidence`.
    pub fn holder(&mut self, evidence: &Evidence) -> Option<Range<usize>> {
        self.open(evidence.document)?.0.holder(&evidence.pointer)
    }

    fn open(&mut self, document: u32) -> Option<&mut (Finder<'s>, Lines)> {
        let text = &self.snapshot.documents.get(document as usize)?.text;
        Some(self.seen.entry(document).or_insert_with(|| (Finder::new(text), Lines::new(text))))
    }
}
