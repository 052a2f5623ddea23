//! A snapshot: the recorded answers of AWS and Kubernetes, typed, each object with its place.

pub(crate) mod encoding;
mod load;
mod order;
pub mod pointer;
mod recording;
mod redact;
mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

#[cfg(feature = "live")]
pub(crate) use order::asked_after;
pub(crate) use order::named_by;
pub use recording::{Recording, WriteError, indent, indent_into};
pub use redact::{RedactError, redact};
pub use tables::{Element, Object, Place, Rec, Source, TABLES, Table, TableId, TableInfo, Tables};

/// One file of a snapshot.
#[derive(Debug)]
pub struct Document {
    /// Relative to the snapshot's folder, with `/`.
    pub path: String,
    pub text: String,
}

/// What `record` knows and no answer holds (`manifest.json`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Manifest {
    pub format: Option<u32>,
    pub cluster: Option<String>,
    pub region: Option<String>,
    pub account: Option<String>,
    pub partition: Option<String>,
    pub recorded_at: Option<String>,
    pub tool: Option<String>,
    pub failures: Vec<Failure>,
}

/// A read that failed while recording.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// As IAM spells it, `iam:GetRole`; of Kubernetes `k8s:nodes`.
    pub operation: String,
    pub argument: Option<String>,
    pub code: String,
    pub message: String,
}

impl Failure {
    /// Why it failed, in short.
    fn told(&self) -> &str {
        if self.code.is_empty() { &self.message } else { &self.code }
    }
}

/// A value inside a recorded object: the object's row and a JSON pointer from there (empty: the object).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    pub row: crate::shape::Row,
    pub pointer: String,
}

/// How bad a [`Problem`] of the input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// The file is not JSON (or no text): exit code 2.
    NotJson,
    /// Something in it could not be used; the rest was.
    Error,
    /// Worth knowing.
    Note,
}

/// Something in the input that could not be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub gravity: Gravity,
    /// The file, relative to the snapshot.
    pub file: String,
    /// 1-based; absent when the whole file is meant.
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", if self.gravity == Gravity::Note { "note" } else { "error" }, self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        write!(f, ": {}; {}", self.message, self.help)
    }
}

/// A read that a rule needed and the snapshot does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// The operation, as IAM spells it.
    pub read: String,
    pub reason: String,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.read, self.reason)
    }
}

/// The answer of a function that may need something that nobody recorded.
pub type Known<T> = Result<T, Missing>;

/// A folder that cannot be read as a snapshot at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The path is not there.
    #[error("{0}: no such folder; give the folder that holds the recorded JSON files")]
    NotFound(PathBuf),
    /// The operating system refuses.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// No JSON file in it.
    #[error("{0}: holds no .json file; record one with `eks-doctor record` or docs/record.sh")]
    Empty(PathBuf),
}

/// The recorded answers.
#[derive(Debug)]
pub struct Snapshot {
    pub documents: Vec<Document>,
    pub manifest: Manifest,
    pub tables: Tables,
    /// What was wrong with the input, by file and line.
    pub problems: Vec<Problem>,
    /// Reads of which at least one answer is there, and what of it could not be used.
    reads: BTreeMap<&'static str, Option<String>>,
}

impl Snapshot {
    /// Reads every `.json` file below `folder` (or the one file).
    ///
    /// # Errors
    /// When there is nothing to read. What is wrong inside files is in [`Snapshot::problems`].
    pub fn load(folder: &Path) -> Result<Snapshot, LoadError> {
        load::folder(folder)
    }

    /// Reads documents that are in memory: (path, text).
    pub fn from_documents(documents: Vec<(String, String)>) -> Snapshot {
        load::documents(documents.into_iter().map(|(path, text)| Document { path, text }).collect(), Vec::new())
    }

