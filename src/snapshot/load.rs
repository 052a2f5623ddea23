//! Reading the files of a snapshot: recognised by content, typed, and tolerant of one bad object.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    Document, Element, Gravity, LoadError, Manifest, Place, Problem, Snapshot, Source, TABLES, Table, TableId, Tables,
};
use crate::shape::Str;
use crate::shape::ec2::Reservation;

pub(super) fn folder(folder: &Path) -> Result<Snapshot, LoadError> {
    let (documents, problems) = files(folder)?;
    Ok(self::documents(documents, problems))
}

/// The text of every `.json` file below `folder`, and the files that are no text.
pub(super) fn files(folder: &Path) -> Result<(Vec<Document>, Vec<Problem>), LoadError> {
    if !folder.exists() {
        return Err(LoadError::NotFound(folder.to_owned()));
    }
    let mut paths = Vec::new();
    if folder.is_file() {
        paths.push(folder.to_owned());
    } else {
        let mut open = vec![folder.to_owned()];
        while let Some(dir) = open.pop() {
            let entries = std::fs::read_dir(&dir).map_err(|e| LoadError::Unreadable(dir.clone(), e))?;
            for entry in entries {
                let path = entry.map_err(|e| LoadError::Unreadable(dir.clone(), e))?.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
                    paths.push(path);
                }
            }
        }
    }
    if paths.is_empty() {
        return Err(LoadError::Empty(folder.to_owned()));
    }
    let mut documents = Vec::with_capacity(paths.len());
    let mut problems = Vec::new();
    for path in paths {
        let relative = path
            .strip_prefix(folder)
            .ok()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(path.file_name().map_or(path.as_path(), Path::new));
        let name = relative.to_string_lossy().replace('\\', "/");
        match std::fs::read(&path) {
            Err(error) => problems.push(Problem {
                gravity: Gravity::NotJson,
                file: name,
                line: None,
                column: None,
                message: format!("cannot be read: {error}"),
                help: "give read permission, or leave the file out".to_owned(),
            }),
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => documents.push(Document { path: name, text: unmarked(text) }),
                Err(error) => {
                    let at = error.utf8_error().valid_up_to();
                    let before = &error.as_bytes()[..at];
                    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
                    let column = at - before.iter().rposition(|&b| b == b'\n').map_or(0, |p| p + 1) + 1;
                    problems.push(Problem {
                        gravity: Gravity::NotJson,
                        file: name.clone(),
                        line: Some(line),
                        column: Some(column),
                        message: "is not UTF-8 text".to_owned(),
                        help: "export it again with `--output json`; a shell that redirects as UTF-16 (PowerShell `>`) does this".to_owned(),
                    });
                }
            },
        }
    }
    Ok((documents, problems))
}

/// Without the byte order mark that some shells write.
fn unmarked(mut text: String) -> String {
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    text
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

/// The table of a list's first item.
fn first_kind(text: &str) -> Option<TableId> {
    #[derive(serde::Deserialize)]
    struct First<'a> {
        #[serde(borrow, default)]
        items: Head<'a>,
    }
    #[derive(Default)]
    struct Head<'a>(Option<Kinded<'a>>);
    impl<'de: 'a, 'a> serde::Deserialize<'de> for Head<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Only<'a>(std::marker::PhantomData<&'a ()>);
            impl<'de: 'a, 'a> Visitor<'de> for Only<'a> {
                type Value = Head<'a>;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a list")
                }
                fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Head<'a>, A::Error> {
                    let first = seq.next_element()?;
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    Ok(Head(first))
                }
            }
            deserializer.deserialize_seq(Only(std::marker::PhantomData))
        }
    }
    let first: First<'_> = serde_json::from_str(text).ok()?;
    let first = first.items.0?;
    by_kind(&first.kind, &first.api_version)
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

/// Reads a list under a key into its table.
pub(super) fn list<'de, T: super::Object + serde::Deserialize<'de>, A: MapAccess<'de>>(
    table: &mut Table<T>,
    key: &'static str,
    map: &mut A,
    document: u32,
) -> Result<(), A::Error> {
    struct Rows<'a, T>(&'a mut Table<T>, &'static str, u32);
    impl<'de, T: super::Object + serde::Deserialize<'de>> DeserializeSeed<'de> for Rows<'_, T> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    impl<'de, T: super::Object + serde::Deserialize<'de>> Visitor<'de> for Rows<'_, T> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of {}", self.1)
        }
        fn visit_unit<E>(self) -> Result<(), E> {
            Ok(())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
            let mut i = 0;
            while let Some(row) = seq.next_element::<T>()? {
                self.0.push(row, Place { document: self.2, element: Element::Item(self.1, i) });
                i += 1;
            }
            Ok(())
        }
    }
    map.next_value_seed(Rows(table, key, document))
}

