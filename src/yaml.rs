//! YAML files that people write (rules, configuration, cases), and mistakes in them with line and column.

use std::ops::Range;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::{Location, Spanned};

/// What is wrong with a file, and where.
#[derive(Debug, Clone, thiserror::Error, miette::Diagnostic)]
#[error("{path}: {message}")]
pub struct YamlError {
    pub path: String,
    pub message: String,
    #[help]
    pub help: Option<String>,
    #[source_code]
    pub text: miette::NamedSource<String>,
    #[label("here")]
    pub span: Option<miette::SourceSpan>,
    /// 1-based.
    pub line: usize,
    pub column: usize,
}

/// A file being read.
#[derive(Clone, Copy)]
pub(crate) struct File<'a> {
    pub path: &'a str,
    pub text: &'a str,
}

impl File<'_> {
    /// Its content. `help` says where its keys are described.
    pub fn read<T: DeserializeOwned>(&self, help: &str) -> Result<T, YamlError> {
        serde_saphyr::from_str(self.text).map_err(|error| {
            let (line, column) = error.location().map_or((1, 1), |l| (l.line() as usize, l.column() as usize));
            let full = error.without_snippet().to_string();
            let message = for_people(full.lines().next().unwrap_or_default());
            self.error(line, column, 1, message, Some(help.to_owned()))
        })
    }

    pub fn error(&self, line: usize, column: usize, length: usize, message: String, help: Option<String>) -> YamlError {
        let start: usize = self.text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let in_line = self.text[start..].lines().next().unwrap_or_default();
        let offset = start + in_line.char_indices().nth(column.saturating_sub(1)).map_or(in_line.len(), |(i, _)| i);
        let end = (offset + length.max(1)).min(self.text.len());
        YamlError {
            path: self.path.to_owned(),
            message,
            help,
            text: miette::NamedSource::new(self.path, self.text.to_owned()).with_language("YAML"),
            span: Some((offset..end.max(offset)).into()),
            line,
            column,
        }
    }

    pub fn at(&self, location: Location, message: String, help: Option<String>) -> YamlError {
        self.error(location.line() as usize, location.column() as usize, 1, message, help)
    }

    /// A mistake in an expression that stands at `inside` of a YAML scalar.
    pub fn inside(
        &self,
        scalar: &Spanned<String>,
        inside: Range<usize>,
        message: String,
        help: Option<String>,
    ) -> YamlError {
        let before = &scalar.value[..inside.start.min(scalar.value.len())];
        let (line_in, column_in) =
            (before.matches('\n').count(), before.rsplit('\n').next().unwrap_or_default().chars().count());
        let (line, column) = (scalar.referenced.line() as usize, scalar.referenced.column() as usize);
        let lines: Vec<&str> = self.text.lines().collect();
        let first: String =
            lines.get(line - 1).map(|l| l.chars().skip(column.saturating_sub(1)).collect()).unwrap_or_default();
        // The parser tells of a block scalar either its `|` or its first line.
        let wanted = scalar.value.lines().next().unwrap_or_default().trim();
        let (first_line, indent) = if first.starts_with(['|', '>']) {
            let text = lines.get(line).copied().unwrap_or_default();
            (line + 1, text.chars().take_while(|c| *c == ' ').count())
        } else if first.trim_start().starts_with(['"', '\'']) {
            (line, column)
        } else if let Some(found) = (line..line + 2)
            .find(|l| lines.get(l - 1).is_some_and(|t| !wanted.is_empty() && t.contains(wanted)))
            .filter(|_| !first.contains(wanted))
        {
            (found, lines[found - 1].chars().take_while(|c| *c == ' ').count())
        } else if line_in > 0 {
            (line, lines.get(line - 1).map_or(0, |l| l.chars().take_while(|c| *c == ' ').count()))
        } else {
            (line, column - 1)
        };
        let length = scalar.value.get(inside).map_or(1, |s| s.lines().next().unwrap_or_default().len());
        self.error(first_line + line_in, indent + column_in + 1, length, message, help)
    }
}

/// What the parser says, without the place, which is shown beside it.
fn for_people(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    match message {
        "expected sequence start" => "a list is wanted here".to_owned(),
        "expected mapping start" => "keys with values are wanted here".to_owned(),
        "expected string scalar" => "text is wanted here".to_owned(),
        other => other.split(", set DuplicateKeyPolicy").next().unwrap_or(other).to_owned(),
    }
}

/// A mapping in the order of the file.
#[derive(Debug)]
pub(crate) struct Ordered<K, V>(pub Vec<(K, V)>);

impl<K, V> Default for Ordered<K, V> {
    fn default() -> Self {
        Ordered(Vec::new())
    }
}

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Ordered<K, V> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<K, V>(std::marker::PhantomData<(K, V)>);
        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> serde::de::Visitor<'de> for Entries<K, V> {
            type Value = Ordered<K, V>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("names and what belongs to them")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Ordered(all))
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}
