//! Gives a type values that were written with another schema: fields and variants by name, numbers that widen.

use std::fmt;

use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, MapAccess, SeqAccess, Unexpected, VariantAccess,
    Visitor,
};

use super::format::{Body, Content, Field, Format, Leaf, Schema, Variant};

/// Where values come from: bytes, or made-up ones.
pub(super) trait Source {
    /// Gives the next value, which is of this kind.
    fn leaf<'de, V: Visitor<'de>>(&mut self, leaf: Leaf, visitor: V) -> Result<V::Value, Mismatch>;
    /// Whether there is a value.
    fn option(&mut self, place: &Format) -> Result<bool, Mismatch>;
    /// How many values, or entries, there are.
    fn length(&mut self, place: &Format) -> Result<usize, Mismatch>;
    /// Which variant there is.
    fn variant(&mut self, schema: &Schema, at: usize, variants: &[Variant]) -> Result<usize, Mismatch>;
    /// A variant was read to its end.
    fn leave(&mut self, at: usize);
}

/// Why a value can't be read, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// From the outermost on.
    pub(super) path: Vec<String>,
    pub(super) reason: String,
    /// It is the bytes that are wrong, not the types.
    pub(super) damaged: bool,
    /// A value was refused that another one might not be.
    pub(super) refused: bool,
}

impl Mismatch {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { path: Vec::new(), reason: reason.into(), damaged: false, refused: false }
    }

    pub(super) fn damaged(reason: impl Into<String>) -> Self {
        Self { damaged: true, ..Self::new(reason) }
    }

    fn within(mut self, name: &str) -> Self {
        self.path.insert(0, name.to_owned());
        self
    }

    /// The path as one text: `orders[].total`.
    pub(super) fn field(&self) -> String {
        self.path.iter().fold(String::new(), |path, part| match part.as_str() {
            "[]" => path + part,
            _ if path.is_empty() => part.clone(),
            _ => path + "." + part,
        })
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Mismatch {}

impl Error for Mismatch {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self { refused: true, ..Self::new(reason.to_string()) }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("it was written as {found} and is now {expected}"))
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new("it is new and has no default: make it an Option, or give it #[serde(default)]").within(name)
    }

    fn unknown_variant(name: &str, _: &'static [&'static str]) -> Self {
        Self::new(format!("the variant `{name}` is gone: snapshots may hold it"))
    }
}

/// Reads one value of a place in the schema.
pub(super) struct Reader<'s, S> {
    pub(super) schema: &'s Schema,
    pub(super) place: &'s Format,
    pub(super) source: &'s mut S,
}

impl<'s, S: Source> Reader<'s, S> {
    fn at<'p>(&'p mut self, place: &'p Format) -> Reader<'p, S> {
        Reader { schema: self.schema, place, source: self.source }
    }

    fn changed<T>(&self, now: &str) -> Result<T, Mismatch> {
        Err(Mismatch::new(format!("it was written as {} and is now {now}", self.schema.describe(self.place))))
    }

    fn fields(&self) -> Option<&'s [Field]> {
        match self.place {
            Format::Type(at) => match &self.schema.types[*at].body {
                Body::Struct(fields) => Some(fields),
                Body::Enum(_) => None,
            },
            _ => None,
        }
    }

    /// A number or the like, whose values are all values of what is asked for, too.
    fn leaf<'de, V: Visitor<'de>>(self, now: Leaf, visitor: V) -> Result<V::Value, Mismatch> {
        match self.place {
            Format::Leaf(was) if *was == now || widens(*was, now) => self.source.leaf(*was, visitor),
            _ => self.changed(&format!("{now:?}").to_lowercase()),
        }
    }

    /// Reads a value that nobody wants.
    fn skip(&mut self) -> Result<(), Mismatch> {
        let (schema, place) = (self.schema, self.place);
        match place {
            Format::Leaf(leaf) => self.source.leaf(*leaf, serde::de::IgnoredAny).map(drop),
            Format::Option(inner) => match self.source.option(place)? {
                true => self.at(inner).skip(),
                false => Ok(()),
            },
            Format::Seq(inner) => (0..self.source.length(place)?).try_for_each(|_| self.at(inner).skip()),
            Format::Map(parts) => (0..self.source.length(place)?).try_for_each(|_| {
                self.at(&parts.0).skip()?;
                self.at(&parts.1).skip()
            }),
            Format::Tuple(parts) => parts.iter().try_for_each(|part| self.at(part).skip()),
            Format::Type(at) => match &schema.types[*at].body {
                Body::Struct(fields) => fields.iter().try_for_each(|field| self.at(&field.format).skip()),
                Body::Enum(variants) => {
                    let number = self.source.variant(schema, *at, variants)?;
                    variants[number].content.formats().try_for_each(|format| self.at(format).skip())?;
                    self.source.leave(*at);
                    Ok(())
                }
            },
            Format::Opaque(name) => Err(Mismatch::new(format!("{name} can't be skipped"))),
        }
    }
}