/// The top level of a document.
struct Top<'a> {
    tables: &'a mut Tables,
    document: u32,
    seen: &'a mut Seen,
    guess: Option<TableId>,
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, as `aws ... --output json` or `kubectl ... --output json` prints it")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Top { tables, document, seen, guess } = self;
        let (mut kind, mut api_version): (Cow<'de, str>, Cow<'de, str>) = (Cow::Borrowed(""), Cow::Borrowed(""));
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "kind" => kind = map.next_value::<Key<'de>>()?.0,
                "apiVersion" => api_version = map.next_value::<Key<'de>>()?.0,
                "items" => {
                    seen.items = true;
                    let assumed =
                        kind.strip_suffix("List").filter(|k| !k.is_empty()).and_then(|k| by_kind(k, &api_version));
                    if let Some(table) = assumed {
                        seen.table(table);
                    }
                    map.next_value_seed(Items { tables, document, seen, assumed, guess })?;
                }
                "metadata" | "spec" | "status"
                    if !kind.is_empty() && !kind.ends_with("List") && by_kind(&kind, &api_version).is_some() =>
                {
                    // One Kubernetes object by itself.
                    if let Some(table) = by_kind(&kind, &api_version)
                        && !seen.whole.contains(&table)
                    {
                        seen.whole.push(table);
                    }
                    map.next_value::<IgnoredAny>()?;
                }
                "Reservations" => {
                    seen.table(TableId::Instances);
                    let reservations: Vec<Reservation> = map.next_value::<Option<_>>()?.unwrap_or_default();
                    for (i, reservation) in reservations.into_iter().enumerate() {
                        for (j, instance) in reservation.Instances.into_iter().enumerate() {
                            let element = Element::Nested("Reservations", i as u32, "Instances", j as u32);
                            tables.instances.push(instance, Place { document, element });
                        }
                    }
                }
                key => match by_key(key) {
                    Some((table, Source::List(key))) => {
                        seen.table(table);
                        tables.read_list(table, key, &mut map, document)?;
                    }
                    Some((table, Source::One(key))) => {
                        seen.table(table);
                        map.next_value_seed(OneValue {
                            tables,
                            table,
                            place: Place { document, element: Element::Key(key) },
                        })?;
                    }
                    Some((table, Source::Whole(_))) => {
                        if !seen.whole.contains(&table) {
                            seen.whole.push(table);
                        }
                        map.next_value::<IgnoredAny>()?;
                    }
                    _ => {
                        map.next_value::<IgnoredAny>()?;
                    }
                },
            }
        }
        Ok(())
    }
}

/// A string, borrowed when it can be.
struct Key<'de>(Cow<'de, str>);
impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(v.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

struct OneValue<'a> {
    tables: &'a mut Tables,
    table: TableId,
    place: Place,
}
impl<'de> DeserializeSeed<'de> for OneValue<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.tables.read_value(self.table, self.place, deserializer)
    }
}

/// The items of a Kubernetes list.
struct Items<'a> {
    tables: &'a mut Tables,
    document: u32,
    seen: &'a mut Seen,
    assumed: Option<TableId>,
    guess: Option<TableId>,
}
impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}
impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of Kubernetes objects")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Items { tables, document, seen, assumed, mut guess } = self;
        let mut i = 0;
        loop {
            let place = Place { document, element: Element::Item("items", i) };
            if seq.next_element_seed(Item { tables, place, seen, assumed, guess: &mut guess })?.is_none() {
                return Ok(());
            }
            i += 1;
        }
    }
}

