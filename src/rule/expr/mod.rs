//! Expressions of rules: parsed and type-checked when they load, evaluated with three outcomes.
//! Nothing outside of this folder names the CEL engine.

mod language;
mod rewrite;
mod values;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use cel_core::{Activation, Program, Value as Cel};

use super::file::{Parameter, Rule};
use super::value::{Handle, Root};
use crate::cluster::Cluster;
use crate::snapshot::Missing;
pub use language::{Language, Scope};
use values::{SEPARATOR, missing, to_cel};

/// A mistake in an expression: what, and where in its text.
#[derive(Debug, Clone, PartialEq)]
pub struct ExprError {
    pub message: String,
    pub span: Range<usize>,
    pub help: Option<String>,
}

/// A checked expression.
pub struct Expr {
    program: Program,
    /// Its type, as people read it (`bool`, `list(Subnet)`).
    pub ty: String,
    /// Reads of the functions that it calls.
    pub reads: BTreeSet<&'static str>,
    /// For a path that ends in a scalar field: the object and the field.
    last_field: Option<(Box<Expr>, String)>,
}

impl std::fmt::Debug for Expr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.program.ast().source())
    }
}

/// The variables of one evaluation.
pub struct Bindings<'a> {
    pub cluster: &'a Arc<Cluster>,
    pub subject_name: &'a str,
    pub subject: Handle,
    parameters: &'a [Parameter],
    /// Named expressions, evaluated when first asked for.
    lets: &'a [(String, Expr)],
    cache: Vec<OnceLock<Cel>>,
}

impl<'a> Bindings<'a> {
    pub fn new(cluster: &'a Arc<Cluster>, rule: &'a Rule, subject: Handle) -> Self {
        let cache = rule.lets.iter().map(|_| OnceLock::new()).collect();
        let Rule { subject: subject_name, parameters, lets, .. } = rule;
        Bindings { cluster, subject_name, subject, parameters, lets, cache }
    }
}

impl Activation for Bindings<'_> {
    fn resolve(&self, name: &str) -> Option<Cel> {
        if name == self.subject_name {
            return Some(Cel::Message(Box::new(self.subject.clone())));
        }
        if name == "cluster" {
            return Some(match self.cluster.row {
                Some(row) => Cel::Message(Box::new(Handle::new(self.cluster.clone(), Root::Row(row)))),
                None => missing(&self.cluster.snapshot.missing("eks:DescribeCluster", None)),
            });
        }
        if let Some(parameter) = self.parameters.iter().find(|p| p.name == name) {
            return Some(to_cel(self.cluster, parameter.value.clone()));
        }
        let i = self.lets.iter().position(|(n, _)| n == name)?;
        if let Some(value) = self.cache[i].get() {
            return Some(value.clone());
        }
        let value = self.lets[i].1.program.eval(self);
        Some(self.cache[i].get_or_init(|| value).clone())
    }
}

/// What came of an evaluation.
pub type Evaluated<T> = Result<T, Missing>;

impl Expr {
    fn eval(&self, bindings: &Bindings<'_>) -> Evaluated<Cel> {
        match self.program.eval(bindings) {
            Cel::Error(error) => Err(match error.message.split_once(SEPARATOR) {
                Some((read, reason)) => Missing { read: read.to_owned(), reason: reason.to_owned() },
                None => Missing { read: "expression".to_owned(), reason: format!("{} in `{:?}`", error.message, self) },
            }),
            value => Ok(value),
        }
    }

    /// As a condition.
    pub fn bool(&self, bindings: &Bindings<'_>) -> Evaluated<bool> {
        Ok(matches!(self.eval(bindings)?, Cel::Bool(true)))
    }

    /// As text: ids of objects, lists with commas.
    pub fn text(&self, bindings: &Bindings<'_>) -> Evaluated<String> {
        Ok(display(&self.eval(bindings)?))
    }

    /// As lines of text, one for each element of a list.
    pub fn texts(&self, bindings: &Bindings<'_>) -> Evaluated<Vec<String>> {
        Ok(match self.eval(bindings)? {
            Cel::List(items) => items.iter().map(display).collect(),
            other => vec![display(&other)],
        })
    }

    /// As objects: one, or a list of them.
    pub fn objects(&self, bindings: &Bindings<'_>) -> Evaluated<Vec<Handle>> {
        fn collect(value: &Cel, into: &mut Vec<Handle>) {
            match value {
                Cel::Message(m) => into.extend(m.as_any().downcast_ref::<Handle>().cloned()),
                Cel::List(items) => items.iter().for_each(|i| collect(i, into)),
                _ => {}
            }
        }
        let mut handles = Vec::new();
        collect(&self.eval(bindings)?, &mut handles);
        Ok(handles)
    }

    /// As places in the snapshot: of the objects, or of the scalar at the end of a path.
    pub fn places(&self, bindings: &Bindings<'_>) -> Evaluated<Vec<crate::snapshot::Spot>> {
        if let Some((object, field)) = &self.last_field {
            // A field of any type may hold an object, which has a place of its own.
            if self.ty == "dyn" {
                let spots: Vec<_> = self.objects(bindings)?.iter().filter_map(Handle::spot).collect();
                if !spots.is_empty() {
                    return Ok(spots);
                }
            }
            let handles = object.objects(bindings)?;
            return Ok(handles
                .iter()
                .filter_map(|h| {
                    let mut spot = h.spot()?;
                    spot.pointer = format!("{}/{field}", spot.pointer);
                    Some(spot)
                })
                .collect());
        }
        Ok(self.objects(bindings)?.iter().filter_map(Handle::spot).collect())
    }
}

fn display(value: &Cel) -> String {
    match value {
        Cel::String(s) => s.to_string(),
        Cel::Int(i) => i.to_string(),
        Cel::UInt(i) => i.to_string(),
        Cel::Double(d) => d.to_string(),
        Cel::Bool(b) => b.to_string(),
        Cel::List(items) => items.iter().map(display).collect::<Vec<_>>().join(", "),
        Cel::Message(m) => match m.as_any().downcast_ref::<Handle>() {
            Some(handle) => match (&handle.root, handle.path.is_empty()) {
                (Root::Row(row), true) => super::value::resource(&handle.cluster.snapshot, *row).id,
                _ => m.type_name().to_owned(),
            },
            None => m.type_name().to_owned(),
        },
        other => format!("{other:?}"),
    }
}
