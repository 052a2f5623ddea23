//! Shapes and answers as the engine's types and values, and back.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use cel_core::{
    CelType, EvalError, MapKey, MessageValue, ProtoRegistry, ProtoTypeResolver, ResolvedProtoType, StructFieldValue,
    Value as Cel,
};

use super::rewrite::PRESENCE;
use crate::cluster::Cluster;
use crate::rule::functions::Ty;
use crate::rule::value::{Handle, Root, Step, Value};
use crate::shape::{Schema, Str, Type, View};
use crate::snapshot::Missing;

/// The shapes by name, as the engine's type registry.
#[derive(Debug)]
pub(super) struct Shapes(pub BTreeMap<&'static str, &'static Schema>);

fn cel_type(ty: &Type) -> CelType {
    match ty {
        Type::Bool => CelType::Bool,
        Type::Int => CelType::Int,
        Type::Double => CelType::Double,
        Type::String => CelType::String,
        Type::List(of) => CelType::list(cel_type(of)),
        Type::Map(of) => CelType::map(CelType::String, cel_type(of)),
        Type::Object(schema) => CelType::message(schema().name),
        Type::Any => CelType::Dyn,
    }
}

pub(super) fn cel_ty(ty: &Ty) -> CelType {
    match ty {
        Ty::Bool => CelType::Bool,
        Ty::Int => CelType::Int,
        Ty::Str => CelType::String,
        Ty::List(of) => CelType::list(cel_ty(of)),
        Ty::Object(name) => CelType::message(name),
    }
}

