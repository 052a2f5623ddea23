//! Reading the files of a snapshot: recognised by content, typed, and tolerant of one bad object.

mod files;
mod salvage;
mod stream;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeSeed;

use super::{
    Document, Element, Gravity, LoadError, Manifest, Place, Problem, Snapshot, Source, TABLES, TableId, Tables,
};
use crate::shape::Str;
pub use files::files;
use salvage::{left_out, slow};
pub use stream::list;
use stream::{Top, first_kind};

pub(super) fn folder(folder: &Path) -> Result<Snapshot, LoadError> {
    let (documents, problems) = files(folder)?;
    Ok(self::documents(documents, problems))
}

pub(super) fn documents(mut documents: Vec<Document>, problems: Vec<Problem>) -> Snapshot {
    documents.sort_by(|a, b| a.path.cmp(&b.path));
    let mut snapshot = Snapshot {
        documents: Vec::new(),
        manifest: Manifest::default(),
        tables: Tables::default(),
        problems,
        reads: BTreeMap::new(),
    };
    for (index, document) in documents.iter().enumerate() {
        read(&mut snapshot, document, index as u32);
    }
    snapshot.documents = documents;
    let mut differing = Vec::new();
    snapshot.tables.settle(&mut differing);
    for (table, id, first, second) in differing {
        // What another account sees of a shared object (its tags, its names of zones) is another view of it.
        let account = |p: Place| account_in(&snapshot.documents[p.document as usize].path);
        if account(first) != account(second) {
            continue;
        }
        let place = |p: Place| format!("{}{}", snapshot.documents[p.document as usize].path, pointer_note(p.element));
        snapshot.problems.push(Problem {
            gravity: Gravity::Error,
            file: snapshot.documents[second.document as usize].path.clone(),
            line: None,
            column: None,
            message: format!(
                "{} {id} is recorded twice and differs: {} and {}",
                table.info().shape,
                place(first),
                place(second)
            ),
            help: "the first is used; record the snapshot anew, or remove one of the two files".to_owned(),
        });
    }
    snapshot
        .problems
        .sort_by(|a, b| (a.gravity, &a.file, a.line, &a.message).cmp(&(b.gravity, &b.file, b.line, &b.message)));
    snapshot
}

/// The folder of a path that is an account's number.
fn account_in(path: &str) -> Option<&str> {
    path.split('/').find(|part| part.len() == 12 && part.bytes().all(|b| b.is_ascii_digit()))
}

fn pointer_note(element: Element) -> String {
    let pointer = element.pointer();
    if pointer.is_empty() { pointer } else { format!(" at {pointer}") }
}

fn read(snapshot: &mut Snapshot, document: &Document, index: u32) {
    let stem = stem(&document.path);
    if document.path == "manifest.json" || document.path.ends_with("/manifest.json") {
        match serde_json::from_str::<Manifest>(&document.text) {
            Ok(manifest) => {
                let mut failures = std::mem::take(&mut snapshot.manifest.failures);
                failures.extend(manifest.failures.iter().cloned());
                if snapshot.manifest.cluster.is_none() {
                    snapshot.manifest = manifest;
                }
                snapshot.manifest.failures = failures;
            }
            Err(error) => {
                let gravity = if error.is_data() { Gravity::Error } else { Gravity::NotJson };
                snapshot.problems.push(problem(
                    gravity,
                    document,
                    &error,
                    0,
                    "the manifest is optional: mend it or remove it",
                ));
            }
        }
        return;
    }
    let mut seen = Seen::default();
    let mut fast = quick(snapshot, document, index, &mut seen, by_stem(stem));
    if fast.is_err() && seen.unsorted.is_some() {
        // The first item tells what the file's name did not.
        if let Some(guess) = first_kind(&document.text) {
            snapshot.tables.forget(index);
            seen = Seen::default();
            fast = quick(snapshot, document, index, &mut seen, Some(guess));
        }
    }
    if let Err(error) = fast {
        snapshot.tables.forget(index);
        if !error.is_data() && seen.unsorted.is_none() {
            let help = if error.is_eof() {
                "the file was cut: export it again; nothing of it was used"
            } else {
                "export it again with `--output json`; nothing of it was used"
            };
            snapshot.problems.push(problem(Gravity::NotJson, document, &error, 0, help));
            let trouble = format!("{} is not valid JSON", document.path);
            for table in seen.tables {
                note(snapshot, table, Some(&trouble));
            }
            if let Some(table) = by_stem(stem) {
                note(snapshot, table, Some(&trouble));
            }
            return;
        }
        seen = Seen::default();
        slow(snapshot, document, index, &mut seen);
    }
    whole(snapshot, document, index, stem, &mut seen);
    if seen.tables.is_empty() && seen.items && !seen.foreign {
        // An empty list of Kubernetes says only in the file's name of what.
        if let Some(table) = by_stem(stem) {
            seen.tables.push(table);
        }
    }
    if seen.tables.is_empty() {
        snapshot.problems.push(Problem {
            gravity: Gravity::Note,
            file: document.path.clone(),
            line: None,
            column: None,
            message: "holds no answer that eks-doctor knows; it was ignored".to_owned(),
            help: "docs/snapshot.md lists the files that are read".to_owned(),
        });
    }
    for table in seen.tables {
        note(snapshot, table, None);
    }
}

/// Reads a document in one go. `guess` is the kind of items that tell their own only after their content.
fn quick(
    snapshot: &mut Snapshot,
    document: &Document,
    index: u32,
    seen: &mut Seen,
    guess: Option<TableId>,
) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(&document.text);
    Top { tables: &mut snapshot.tables, document: index, seen, guess }.deserialize(&mut reader)?;
    reader.end()
}

