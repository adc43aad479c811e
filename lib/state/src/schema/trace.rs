//! Finds out what a type looks like in bytes, from its `Deserialize` alone: it is led through made-up values until every
//! variant of every enum in it was seen.

use std::any::type_name;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::format::{Leaf, Schema};
use super::graph::{EnumNode, Graph, Id, Node, StructNode, VariantNode};
use super::samples;

/// Made-up values that are tried at most: each shows a variant, or that a sample is refused.
const PASSES_MAX: usize = 10_000;

/// Why a type has no schema.
#[derive(Debug)]
pub(super) enum Untraced {
    /// The format of state can't hold it at all.
    Unsupported(String),
    /// It refuses every made-up value.
    Opaque,
}

/// The schema of a type.
pub(super) fn trace<T: DeserializeOwned>() -> Result<Schema, Untraced> {
    let graph = RefCell::new(Graph::default());
    for _ in 0..PASSES_MAX {
        let root = Cell::new(None);
        {
            let mut graph = graph.borrow_mut();
            graph.entered.clear();
            graph.within.clear();
            graph.last_leaf = None;
            graph.progress = false;
        }
        let result = T::deserialize(Tracer { graph: &graph, slot: &root });
        let mut graph = graph.borrow_mut();
        match result {
            Ok(_) if graph.progress => {}
            Ok(_) => {
                let root = graph.noted(root.get());
                return graph.schema(root).ok_or(Untraced::Opaque);
            }
            Err(TraceError::Unsupported(what)) => return Err(Untraced::Unsupported(what)),
            Err(_) if graph.progress => {}
            // A made-up value was refused: most likely the last one.
            Err(_) => {
                let last = graph.last_leaf;
                match last.map(|id| &mut graph.nodes[id]) {
                    Some(Node::Leaf(leaf, sample)) if *sample + 1 < samples::count(*leaf) => *sample += 1,
                    _ => return Err(Untraced::Opaque),
                }
            }
        }
    }
    Err(Untraced::Opaque)
}

#[derive(Debug)]
pub(super) enum TraceError {
    Refused,
    Unsupported(String),
    /// A name given twice turned out to be this field's.
    Duplicate(&'static str),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for TraceError {}

impl Error for TraceError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Refused
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::Duplicate(field)
    }
}

type Result_<T> = Result<T, TraceError>;

/// Answers a type's questions with made-up values, and notes what it asked for.
#[derive(Clone, Copy)]
struct Tracer<'t> {
    graph: &'t RefCell<Graph>,
    /// Where the node of what is asked for is noted.
    slot: &'t Cell<Option<Id>>,
}

impl<'t> Tracer<'t> {
    fn node<V>(&self, kind: u8, make: impl FnOnce() -> Node) -> Id {
        let id = self.graph.borrow_mut().node(type_name::<V>(), kind, make);
        self.slot.set(Some(id));
        id
    }

    fn leaf<V>(&self, leaf: Leaf) -> usize {
        let id = self.node::<V>(leaf as u8, || Node::Leaf(leaf, 0));
        let mut graph = self.graph.borrow_mut();
        graph.last_leaf = Some(id);
        match &graph.nodes[id] {
            Node::Leaf(_, sample) => *sample,
            _ => 0,
        }
    }

    /// A part whose node is to be noted elsewhere.
    fn part<'p>(&self, slot: &'p Cell<Option<Id>>) -> Tracer<'p>
    where
        't: 'p,
    {
        Tracer { graph: self.graph, slot }
    }

    /// Values by position; returns them with what their nodes were.
    fn positions<'de, V: Visitor<'de>>(&self, visitor: V, length: usize) -> (Result_<V::Value>, Vec<Option<Id>>) {
        let mut parts = Vec::new();
        let value = visitor.visit_seq(Positions { tracer: *self, left: length, parts: &mut parts });
        (value, parts)
    }
}

struct Positions<'t, 'p> {
    tracer: Tracer<'t>,
    left: usize,
    parts: &'p mut Vec<Option<Id>>,
}

impl<'de> SeqAccess<'de> for Positions<'_, '_> {
    type Error = TraceError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result_<Option<S::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let slot = Cell::new(None);
        let value = seed.deserialize(self.tracer.part(&slot));
        self.parts.push(self.tracer.graph.borrow_mut().noted(slot.get()));
        value.map(Some)
    }
}