struct Item<'a> {
    tables: &'a mut Tables,
    place: Place,
    seen: &'a mut Seen,
    assumed: Option<TableId>,
    /// What the item before was, or what the file's name says.
    guess: &'a mut Option<TableId>,
}
impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.assumed {
            Some(table) => self.tables.read_value(table, self.place, deserializer),
            None => deserializer.deserialize_map(self),
        }
    }
}
impl<'de> Visitor<'de> for Item<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        // kubectl sorts keys: apiVersion and kind come before the rest, except for `data`, `addressType`,
        // `endpoints`, `count` and their like.
        let mut watch = Watch { map, held: None, kind: None, api_version: None };
        watch.head()?;
        let table = if watch.held.is_none() { watch.table() } else { *self.guess };
        match table {
            Some(table) => {
                self.tables.read_value(table, self.place, serde::de::value::MapAccessDeserializer::new(&mut watch))?;
                if watch.table() != Some(table) {
                    self.seen.unsorted = Some(());
                    return Err(serde::de::Error::custom("another kind than the item before"));
                }
                self.seen.table(table);
                *self.guess = Some(table);
                Ok(())
            }
            None if watch.held.is_some() => {
                self.seen.unsorted = Some(());
                Err(serde::de::Error::custom("kind after content"))
            }
            None => {
                self.seen.foreign = true;
                while watch.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(())
            }
        }
    }
}

/// The rest of an object, of which the kind is noted in passing.
struct Watch<'de, A> {
    map: A,
    /// The key that was read already.
    held: Option<Cow<'de, str>>,
    kind: Option<Cow<'de, str>>,
    api_version: Option<Cow<'de, str>>,
}
impl<'de, A: MapAccess<'de>> Watch<'de, A> {
    /// Reads up to the kind or the first content.
    fn head(&mut self) -> Result<(), A::Error> {
        while self.kind.is_none() || self.api_version.is_none() {
            match self.map.next_key::<Key<'de>>()? {
                Some(Key(key)) if key == "kind" => self.kind = Some(self.map.next_value::<Key<'de>>()?.0),
                Some(Key(key)) if key == "apiVersion" => self.api_version = Some(self.map.next_value::<Key<'de>>()?.0),
                Some(Key(key)) => {
                    self.held = Some(key);
                    break;
                }
                None => break,
            }
        }
        Ok(())
    }
    fn table(&self) -> Option<TableId> {
        by_kind(self.kind.as_deref().unwrap_or_default(), self.api_version.as_deref().unwrap_or_default())
    }
}
impl<'de, A: MapAccess<'de>> MapAccess<'de> for Watch<'de, A> {
    type Error = A::Error;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        loop {
            let key = match self.held.take() {
                Some(key) => key,
                None => match self.map.next_key::<Key<'de>>()? {
                    Some(Key(key)) => key,
                    None => return Ok(None),
                },
            };
            match &*key {
                "kind" => self.kind = Some(self.map.next_value::<Key<'de>>()?.0),
                "apiVersion" => self.api_version = Some(self.map.next_value::<Key<'de>>()?.0),
                _ => return seed.deserialize(serde::de::value::CowStrDeserializer::new(key)).map(Some),
            }
        }
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// Reads element by element, so that one bad object does not take the others with it.
fn slow(snapshot: &mut Snapshot, document: &Document, index: u32, seen: &mut Seen) {
    let top: BTreeMap<Cow<'_, str>, &RawValue> = match serde_json::from_str(&document.text) {
        Ok(top) => top,
        Err(error) => {
            let help = "an answer of the AWS CLI or kubectl is an object; nothing of this file was used";
            let gravity = if error.is_data() { Gravity::Error } else { Gravity::NotJson };
            snapshot.problems.push(problem(gravity, document, &error, 0, help));
            return;
        }
    };
    let text =
        |key: &str| top.get(key).and_then(|v| serde_json::from_str::<Cow<'_, str>>(v.get()).ok()).unwrap_or_default();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    let list_kind = kind.strip_suffix("List").filter(|k| !k.is_empty()).and_then(|k| by_kind(k, &api_version));
    for (key, value) in &top {
        match (&**key, by_key(key)) {
            ("items", _) => {
                seen.items = true;
                if let Some(table) = list_kind {
                    seen.table(table);
                }
                for (i, raw) in elements(snapshot, document, value, list_kind) {
                    let table = match list_kind {
                        Some(table) => Some(table),
                        None => match serde_json::from_str::<Kinded<'_>>(raw.get()) {
                            Ok(kinded) => by_kind(&kinded.kind, &kinded.api_version),
                            Err(error) => {
                                // It does not say what it is: most likely what the others are.
                                let table = seen.tables.first().copied().or_else(|| by_stem(stem(&document.path)));
                                left_out(snapshot, table, bad_object(document, raw, &error));
                                continue;
                            }
                        },
                    };
                    let Some(table) = table else {
                        seen.foreign = true;
                        continue;
                    };
                    seen.table(table);
                    one(snapshot, document, raw, table, Place { document: index, element: Element::Item("items", i) });
                }
            }
            ("Reservations", _) => {
                let table = TableId::Instances;
                seen.table(table);
                for (i, raw) in elements(snapshot, document, value, Some(table)) {
                    let parts: BTreeMap<Cow<'_, str>, &RawValue> = match serde_json::from_str(raw.get()) {
                        Ok(parts) => parts,
                        Err(error) => {
                            left_out(snapshot, Some(table), bad_object(document, raw, &error));
                            continue;
                        }
                    };
                    let Some(instances) = parts.get("Instances") else { continue };
                    for (j, raw) in elements(snapshot, document, instances, Some(table)) {
                        let element = Element::Nested("Reservations", i, "Instances", j);
                        one(snapshot, document, raw, table, Place { document: index, element });
                    }
                }
            }
            (_, Some((table, Source::List(key)))) => {
                seen.table(table);
                for (i, raw) in elements(snapshot, document, value, Some(table)) {
                    one(snapshot, document, raw, table, Place { document: index, element: Element::Item(key, i) });
                }
            }
            (_, Some((table, Source::One(key)))) => {
                seen.table(table);
                one(snapshot, document, value, table, Place { document: index, element: Element::Key(key) });
            }
            (_, Some((table, _))) if !seen.whole.contains(&table) => seen.whole.push(table),
            _ => {}
        }
    }
    if !top.contains_key("items")
        && let Some(table) = by_kind(&kind, &api_version)
        && !seen.whole.contains(&table)
    {
        seen.whole.push(table);
    }