/// What a Kubernetes object says of itself.
#[derive(serde::Deserialize)]
struct Kinded<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default, rename = "apiVersion")]
    api_version: Cow<'a, str>,
}

/// Notes that an operation was answered, and what was wrong with the answer.
fn note(snapshot: &mut Snapshot, table: TableId, trouble: Option<&str>) {
    let read = table.info().read;
    match trouble {
        // A file that cannot be read is no answer; another page may still be one.
        Some(trouble) => {
            let failure = super::Failure {
                operation: read.to_owned(),
                argument: None,
                code: trouble.to_owned(),
                message: String::new(),
            };
            if !snapshot.manifest.failures.contains(&failure) {
                snapshot.manifest.failures.push(failure);
            }
            snapshot.reads.remove(read);
        }
        None => {
            if !snapshot.manifest.failures.iter().any(|f| f.operation == read && f.code.ends_with("is not valid JSON"))
            {
                snapshot.reads.entry(read).or_insert(None);
            }
        }
    }
}

fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".json").or_else(|| name.strip_suffix(".JSON")).unwrap_or(name)
}

/// The table that a file's name means: `describe-subnets` or `eniconfigs.crd.k8s.amazonaws.com`.
fn by_stem(stem: &str) -> Option<TableId> {
    TABLES
        .iter()
        .find(|t| match t.source {
            Source::Kind(_, group, plural) => {
                stem == plural
                    || (!group.is_empty() && stem.strip_prefix(plural).and_then(|r| r.strip_prefix('.')) == Some(group))
            }
            _ => {
                let operation = t.read.rsplit(':').next().unwrap_or(t.read);
                stem.split('-')
                    .flat_map(str::chars)
                    .filter(|c| *c != '-')
                    .collect::<String>()
                    .eq_ignore_ascii_case(operation)
            }
        })
        .map(|t| t.id)
}

fn by_key(key: &str) -> Option<(TableId, Source)> {
    TABLES
        .iter()
        .find(|t| matches!(t.source, Source::List(k) | Source::One(k) | Source::Whole(k) if k == key))
        .map(|t| (t.id, t.source))
}

fn by_kind(kind: &str, api_version: &str) -> Option<TableId> {
    // EKS Auto Mode has these two of the AWS Load Balancer Controller under a group of its own.
    let group = match (kind, api_version.split_once('/').map_or("", |(group, _)| group)) {
        ("IngressClassParams" | "TargetGroupBinding", "eks.amazonaws.com") => "elbv2.k8s.aws",
        (_, group) => group,
    };
    TABLES
        .iter()
        .find(|t| matches!(t.source, Source::Kind(k, g, _) if k == kind && (g == group || api_version.is_empty())))
        .map(|t| t.id)
}

/// A problem at the place where serde stopped; `from` is the byte offset of the text that serde saw.
fn problem(gravity: Gravity, document: &Document, error: &serde_json::Error, from: usize, help: &str) -> Problem {
    let before = &document.text.as_bytes()[..from.min(document.text.len())];
    let lines = before.iter().filter(|&&b| b == b'\n').count();
    let column = if error.line() <= 1 {
        from - before.iter().rposition(|&b| b == b'\n').map_or(0, |p| p + 1) + error.column()
    } else {
        error.column()
    };
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.clone(), |(m, _)| m.to_owned());
    Problem {
        gravity,
        file: document.path.clone(),
        line: Some(lines + error.line().max(1)),
        column: Some(column.max(1)),
        message,
        help: help.to_owned(),
    }
}

/// What a document turned out to hold.
#[derive(Default)]
struct Seen {
    tables: Vec<TableId>,
    /// It has Kubernetes `items`.
    items: bool,
    /// It has items of kinds that nobody asked for.
    foreign: bool,
    /// A top-level key that makes the whole document the object.
    whole: Vec<TableId>,
    /// The kind of a Kubernetes list stands after its items.
    unsorted: Option<()>,
}

impl Seen {
    fn table(&mut self, table: TableId) {
        if !self.tables.contains(&table) {
            self.tables.push(table);
        }
    }
}

/// The documents that are one object as a whole, read in a second go (they are small).
fn whole(snapshot: &mut Snapshot, document: &Document, index: u32, stem: &str, seen: &mut Seen) {
    for table in std::mem::take(&mut seen.whole) {
        let place = Place { document: index, element: Element::Whole };
        let mut reader = serde_json::Deserializer::from_str(&document.text);
        match snapshot.tables.read_value(table, place, &mut reader) {
            Ok(()) => snapshot.tables.name_last(table, stem),
            Err(error) => {
                let help = "this answer was not used; the rest was";
                left_out(snapshot, Some(table), problem(Gravity::Error, document, &error, 0, help));
            }
        }
        seen.table(table);
    }
}

impl Tables {
    /// Sets `Argument` of the object just read: what was asked, from the file's name.
    fn name_last(&mut self, table: TableId, stem: &str) {
        let argument = Str::new(stem);
        macro_rules! name {
            ($($id:ident $field:ident),*) => { match table {
                $( TableId::$id => if let Some(last) = self.$field.rows.last_mut() { last.Argument = argument }, )*
                _ => {}
            } };
        }
        name!(
            SubnetCidrReservations subnet_cidr_reservations, TransitGatewayRoutes transit_gateway_routes,
            PrefixListEntries prefix_list_entries, TargetHealths target_healths, ElbAttributes elb_attributes,
            AttachedRolePolicies attached_role_policies, RolePolicyNames role_policy_names,
            ManagedPolicies managed_policies, OidcProviders oidc_providers, KeyPolicies key_policies
        );
    }
}
