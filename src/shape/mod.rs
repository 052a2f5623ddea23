//! What is recorded: the objects of AWS's and Kubernetes' answers, typed, under the API's own names.
//!
//! One declaration per object (the [`shapes!`] macro) gives the Rust struct, its JSON reading and the
//! description by which rules reach its fields.

pub mod ec2;
pub mod eks;
pub mod elb;
pub mod iam;
pub mod k8s;

use std::any::Any;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::snapshot::{Known, Missing};

/// A recorded string. Ids of AWS fit inline (24 bytes), so most strings cost no allocation.
pub type Str = compact_str::CompactString;

/// The type of a field, as rules see it.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    Bool,
    Int,
    Double,
    String,
    List(&'static Type),
    /// A map with string keys.
    Map(&'static Type),
    /// Another shape, by its schema.
    Object(fn() -> &'static Schema),
    /// Any JSON; rules cannot look inside.
    Any,
}

/// The name and fields of a shape.
#[derive(Debug)]
pub struct Schema {
    /// The API's name of the object, such as `Subnet`.
    pub name: &'static str,
    /// One sentence about it.
    pub doc: &'static str,
    /// Field name, its type, in the API's order.
    pub fields: &'static [(&'static str, Type)],
}

/// A look at one value inside a shape. `Null` is "the answer does not say".
#[derive(Clone, Copy)]
pub enum View<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Str(&'a str),
    List(&'a dyn Elements),
    Map(&'a dyn Entries),
    Object(&'a dyn Shape),
    /// A row of a table of the snapshot, see [`Link`].
    Row(Row),
    /// Only of derived shapes: what is not known, because of a read that is not there.
    Missing(&'a Missing),
}

/// A list that can be looked at.
pub trait Elements {
    fn len(&self) -> usize;
    fn element(&self, index: usize) -> View<'_>;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A map with string keys that can be looked at, in the order of its keys.
pub trait Entries {
    fn entry(&self, key: &str) -> Option<View<'_>>;
    fn keys(&self) -> Vec<&str>;
}

/// An object with named fields.
pub trait Shape: Any + Send + Sync + std::fmt::Debug {
    fn schema(&self) -> &'static Schema;
    /// The field of this name, or `None` when the shape has none such.
    fn field(&self, name: &str) -> Option<View<'_>>;
    fn as_any(&self) -> &dyn Any;
    fn eq_shape(&self, other: &dyn Shape) -> bool;
}

/// The schema of a shape, without a value of it.
pub trait Described: Shape {
    fn described() -> &'static Schema;
}

/// A value that a shape may hold.
pub trait Reflect {
    const TYPE: Type;
    fn view(&self) -> View<'_>;
    /// Gives back the room that a list had to grow into: of large clusters that is half of the memory.
    fn shrink(&mut self) {}
}

/// A row in one of the snapshot's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    pub table: crate::snapshot::TableId,
    pub index: u32,
}

/// A reference from a derived shape to a recorded object.
pub struct Link<T> {
    pub row: Row,
    of: std::marker::PhantomData<fn() -> T>,
}

impl<T> Link<T> {
    pub fn new(row: Row) -> Self {
        Link { row, of: std::marker::PhantomData }
    }
}
impl<T> Clone for Link<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Link<T> {}
impl<T> PartialEq for Link<T> {
    fn eq(&self, other: &Self) -> bool {
        self.row == other.row
    }
}
impl<T> std::fmt::Debug for Link<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.row.fmt(f)
    }
}
impl<T: Described> Reflect for Link<T> {
    const TYPE: Type = Type::Object(T::described);
    fn view(&self) -> View<'_> {
        View::Row(self.row)
    }
}

impl Reflect for Str {
    const TYPE: Type = Type::String;
    fn view(&self) -> View<'_> {
        if self.is_empty() { View::Null } else { View::Str(self) }
    }
}
impl Reflect for bool {
    const TYPE: Type = Type::Bool;
    fn view(&self) -> View<'_> {
        View::Bool(*self)
    }
}
impl Reflect for i64 {
    const TYPE: Type = Type::Int;
    fn view(&self) -> View<'_> {
        View::Int(*self)
    }
}
impl Reflect for f64 {
    const TYPE: Type = Type::Double;
    fn view(&self) -> View<'_> {
        View::Double(*self)
    }
}
impl<T: Reflect> Reflect for Option<T> {
    const TYPE: Type = T::TYPE;
    fn view(&self) -> View<'_> {
        self.as_ref().map_or(View::Null, T::view)
    }
    fn shrink(&mut self) {
        if let Some(value) = self {
            value.shrink();
        }
    }
}
impl<T: Reflect> Reflect for Known<T> {
    const TYPE: Type = T::TYPE;
    fn view(&self) -> View<'_> {
        self.as_ref().map_or_else(View::Missing, T::view)
    }
}
impl<T: Reflect> Reflect for Box<T> {
    const TYPE: Type = T::TYPE;
    fn view(&self) -> View<'_> {
        T::view(self)
    }
}
impl<T: Reflect> Reflect for Vec<T> {
    const TYPE: Type = Type::List(&T::TYPE);
    fn view(&self) -> View<'_> {
        View::List(self)
    }
    fn shrink(&mut self) {
        self.shrink_to_fit();
    }
}
impl<T: Reflect> Elements for Vec<T> {
    fn len(&self) -> usize {
        self.len()
    }
    fn element(&self, index: usize) -> View<'_> {
        self.get(index).map_or(View::Null, T::view)
    }
}
impl<T: Reflect> Reflect for BTreeMap<Str, T> {
    const TYPE: Type = Type::Map(&T::TYPE);
    fn view(&self) -> View<'_> {
        View::Map(self)
    }
}
impl<T: Reflect> Entries for BTreeMap<Str, T> {
    fn entry(&self, key: &str) -> Option<View<'_>> {
        self.get(key).map(|value| {
            // In a map, the key being there is what counts: an empty value is a value.
            match value.view() {
                View::Null if matches!(T::TYPE, Type::String) => View::Str(""),
                view => view,
            }
        })
    }
    fn keys(&self) -> Vec<&str> {
        self.keys().map(Str::as_str).collect()
    }
}
impl Reflect for serde_json::Value {
    const TYPE: Type = Type::Any;
    fn view(&self) -> View<'_> {
        View::Null
    }
}

