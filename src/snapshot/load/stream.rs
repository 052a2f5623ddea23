//! Reading a document in one go, typed while it streams.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Kinded, Seen, by_key, by_kind};
use crate::shape::ec2::Reservation;
use crate::snapshot::{Element, Object, Place, Source, Table, TableId, Tables};

/// Reads a list under a key into its table.
pub fn list<'de, T: Object + serde::Deserialize<'de>, A: MapAccess<'de>>(
    table: &mut Table<T>,
    key: &'static str,
    map: &mut A,
    document: u32,
) -> Result<(), A::Error> {
    struct Rows<'a, T>(&'a mut Table<T>, &'static str, u32);
    impl<'de, T: Object + serde::Deserialize<'de>> DeserializeSeed<'de> for Rows<'_, T> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    impl<'de, T: Object + serde::Deserialize<'de>> Visitor<'de> for Rows<'_, T> {
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

/// The table of a list's first item.
pub(super) fn first_kind(text: &str) -> Option<TableId> {
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

/// The top level of a document.
pub(super) struct Top<'a> {
    pub tables: &'a mut Tables,
    pub document: u32,
    pub seen: &'a mut Seen,
    pub guess: Option<TableId>,
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

pub(super) struct OneValue<'a> {
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