/// Whether every value of the one is a value of the other.
fn widens(was: Leaf, now: Leaf) -> bool {
    use Leaf::{F32, F64, I8, I16, I32, I64, I128, U8, U16, U32, U64, U128};
    let order = |leaves: &[Leaf]| {
        let at = |leaf| leaves.iter().position(|known| *known == leaf);
        matches!((at(was), at(now)), (Some(was), Some(now)) if was < now)
    };
    order(&[U8, U16, U32, U64, U128])
        || order(&[I8, I16, I32, I64, I128])
        || order(&[U8, I16, I32, I64, I128])
        || order(&[U16, I32, I64, I128])
        || order(&[U32, I64, I128])
        || order(&[U64, I128])
        || order(&[F32, F64])
        || (matches!(was, U8 | I8 | U16 | I16) && matches!(now, F32 | F64))
        || (matches!(was, U32 | I32) && now == F64)
}

macro_rules! leaves {
    ($($ask:ident $leaf:ident,)*) => {$(
        fn $ask<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            self.leaf(Leaf::$leaf, visitor)
        }
    )*};
}

impl<'de, S: Source> Deserializer<'de> for Reader<'_, S> {
    type Error = Mismatch;

    leaves! {
        deserialize_bool Bool,
        deserialize_i8 I8,
        deserialize_i16 I16,
        deserialize_i32 I32,
        deserialize_i64 I64,
        deserialize_i128 I128,
        deserialize_u8 U8,
        deserialize_u16 U16,
        deserialize_u32 U32,
        deserialize_u64 U64,
        deserialize_u128 U128,
        deserialize_f32 F32,
        deserialize_f64 F64,
        deserialize_char Char,
        deserialize_str Str,
        deserialize_string Str,
        deserialize_unit Unit,
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        // The same bytes, as serde_bytes and Vec<u8> know.
        match self.place {
            Format::Seq(inner) if **inner == Format::Leaf(Leaf::U8) => self.source.leaf(Leaf::Bytes, visitor),
            _ => self.leaf(Leaf::Bytes, visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        self.leaf(Leaf::Unit, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.place {
            Format::Option(inner) => match self.source.option(self.place)? {
                true => visitor.visit_some(self.at(inner)),
                false => visitor.visit_none(),
            },
            // What was always there may be missing from now on.
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let bytes = Format::Leaf(Leaf::U8);
        match self.place {
            Format::Seq(inner) => {
                let left = self.source.length(self.place)?;
                visitor.visit_seq(Items { reader: self, places: Places::Same(inner, left) })
            }
            Format::Leaf(Leaf::Bytes) => {
                let left = self.source.length(self.place)?;
                let Reader { schema, source, .. } = self;
                let reader = Reader { schema, place: &bytes, source };
                visitor.visit_seq(Items { reader, places: Places::Same(&bytes, left) })
            }
            Format::Tuple(parts) => visitor.visit_seq(Items { reader: self, places: Places::Each(parts.iter()) }),
            _ => self.changed("a sequence"),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Mismatch> {
        match self.place {
            Format::Tuple(parts) if parts.len() == length => {
                visitor.visit_seq(Items { reader: self, places: Places::Each(parts.iter()) })
            }
            _ => self.changed(&format!("tuple of {length}")),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.place {
            Format::Map(parts) => {
                let left = self.source.length(self.place)?;
                visitor.visit_map(Entries { reader: self, parts, left })
            }
            _ => self.changed("a map"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.fields() {
            Some(fields) => visitor.visit_map(Fields { reader: self, fields: fields.iter(), value: None, names }),
            None => self.changed(&format!("struct {name}")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let Format::Type(at) = self.place else { return self.changed(&format!("enum {name}")) };
        let Body::Enum(variants) = &self.schema.types[*at].body else { return self.changed(&format!("enum {name}")) };
        let number = self.source.variant(self.schema, *at, variants)?;
        let variant = &variants[number];
        let Reader { schema, place, source } = self;
        let choice = Choice { reader: Reader { schema, place, source: &mut *source }, variant, number: number as u32 };
        let value = visitor.visit_enum(choice)?;
        source.leave(*at);
        Ok(value)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Mismatch> {
        Err(Mismatch::new("it asks the bytes what comes next"))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Mismatch> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

enum Places<'s> {
    Same(&'s Format, usize),
    Each(std::slice::Iter<'s, Format>),
}

struct Items<'s, S> {
    reader: Reader<'s, S>,
    places: Places<'s>,
}

impl<'de, S: Source> SeqAccess<'de> for Items<'_, S> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mismatch> {
        let place = match &mut self.places {
            Places::Same(_, 0) => return Ok(None),
            Places::Same(place, left) => {
                *left -= 1;
                place
            }
            Places::Each(places) => match places.next() {
                Some(place) => place,
                None => return Ok(None),
            },
        };
        seed.deserialize(self.reader.at(place)).map(Some).map_err(|error| error.within("[]"))
    }
}

struct Entries<'s, S> {
    reader: Reader<'s, S>,
    parts: &'s (Format, Format),
    left: usize,
}

impl<'de, S: Source> MapAccess<'de> for Entries<'_, S> {
    type Error = Mismatch;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mismatch> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(self.reader.at(&self.parts.0)).map(Some).map_err(|error| error.within("[]"))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Mismatch> {
        seed.deserialize(self.reader.at(&self.parts.1)).map_err(|error| error.within("[]"))
    }
}

/// Fields by name; those that are gone are skipped.
struct Fields<'s, S> {
    reader: Reader<'s, S>,
    fields: std::slice::Iter<'s, Field>,
    value: Option<&'s Field>,
    /// Those that the type has now.
    names: &'static [&'static str],
}

impl<'de, S: Source> MapAccess<'de> for Fields<'_, S> {
    type Error = Mismatch;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mismatch> {
        for field in self.fields.by_ref() {
            if self.names.contains(&field.name.as_str()) {
                self.value = Some(field);
                return seed.deserialize(StrDeserializer::<Mismatch>::new(&field.name)).map(Some);
            }
            self.reader.at(&field.format).skip().map_err(|error| error.within(&field.name))?;
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Mismatch> {
        let field = self.value.take().ok_or_else(|| Mismatch::new("a value was asked for before its name"))?;
        seed.deserialize(self.reader.at(&field.format)).map_err(|error| error.within(&field.name))
    }
}

struct Choice<'s, S> {
    reader: Reader<'s, S>,
    variant: &'s Variant,
    number: u32,
}

impl<'de, S: Source> EnumAccess<'de> for Choice<'_, S> {
    type Error = Mismatch;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Mismatch> {
        let value = if self.variant.name.starts_with('#') {
            seed.deserialize(U32Deserializer::<Mismatch>::new(self.number))?
        } else {
            seed.deserialize(StrDeserializer::<Mismatch>::new(&self.variant.name))?
        };
        Ok((value, self))
    }
}

impl<S: Source> Choice<'_, S> {
    fn changed<T>(&self, now: &str) -> Result<T, Mismatch> {
        let was = match &self.variant.content {
            Content::Unit => "nothing",
            Content::Newtype(_) => "one value",
            Content::Tuple(_) => "values by position",
            Content::Struct(_) => "values by name",
        };
        Err(Mismatch::new(format!("it held {was} and now holds {now}")).within(&self.variant.name))
    }
}

impl<'de, S: Source> VariantAccess<'de> for Choice<'_, S> {
    type Error = Mismatch;

    fn unit_variant(self) -> Result<(), Mismatch> {
        match &self.variant.content {
            Content::Unit => Ok(()),
            _ => self.changed("nothing"),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(mut self, seed: T) -> Result<T::Value, Mismatch> {
        match &self.variant.content {
            Content::Newtype(format) => {
                seed.deserialize(self.reader.at(format)).map_err(|error| error.within(&self.variant.name))
            }
            _ => self.changed("one value"),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.variant.content {
            Content::Tuple(parts) if parts.len() == length => visitor
                .visit_seq(Items { reader: self.reader, places: Places::Each(parts.iter()) })
                .map_err(|error| error.within(&self.variant.name)),
            _ => self.changed("values by position"),
        }
    }

    fn struct_variant<V: Visitor<'de>>(self, names: &'static [&'static str], visitor: V) -> Result<V::Value, Mismatch> {
        let name = &self.variant.name;
        match &self.variant.content {
            Content::Struct(fields) => visitor
                .visit_map(Fields { reader: self.reader, fields: fields.iter(), value: None, names })
                .map_err(|error| error.within(name)),
            Content::Tuple(parts) => visitor
                .visit_seq(Items { reader: self.reader, places: Places::Each(parts.iter()) })
                .map_err(|error| error.within(name)),
            _ => self.changed("values by name"),
        }
    }
}