/// A number or a string, read as a string (Kubernetes' `IntOrString`, quantities).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scalar(pub Str);

impl Scalar {
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn as_int(&self) -> Option<i64> {
        self.0.parse().ok()
    }
}
impl Reflect for Scalar {
    const TYPE: Type = Type::String;
    fn view(&self) -> View<'_> {
        self.0.view()
    }
}
impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl serde::de::Visitor<'_> for Any {
            type Value = Scalar;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number or a string")
            }
            fn visit_str<E>(self, v: &str) -> Result<Scalar, E> {
                Ok(Scalar(Str::new(v)))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Scalar, E> {
                Ok(Scalar(compact_str::format_compact!("{v}")))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Scalar, E> {
                Ok(Scalar(compact_str::format_compact!("{v}")))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Scalar, E> {
                Ok(Scalar(compact_str::format_compact!("{v}")))
            }
            fn visit_bool<E>(self, v: bool) -> Result<Scalar, E> {
                Ok(Scalar(compact_str::format_compact!("{v}")))
            }
            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar::default())
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Reads `null` as "not said".
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de> + Reflect,
{
    let mut value = Option::<T>::deserialize(deserializer)?.unwrap_or_default();
    value.shrink();
    Ok(value)
}

/// The name of a field as the API spells it (`r#type` is `type`).
pub(crate) const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

/// Declares shapes: struct, JSON reading (absent and `null` fields take their default) and description.
///
/// Conventions for fields: [`Str`] (empty = not said), `Option<bool>`, `Option<i64>`, `Vec<T>` (not said =
/// empty), `BTreeMap<Str, T>`, another shape, or `Option` of one where its absence means something.
macro_rules! shapes {
    ($( #[doc = $doc:literal] $(#[$meta:meta])* $name:ident { $( $(#[$fmeta:meta])* $field:ident : $ty:ty ),* $(,)? } )*) => { $(
        #[doc = $doc]
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
        #[serde(default)]
        #[allow(non_snake_case)]
        pub struct $name {
            $( $(#[$fmeta])* #[serde(deserialize_with = "crate::shape::nullable")] pub $field: $ty, )*
        }
        $crate::shape::describe!(#[doc = $doc] $name { $( $field: $ty ),* });
    )* };
}
pub(crate) use shapes;

/// The description of a struct, which makes it a shape.
macro_rules! describe {
    (#[doc = $doc:literal] $name:ident { $( $field:ident : $ty:ty ),* }) => {
        impl $crate::shape::Shape for $name {
            fn schema(&self) -> &'static $crate::shape::Schema {
                <$name as $crate::shape::Described>::described()
            }
            #[allow(unused_variables)]
            fn field(&self, name: &str) -> Option<$crate::shape::View<'_>> {
                $( if name == $crate::shape::plain(stringify!($field)) {
                    return Some($crate::shape::Reflect::view(&self.$field));
                } )*
                None
            }
            fn as_any(&self) -> &dyn std::any::Any {
                self
            }
            fn eq_shape(&self, other: &dyn $crate::shape::Shape) -> bool {
                other.as_any().downcast_ref::<$name>() == Some(self)
            }
        }
        impl $crate::shape::Described for $name {
            fn described() -> &'static $crate::shape::Schema {
                static SCHEMA: $crate::shape::Schema = $crate::shape::Schema {
                    name: stringify!($name),
                    doc: $doc,
                    fields: &[ $( ($crate::shape::plain(stringify!($field)), <$ty as $crate::shape::Reflect>::TYPE) ),* ],
                };
                &SCHEMA
            }
        }
        impl $crate::shape::Reflect for $name {
            const TYPE: $crate::shape::Type =
                $crate::shape::Type::Object(<$name as $crate::shape::Described>::described);
            fn view(&self) -> $crate::shape::View<'_> {
                $crate::shape::View::Object(self)
            }
        }
    };
}
pub(crate) use describe;

/// Declares shapes that eks-doctor derives (they are never read from JSON).
macro_rules! derived {
    ($( #[doc = $doc:literal] $name:ident { $( $(#[$fmeta:meta])* $field:ident : $ty:ty ),* $(,)? } )*) => { $(
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq)]
        #[allow(non_snake_case)]
        pub struct $name {
            $( $(#[$fmeta])* pub $field: $ty, )*
        }
        $crate::shape::describe!(#[doc = $doc] $name { $( $field: $ty ),* });
    )* };
}
#[allow(unused_imports)]
pub(crate) use derived;