/// Entries of a map, or one name twice.
struct Entries<'t, 'p> {
    tracer: Tracer<'t>,
    names: std::vec::IntoIter<&'static str>,
    left: usize,
    parts: &'p mut (Option<Id>, Option<Id>),
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = TraceError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result_<Option<S::Value>> {
        if let Some(name) = self.names.next() {
            return seed.deserialize(StrDeserializer::new(name)).map(Some);
        }
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let slot = Cell::new(None);
        let key = seed.deserialize(self.tracer.part(&slot));
        self.parts.0 = self.tracer.graph.borrow_mut().noted(slot.get());
        key.map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result_<S::Value> {
        let slot = Cell::new(None);
        let value = seed.deserialize(self.tracer.part(&slot));
        self.parts.1 = self.tracer.graph.borrow_mut().noted(slot.get());
        value
    }
}

macro_rules! leaves {
    ($($ask:ident $visit:ident $leaf:ident $samples:ident,)*) => {$(
        fn $ask<V: Visitor<'de>>(self, visitor: V) -> Result_<V::Value> {
            let sample = self.leaf::<V>(Leaf::$leaf);
            visitor.$visit(samples::$samples(sample) as _)
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = TraceError;

    leaves! {
        deserialize_i8 visit_i8 I8 number,
        deserialize_i16 visit_i16 I16 number,
        deserialize_i32 visit_i32 I32 number,
        deserialize_i64 visit_i64 I64 number,
        deserialize_i128 visit_i128 I128 number,
        deserialize_u8 visit_u8 U8 number,
        deserialize_u16 visit_u16 U16 number,
        deserialize_u32 visit_u32 U32 number,
        deserialize_u64 visit_u64 U64 number,
        deserialize_u128 visit_u128 U128 number,
        deserialize_f32 visit_f32 F32 number,
        deserialize_f64 visit_f64 F64 number,
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result_<V::Value> {
        let sample = self.leaf::<V>(Leaf::Bool);
        visitor.visit_bool(sample == 1)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result_<V::Value> {
        let sample = self.leaf::<V>(Leaf::Char);
        visitor.visit_char(samples::character(sample))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result_<V::Value> {
        let sample = self.leaf::<V>(Leaf::Str);
        visitor.visit_borrowed_str(samples::TEXTS.get(sample).copied().unwrap_or_default())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result_<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result_<V::Value> {
        let sample = self.leaf::<V>(Leaf::Bytes);
        visitor.visit_borrowed_bytes(samples::bytes(sample))
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result_<V::Value> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result_<V::Value> {
        self.leaf::<V>(Leaf::Unit);
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result_<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result_<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result_<V::Value> {
        let id = self.node::<V>(100, || Node::Option(None));
        if !self.graph.borrow_mut().enter(id) {
            return visitor.visit_none();
        }
        let slot = Cell::new(None);
        let value = visitor.visit_some(self.part(&slot));
        let mut graph = self.graph.borrow_mut();
        graph.leave();
        let part = graph.noted(slot.get());
        if value.is_ok()
            && let Node::Option(inner) = &mut graph.nodes[id]
        {
            *inner = part;
        }
        value
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result_<V::Value> {
        let id = self.node::<V>(101, || Node::Seq(None));
        let length = usize::from(self.graph.borrow_mut().enter(id));
        let (value, parts) = self.positions(visitor, length);
        let mut graph = self.graph.borrow_mut();
        if length > 0 {
            graph.leave();
        }
        if value.is_ok()
            && let Node::Seq(inner) = &mut graph.nodes[id]
        {
            *inner = parts.first().copied().flatten().or(*inner);
        }
        value
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result_<V::Value> {
        let id = self.node::<V>(102, || Node::Tuple(vec![None; length]));
        let (value, parts) = self.positions(visitor, length);
        if value.is_ok()
            && let Node::Tuple(items) = &mut self.graph.borrow_mut().nodes[id]
        {
            items.iter_mut().zip(parts).for_each(|(item, part)| *item = part.or(*item));
        }
        value
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result_<V::Value> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result_<V::Value> {
        let id = self.node::<V>(103, || Node::Map(None, None));
        let left = usize::from(self.graph.borrow_mut().enter(id));
        let mut parts = (None, None);
        let map = visitor.visit_map(Entries { tracer: self, names: Vec::new().into_iter(), left, parts: &mut parts });
        let mut graph = self.graph.borrow_mut();
        if left > 0 {
            graph.leave();
        }
        if map.is_ok()
            && let Node::Map(key, value) = &mut graph.nodes[id]
        {
            *key = parts.0.or(*key);
            *value = parts.1.or(*value);
        }
        map
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result_<V::Value> {
        let make = || StructNode { name, names, fields: Vec::new(), real: Vec::new(), asked: 0, has_aliases: false };
        let id = self.node::<V>(104, || Node::Struct(make()));
        let unsure = match &mut self.graph.borrow_mut().nodes[id] {
            Node::Struct(node) if node.has_aliases && node.asked < names.len() => {
                node.asked += 1;
                Some(names[node.asked - 1])
            }
            _ => None,
        };
        if let Some(unsure) = unsure {
            return Err(self.find_real_name(id, unsure, visitor));
        }
        let (value, parts) = self.positions(visitor, names.len());
        let value = value?;
        let mut graph = self.graph.borrow_mut();
        if let Node::Struct(node) = &mut graph.nodes[id] {
            node.fields.resize(parts.len(), None);
            let noticed = parts.len() < names.len() && !node.has_aliases;
            node.has_aliases |= noticed;
            node.fields.iter_mut().zip(parts).for_each(|(field, part)| *field = part.or(*field));
            graph.progress |= noticed;
        }
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result_<V::Value> {
        let make = || EnumNode { name, names, variants: vec![VariantNode::Unseen; names.len()], completed: Vec::new() };
        let id = self.node::<V>(105, || Node::Enum(make()));
        let number = self.graph.borrow_mut().choose(id).ok_or(TraceError::Refused)?;
        let mut content = VariantNode::Unseen;
        let value = visitor.visit_enum(Choice { tracer: self, number: number as u32, content: &mut content });
        let mut graph = self.graph.borrow_mut();
        graph.leave();
        if let Node::Enum(node) = &mut graph.nodes[id] {
            let known = &mut node.variants[number];
            let is_new = matches!(known, VariantNode::Unseen);
            let is_missing = matches!(content, VariantNode::Missing);
            // One that was looked into before a deeper one was known is known better now.
            if value.is_ok() || is_missing {
                *known = content;
            }
            if value.is_ok() && !node.completed.contains(&number) {
                node.completed.push(number);
            }
            if is_new && (value.is_ok() || is_missing) {
                graph.learned();
            }
        }
        value
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result_<V::Value> {
        Err(TraceError::Unsupported("it asks the bytes what comes next".to_owned()))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result_<V::Value> {
        self.deserialize_any(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result_<V::Value> {
        self.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl Tracer<'_> {
    /// Which field a name, or alias, is of: the error that comes of giving it twice tells. There is no value in this pass.
    fn find_real_name<'de, V: Visitor<'de>>(&self, id: Id, name: &'static str, visitor: V) -> TraceError {
        let mut parts = (None, None);
        let names = vec![name, name].into_iter();
        let refused = visitor.visit_map(Entries { tracer: *self, names, left: 0, parts: &mut parts }).err();
        let mut graph = self.graph.borrow_mut();
        graph.progress = true;
        if let (Some(TraceError::Duplicate(real)), Node::Struct(node)) = (&refused, &mut graph.nodes[id])
            && !node.real.contains(real)
        {
            node.real.push(real);
        }
        TraceError::Refused
    }
}

/// One variant of an enum.
struct Choice<'t, 'c> {
    tracer: Tracer<'t>,
    number: u32,
    content: &'c mut VariantNode,
}

impl<'de, 't, 'c> EnumAccess<'de> for Choice<'t, 'c> {
    type Error = TraceError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result_<(S::Value, Self)> {
        let number: U32Deserializer<TraceError> = self.number.into_deserializer();
        match seed.deserialize(number) {
            Ok(value) => Ok((value, self)),
            Err(error) => {
                *self.content = VariantNode::Missing;
                Err(error)
            }
        }
    }
}

impl<'de> VariantAccess<'de> for Choice<'_, '_> {
    type Error = TraceError;

    fn unit_variant(self) -> Result_<()> {
        *self.content = VariantNode::Unit;
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result_<S::Value> {
        let slot = Cell::new(None);
        let value = seed.deserialize(self.tracer.part(&slot));
        *self.content = VariantNode::Newtype(self.tracer.graph.borrow_mut().noted(slot.get()));
        value
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result_<V::Value> {
        let (value, parts) = self.tracer.positions(visitor, length);
        *self.content = VariantNode::Tuple(parts);
        value
    }

    fn struct_variant<V: Visitor<'de>>(self, names: &'static [&'static str], visitor: V) -> Result_<V::Value> {
        let (value, parts) = self.tracer.positions(visitor, names.len());
        *self.content = VariantNode::Struct(names, parts);
        value
    }
}