impl ProtoTypeResolver for Shapes {
    fn get_field_type(&self, message: &str, field: &str) -> Option<CelType> {
        let schema = self.0.get(message)?;
        schema.fields.iter().find(|(name, _)| *name == field).map(|(_, ty)| cel_type(ty))
    }
    fn has_message(&self, message: &str) -> bool {
        self.0.contains_key(message)
    }
    fn is_extension(&self, _: &str, _: &str) -> bool {
        false
    }
    fn get_enum_value(&self, _: &str, _: &str) -> Option<i32> {
        None
    }
    fn resolve_qualified(&self, _: &[&str], _: &str) -> Option<ResolvedProtoType> {
        None
    }
    fn resolve_message_name(&self, _: &str, _: &str) -> Option<String> {
        None
    }
    fn message_field_names(&self, message: &str) -> Option<Vec<String>> {
        Some(self.0.get(message)?.fields.iter().map(|(name, _)| (*name).to_owned()).collect())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl ProtoRegistry for Shapes {
    fn construct_message(&self, _: &str, _: &[StructFieldValue], _: bool) -> Cel {
        Cel::error(EvalError::internal("rules cannot make objects"))
    }
    fn message_field_access(&self, msg: &dyn MessageValue, field: &str, _: bool, _: bool) -> Cel {
        if let Some(field) = field.strip_prefix(PRESENCE) {
            return self.message_has_field(msg, field);
        }
        let Some(handle) = msg.as_any().downcast_ref::<Handle>() else {
            return Cel::error(EvalError::field_not_found(field));
        };
        let Some(shape) = handle.shape() else { return Cel::error(EvalError::field_not_found(field)) };
        let Some((name, ty)) = shape.schema().fields.iter().find(|(name, _)| *name == field) else {
            return Cel::error(EvalError::field_not_found(field));
        };
        match shape.field(name) {
            None | Some(View::Null) => match ty {
                Type::Any => Cel::Null,
                _ => missing(&Missing {
                    read: handle.row().map_or("derived", |r| r.table.info().read).to_owned(),
                    reason: format!("the answer has no {}.{name}", shape.schema().name),
                }),
            },
            Some(view) => lift(handle, view, &[Step::Field(name)]),
        }
    }
    fn message_has_field(&self, msg: &dyn MessageValue, field: &str) -> Cel {
        let view = msg.as_any().downcast_ref::<Handle>().and_then(Handle::shape).and_then(|s| s.field(field));
        if let Some(View::Missing(what)) = view {
            return missing(what);
        }
        Cel::Bool(match view {
            None | Some(View::Null) => false,
            Some(View::List(l)) => !l.is_empty(),
            Some(View::Map(m)) => !m.keys().is_empty(),
            Some(_) => true,
        })
    }
    fn get_extension_value(&self, _: &dyn MessageValue, _: &str, _: bool, _: bool) -> Option<Cel> {
        None
    }
    fn has_extension(&self, _: &dyn MessageValue, _: &str) -> Option<bool> {
        None
    }
}

impl MessageValue for Handle {
    fn type_name(&self) -> &str {
        self.shape().map_or("unknown", |s| s.schema().name)
    }
    fn eq_message(&self, other: &dyn MessageValue) -> bool {
        let Some(other) = other.as_any().downcast_ref::<Handle>() else { return false };
        match (&self.root, &other.root) {
            (Root::Row(a), Root::Row(b)) if self.path.is_empty() && other.path.is_empty() => a == b,
            _ => match (self.shape(), other.shape()) {
                (Some(a), Some(b)) => a.eq_shape(b),
                _ => false,
            },
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn clone_boxed(&self) -> Box<dyn MessageValue> {
        Box::new(self.clone())
    }
}

/// The separator of the parts of a [`Missing`] in the engine's error text.
pub(super) const SEPARATOR: char = '\u{1f}';

pub(super) fn missing(missing: &Missing) -> Cel {
    Cel::error(EvalError::internal(format!("{}{SEPARATOR}{}", missing.read, missing.reason)))
}

fn lift(handle: &Handle, view: View<'_>, steps: &[Step]) -> Cel {
    let deeper = |step: Step| {
        let mut all = steps.to_vec();
        all.push(step);
        all
    };
    match view {
        View::Null => Cel::Null,
        View::Missing(what) => missing(what),
        View::Bool(v) => Cel::Bool(v),
        View::Int(v) => Cel::Int(v),
        View::Double(v) => Cel::Double(v),
        View::Str(v) => Cel::String(Arc::from(v)),
        View::List(list) => {
            let items: Vec<Cel> =
                (0..list.len()).map(|i| lift(handle, list.element(i), &deeper(Step::Index(i as u32)))).collect();
            Cel::List(Arc::from(items))
        }
        View::Map(map) => Cel::map(map.keys().into_iter().filter_map(|key| {
            let value = lift(handle, map.entry(key)?, &deeper(Step::Key(Str::new(key))));
            Some((MapKey::String(Arc::from(key)), value))
        })),
        View::Object(_) => {
            let mut inner = handle.clone();
            inner.path.extend_from_slice(steps);
            Cel::Message(Box::new(inner))
        }
        View::Row(row) => Cel::Message(Box::new(Handle::new(handle.cluster.clone(), Root::Row(row)))),
    }
}

pub(super) fn to_cel(cluster: &Arc<Cluster>, value: Value) -> Cel {
    match value {
        Value::Bool(v) => Cel::Bool(v),
        Value::Int(v) => Cel::Int(v),
        Value::Str(v) => Cel::String(Arc::from(v.as_str())),
        Value::List(items) => Cel::List(items.into_iter().map(|v| to_cel(cluster, v)).collect::<Vec<_>>().into()),
        Value::Row(row) => Cel::Message(Box::new(Handle::new(cluster.clone(), Root::Row(row)))),
        Value::Derived(shape) => Cel::Message(Box::new(Handle::new(cluster.clone(), Root::Derived(shape)))),
        Value::At(spot) => match at(cluster, &spot) {
            Some(handle) => Cel::Message(Box::new(handle)),
            None => Cel::error(EvalError::internal(format!("nothing at {}", spot.pointer))),
        },
    }
}

/// The handle on a spot.
fn at(cluster: &Arc<Cluster>, spot: &crate::snapshot::Spot) -> Option<Handle> {
    let mut handle = Handle::new(cluster.clone(), Root::Row(spot.row));
    let mut view = View::Object(cluster.snapshot.tables.shape(spot.row));
    for part in spot.pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let (step, next) = match view {
            View::Object(o) => {
                let (name, _) = o.schema().fields.iter().find(|(name, _)| *name == part)?;
                (Step::Field(name), o.field(name)?)
            }
            View::List(l) => {
                let i: u32 = part.parse().ok()?;
                (Step::Index(i), l.element(i as usize))
            }
            View::Map(m) => (Step::Key(Str::new(&part)), m.entry(&part)?),
            _ => return None,
        };
        handle.path.push(step);
        view = next;
    }
    Some(handle)
}

pub(super) fn from_cel(value: &Cel) -> Option<Value> {
    Some(match value {
        Cel::Bool(v) => Value::Bool(*v),
        Cel::Int(v) => Value::Int(*v),
        Cel::String(v) => Value::Str(Str::new(v)),
        Cel::List(items) => Value::List(items.iter().map(from_cel).collect::<Option<_>>()?),
        Cel::Message(m) => {
            let handle = m.as_any().downcast_ref::<Handle>()?;
            match (&handle.root, handle.path.is_empty()) {
                (Root::Row(row), true) => Value::Row(*row),
                (Root::Derived(shape), true) => Value::Derived(shape.clone()),
                _ => Value::At(handle.spot()?),
            }
        }
        _ => return None,
    })
}
