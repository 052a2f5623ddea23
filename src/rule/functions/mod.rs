//! What rules may ask: the functions on shapes, each with its types, its reads and a sentence.

mod cni;
mod common;
mod dns;
mod ip;
mod join;
mod load_balancer;

use std::sync::Arc;

use super::value::{Handle, This, Value};
use crate::cluster::Cluster;
use crate::shape::{Described, Shape, Str};
use crate::snapshot::{Known, Missing};

/// A type of an argument or result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ty {
    Bool,
    Int,
    Str,
    List(&'static Ty),
    /// A shape, by its name.
    Object(&'static str),
}

/// How a function is called.
pub type Call = Arc<dyn Fn(&Arc<Cluster>, &Handle, &[Value]) -> Known<Value> + Send + Sync>;

/// A function that rules may call on an object.
#[derive(Clone)]
pub struct Function {
    /// The shape on which it is called.
    pub receiver: &'static str,
    pub name: &'static str,
    /// Name and type of each argument.
    pub arguments: &'static [(&'static str, Ty)],
    pub returns: Ty,
    /// One sentence.
    pub doc: &'static str,
    /// Operations whose answers it needs.
    pub reads: &'static [&'static str],
    pub call: Call,
}

/// Declares a function on the shape `T`.
pub fn method<T: Described>(
    name: &'static str,
    arguments: &'static [(&'static str, Ty)],
    returns: Ty,
    reads: &'static [&'static str],
    doc: &'static str,
    call: impl Fn(&Arc<Cluster>, This<'_, T>, &[Value]) -> Known<Value> + Send + Sync + 'static,
) -> Function {
    Function {
        receiver: T::described().name,
        name,
        arguments,
        returns,
        doc,
        reads,
        call: Arc::new(move |cluster, handle, arguments| match This::<T>::of(handle) {
            Some(this) => call(cluster, this, arguments),
            None => Err(Missing { read: "expression".to_owned(), reason: format!("not a {}", T::described().name) }),
        }),
    }
}

/// The text of an argument.
pub fn text(arguments: &[Value], index: usize) -> Str {
    match arguments.get(index) {
        Some(Value::Str(text)) => text.clone(),
        _ => Str::default(),
    }
}

/// The number in an argument.
pub fn number(arguments: &[Value], index: usize) -> i64 {
    match arguments.get(index) {
        Some(Value::Int(number)) => *number,
        _ => 0,
    }
}

/// Derived objects, as rules match them.
fn listed<T: Shape>(known: &[Arc<T>]) -> Vec<Arc<dyn Shape>> {
    known.iter().map(|s| s.clone() as Arc<dyn Shape>).collect()
}

/// All functions there are.
pub fn all() -> Vec<Function> {
    [
        common::functions(),
        join::functions(),
        cni::functions(),
        ip::functions(),
        dns::functions(),
        load_balancer::functions(),
    ]
    .concat()
}

/// Objects that eks-doctor derives and a rule may `match`: a path, a plan, a demand.
pub struct Subject {
    pub schema: fn() -> &'static crate::shape::Schema,
    /// Operations whose answers it needs.
    pub reads: &'static [&'static str],
    pub list: fn(&Arc<Cluster>) -> Known<Vec<Arc<dyn crate::shape::Shape>>>,
}

impl Subject {
    pub fn name(&self) -> &'static str {
        (self.schema)().name
    }
}

/// All derived objects that a rule may match.
pub fn subjects() -> Vec<Subject> {
    let mut all = common::subjects();
    all.extend(join::subjects());
    all.extend(cni::subjects());
    all.extend(ip::subjects());
    all.extend(dns::subjects());
    all.extend(load_balancer::subjects());
    all
}