    /// The elements of a list.
    fn elements<'a>(
        snapshot: &mut Snapshot,
        document: &Document,
        list: &'a RawValue,
        table: Option<TableId>,
    ) -> Vec<(u32, &'a RawValue)> {
        match serde_json::from_str::<Option<Vec<&RawValue>>>(list.get()) {
            Ok(elements) => (0..).zip(elements.unwrap_or_default()).collect(),
            Err(error) => {
                left_out(snapshot, table, bad_object(document, list, &error));
                Vec::new()
            }
        }
    }
    /// Reads one object.
    fn one(snapshot: &mut Snapshot, document: &Document, raw: &RawValue, table: TableId, place: Place) {
        let mut reader = serde_json::Deserializer::from_str(raw.get());
        if let Err(error) = snapshot.tables.read_value(table, place, &mut reader) {
            left_out(snapshot, Some(table), bad_object(document, raw, &error));
        }
    }
}

/// Tells of something that was not used; the answers of its table are then no longer whole.
fn left_out(snapshot: &mut Snapshot, table: Option<TableId>, problem: Problem) {
    if let Some(table) = table {
        let place = problem.line.map_or_else(|| problem.file.clone(), |line| format!("{}:{line}", problem.file));
        let reason = Some(format!("an object could not be read: {place}"));
        // Of several the first is told, whatever the order of the files.
        let told = snapshot.reads.entry(table.info().read).or_insert(None);
        if told.is_none() || *told > reason {
            *told = reason;
        }
    }
    snapshot.problems.push(problem);
}

/// The problem of one object that could not be read, with its id where it has one.
fn bad_object(document: &Document, raw: &RawValue, error: &serde_json::Error) -> Problem {
    let from = raw.get().as_ptr() as usize - document.text.as_ptr() as usize;
    let mut problem = problem(
        Gravity::Error,
        document,
        error,
        from,
        "this object was left out; what needs it is skipped. Export the file again, or mend the value",
    );
    let fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(raw.get()).unwrap_or_default();
    let id = fields
        .iter()
        .find(|(k, v)| {
            k.ends_with("Id")
                && v.is_string()
                && !matches!(k.as_str(), "OwnerId" | "VpcId" | "AvailabilityZoneId" | "RequesterId")
        })
        .map(|(_, v)| v.as_str().unwrap_or_default().to_owned())
        .or_else(|| fields.get("metadata").and_then(|m| m.get("name")).and_then(|n| n.as_str()).map(str::to_owned))
        .or_else(|| fields.get("VpcId").or(fields.get("name")).and_then(|n| n.as_str()).map(str::to_owned));
    if let Some(id) = id {
        problem.message = format!("{id}: {}", problem.message);
    }
    problem
}
