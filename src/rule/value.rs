//! Values that rules and their functions exchange, and handles on recorded and derived objects.

use std::sync::Arc;

use crate::cluster::Cluster;
use crate::diagnostic::Resource;
use crate::shape::{Described, Row, Shape, Str, View};
use crate::snapshot::{Object, Rec, Snapshot, Spot};

/// What a function gives back.
#[derive(Debug, Clone)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Str(Str),
    List(Vec<Value>),
    /// A recorded object.
    Row(Row),
    /// A value inside a recorded object.
    At(Spot),
    /// An object that was derived.
    Derived(Arc<dyn Shape>),
}

impl Value {
    /// A plain value as a rule file spells it; of objects nothing.
    pub fn shown(&self) -> String {
        match self {
            Value::Bool(v) => v.to_string(),
            Value::Int(v) => v.to_string(),
            Value::Str(v) => format!("{:?}", v.as_str()),
            _ => String::new(),
        }
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Value::Bool(v)
    }
}
impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Value::Int(v)
    }
}
impl From<usize> for Value {
    fn from(v: usize) -> Self {
        Value::Int(v as i64)
    }
}
impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Value::Str(Str::new(v))
    }
}
impl From<Str> for Value {
    fn from(v: Str) -> Self {
        Value::Str(v)
    }
}
impl From<String> for Value {
    fn from(v: String) -> Self {
        Value::Str(Str::from(v))
    }
}
impl From<Row> for Value {
    fn from(v: Row) -> Self {
        Value::Row(v)
    }
}
impl<T> From<Rec<'_, T>> for Value {
    fn from(v: Rec<'_, T>) -> Self {
        Value::Row(v.row)
    }
}
impl<T: Shape> From<Arc<T>> for Value {
    fn from(v: Arc<T>) -> Self {
        Value::Derived(v)
    }
}
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(v: Vec<T>) -> Self {
        Value::List(v.into_iter().map(Into::into).collect())
    }
}

/// Where a handle starts.
#[derive(Debug, Clone)]
pub enum Root {
    Row(Row),
    Derived(Arc<dyn Shape>),
}

/// One step from an object to a value inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Field(&'static str),
    Index(u32),
    Key(Str),
}

/// A shape somewhere in the snapshot or derived from it, held by its path.
#[derive(Clone)]
pub struct Handle {
    pub cluster: Arc<Cluster>,
    pub root: Root,
    pub path: Vec<Step>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}{:?}", self.root, self.path)
    }
}

impl Handle {
    pub fn new(cluster: Arc<Cluster>, root: Root) -> Handle {
        Handle { cluster, root, path: Vec::new() }
    }

    /// The object; `None` only if the path does not fit, which a checked rule cannot bring about.
    pub fn shape(&self) -> Option<&dyn Shape> {
        let mut view = View::Object(match &self.root {
            Root::Row(row) => self.cluster.snapshot.tables.shape(*row),
            Root::Derived(shape) => &**shape,
        });
        for step in &self.path {
            view = match (view, step) {
                (View::Object(o), Step::Field(name)) => o.field(name)?,
                (View::List(l), Step::Index(i)) => l.element(*i as usize),
                (View::Map(m), Step::Key(k)) => m.entry(k)?,
                _ => return None,
            };
        }
        match view {
            View::Object(o) => Some(o),
            _ => None,
        }
    }

    /// The handle on something inside.
    pub fn then(&self, step: Step) -> Handle {
        let mut next = self.clone();
        next.path.push(step);
        next
    }

    /// Where it is recorded; derived objects are nowhere.
    pub fn spot(&self) -> Option<Spot> {
        match self.root {
            Root::Row(row) => {
                let mut pointer = String::new();
                for step in &self.path {
                    pointer.push('/');
                    match step {
                        Step::Field(name) => pointer.push_str(name),
                        Step::Index(i) => pointer.push_str(&i.to_string()),
                        Step::Key(key) => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
                    }
                }
                Some(Spot { row, pointer })
            }
            Root::Derived(_) => None,
        }
    }

    pub fn row(&self) -> Option<Row> {
        match self.root {
            Root::Row(row) => Some(row),
            Root::Derived(_) => None,
        }
    }
}

/// The receiver of a method: the object and the way to it.
pub struct This<'a, T> {
    pub handle: &'a Handle,
    pub value: &'a T,
}

impl<T> std::ops::Deref for This<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value
    }
}

impl<'a, T: Object> This<'a, T> {
    /// As a record of its table.
    pub fn rec(&self) -> Option<Rec<'a, T>> {
        let row = self.handle.row().filter(|r| r.table == T::TABLE && self.handle.path.is_empty())?;
        Some(Rec { row, value: self.value })
    }
}

impl<'a, T: Described> This<'a, T> {
    pub fn of(handle: &'a Handle) -> Option<This<'a, T>> {
        let value = handle.shape()?.as_any().downcast_ref::<T>()?;
        Some(This { handle, value })
    }
}

/// The object in a row as a report names it.
pub fn resource(snapshot: &Snapshot, row: Row) -> Resource {
    let tables = &snapshot.tables;
    let shape = tables.shape(row);
    let text = |field: &str| match shape.field(field) {
        Some(View::Str(s)) if !s.is_empty() => Some(s.to_owned()),
        _ => None,
    };
    let kind = shape.schema().name;
    let (id, name) = match kind {
        "Cluster" => (text("name"), None),
        "Nodegroup" => (text("nodegroupName"), None),
        "FargateProfile" => (text("fargateProfileName"), None),
        "Addon" => (text("addonName"), None),
        "AccessEntry" => (text("principalArn"), None),
        "AutoScalingGroup" => (text("AutoScalingGroupName"), None),
        "LoadBalancer" => (text("LoadBalancerName"), None),
        "TargetGroup" => (text("TargetGroupName"), None),
        "Role" => (text("Arn"), text("RoleName")),
        "InstanceProfile" => (text("Arn"), text("InstanceProfileName")),
        "RolePolicy" => (text("RoleName").zip(text("PolicyName")).map(|(r, p)| format!("{r}/{p}")), None),
        "LaunchTemplateVersion" => (text("LaunchTemplateId"), text("LaunchTemplateName")),
        "SecurityGroup" => (text("GroupId"), text("GroupName")),
        "VpcAttribute" => (text("VpcId"), None),
        _ => (None, None),
    };
    let tagged = || {
        let tags = shape.field("Tags").or_else(|| shape.field("TagSet"))?;
        let View::List(tags) = tags else { return None };
        (0..tags.len()).find_map(|i| match tags.element(i) {
            View::Object(tag) => match (tag.field("Key"), tag.field("Value")) {
                (Some(View::Str("Name")), Some(View::Str(value))) => Some(value.to_owned()),
                _ => None,
            },
            _ => None,
        })
    };
    Resource { kind: kind.to_owned(), id: id.unwrap_or_else(|| tables.id(row).to_string()), name: name.or_else(tagged) }
}