    /// The documents of several snapshots, each in the folder of its name, to show places in; nothing is read from them.
    pub(crate) fn gallery(snapshots: &[(String, std::sync::Arc<Snapshot>)]) -> Snapshot {
        let mut gallery = Snapshot::from_documents(Vec::new());
        for (name, snapshot) in snapshots {
            let named = |path: &str| format!("{name}/{path}");
            gallery
                .documents
                .extend(snapshot.documents.iter().map(|d| Document { path: named(&d.path), text: d.text.clone() }));
            gallery.problems.extend(snapshot.problems.iter().map(|p| Problem { file: named(&p.file), ..p.clone() }));
        }
        gallery
    }

    /// Whether no answer at all was recorded.
    pub fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    /// Whether an answer to this operation was recorded.
    pub fn has(&self, read: &str) -> bool {
        self.reads.contains_key(read)
    }

    /// What keeps an answered read from being whole: an object that could not be used, or an argument or page for
    /// which it failed.
    pub fn partial(&self, read: &str) -> Option<Missing> {
        let told = self.reads.get(read)?.clone();
        let failed = || {
            self.manifest.failures.iter().find(|f| same_operation(&f.operation, read)).map(|f| match &f.argument {
                Some(argument) => format!("{} for {argument}", f.told()),
                None => f.told().to_owned(),
            })
        };
        told.or_else(failed).map(|reason| Missing { read: read.to_owned(), reason })
    }

    /// The table of `T`, or which read is missing.
    pub fn table<T: Object>(&self) -> Known<&Table<T>> {
        let read = T::TABLE.info().read;
        match self.reads.get(read) {
            Some(_) => Ok(T::table(&self.tables)),
            None => Err(self.missing(read, None)),
        }
    }

    /// The table of `T`, when nothing of its answers was left out: for what follows from an object's not being there.
    pub fn whole<T: Object>(&self) -> Known<&Table<T>> {
        match self.partial(T::TABLE.info().read) {
            Some(missing) => Err(missing),
            None => self.table(),
        }
    }

    /// The object with this id; an id that is not there although its table was read is an error, too, since
    /// nobody can tell what it is.
    pub fn find<T: Object>(&self, id: &str) -> Known<Rec<'_, T>> {
        let table = T::table(&self.tables);
        table.get(id).ok_or_else(|| self.missing(T::TABLE.info().read, Some(id)))
    }

    /// The document in which a spot stands (an index into `documents`) and its JSON pointer there.
    pub fn locate(&self, spot: &Spot) -> (u32, String) {
        let place = self.tables.place(spot.row);
        (place.document, place.element.pointer() + &spot.pointer)
    }

    /// Why `read` (about `argument`) is not there.
    pub fn missing(&self, read: &str, argument: Option<&str>) -> Missing {
        let failure = self
            .manifest
            .failures
            .iter()
            .find(|f| {
                same_operation(&f.operation, read)
                    && (argument.is_none()
                        || f.argument.is_none()
                        || f.argument.as_deref().map(last) == argument.map(last))
            })
            .map(|f| f.told().to_owned());
        let failure = failure.or_else(|| self.not_asked(read));
        let reason = match (failure, self.reads.get(read), argument) {
            (Some(code), _, _) => code,
            (None, Some(Some(trouble)), _) => trouble.clone(),
            (None, Some(None), Some(argument)) => {
                format!("{argument} is not in the recorded answers")
            }
            (None, _, Some(argument)) => format!("not recorded for {argument}"),
            (None, _, None) => "not recorded".to_owned(),
        };
        Missing { read: read.to_owned(), reason }
    }

    /// The failure that left nothing to ask for, when the read was not made at all.
    fn not_asked(&self, read: &str) -> Option<String> {
        if self.reads.contains_key(read) {
            return None;
        }
        let failed = |before: &&str| self.manifest.failures.iter().find(|f| same_operation(&f.operation, before));
        let failure = order::asked_after(read).iter().find_map(failed)?;
        Some(format!("not asked, {}: {}", failure.operation, failure.told()))
    }
}

/// The part of an id or ARN after the last `/`.
fn last(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// `elbv2:DescribeTags` is written `elasticloadbalancing:DescribeTags` by IAM; both are understood.
fn same_operation(a: &str, b: &str) -> bool {
    let plain = |s: &str| s.replacen("elbv2:", "elasticloadbalancing:", 1);
    a == b || plain(a) == plain(b)
}
