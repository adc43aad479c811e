//! What a type looks like in bytes.

use serde::{Deserialize, Serialize};

/// A type as postcard writes it. As text: compact JSON, the same for the same type always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Schema {
    /// The type itself.
    pub root: Format,
    /// Structs and enums in it, in the order in which they are met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<Named>,
}

/// One place in a type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A value or none.
    Option(Box<Format>),
    /// So many values as there are.
    Seq(Box<Format>),
    /// Keys with values.
    Map(Box<(Format, Format)>),
    /// Always that many values: tuples, arrays, tuple structs.
    Tuple(Vec<Format>),
    /// A struct or enum: its position in [`Schema::types`].
    Type(usize),
    /// A type that can't be looked into, by its name: only its own values can be read as it.
    Opaque(String),
    /// A number, text or the like.
    #[serde(untagged)]
    Leaf(Leaf),
}

/// What has no parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "named like the types of serde's data model")]
pub enum Leaf {
    Unit,
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Str,
    Bytes,
}

/// A struct or enum. Its name is for messages: structs of equal fields are equal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Named {
    /// As serde knows it.
    pub name: String,
    /// Its parts.
    pub body: Body,
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.body == other.body
    }
}

impl Eq for Named {}

/// See [`Named`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Body {
    /// Fields by name.
    Struct(Vec<Field>),
    /// Variants by name, in the order of their numbers.
    Enum(Vec<Variant>),
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub format: Format,
}

/// A variant of an enum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Its name; `#` and its number where serde does not tell the name.
    pub name: String,
    /// What it holds.
    pub content: Content,
}

/// What a variant holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Nothing.
    Unit,
    /// One value.
    Newtype(Format),
    /// Values by position.
    Tuple(Vec<Format>),
    /// Values by name.
    Struct(Vec<Field>),
}

impl Content {
    /// The types in it.
    pub(super) fn formats(&self) -> Box<dyn Iterator<Item = &Format> + '_> {
        match self {
            Self::Unit => Box::new(std::iter::empty()),
            Self::Newtype(format) => Box::new(std::iter::once(format)),
            Self::Tuple(formats) => Box::new(formats.iter()),
            Self::Struct(fields) => Box::new(fields.iter().map(|field| &field.format)),
        }
    }
}

impl Schema {
    /// The type by the name of which a value that can't be looked into is known.
    pub(super) fn opaque(type_name: &str) -> Self {
        Self { root: Format::Opaque(type_name.to_owned()), types: Vec::new() }
    }

    pub(super) fn to_text(&self) -> String {
        // Enums and structs of strings and numbers always become JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The schema of a text; `None` when it is none, or points outside of itself.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let schema: Self = serde_json::from_str(text).ok()?;
        let inside =
            |format: &Format| format.all(&|format| !matches!(format, Format::Type(at) if *at >= schema.types.len()));
        let types = schema.types.iter().all(|named| match &named.body {
            Body::Struct(fields) => fields.iter().all(|field| inside(&field.format)),
            Body::Enum(variants) => variants.iter().all(|variant| variant.content.formats().all(inside)),
        });
        (inside(&schema.root) && types).then_some(schema)
    }

    /// A place in words, for messages.
    pub(super) fn describe(&self, format: &Format) -> String {
        match format {
            Format::Leaf(leaf) => format!("{leaf:?}").to_lowercase(),
            Format::Option(inner) => format!("option of {}", self.describe(inner)),
            Format::Seq(inner) => format!("sequence of {}", self.describe(inner)),
            Format::Map(parts) => format!("map from {} to {}", self.describe(&parts.0), self.describe(&parts.1)),
            Format::Tuple(parts) => format!("tuple of {}", parts.len()),
            Format::Type(at) => self.types.get(*at).map_or_else(String::new, |named| {
                let kind = if matches!(named.body, Body::Struct(_)) { "struct" } else { "enum" };
                format!("{kind} {}", named.name)
            }),
            Format::Opaque(name) => name.clone(),
        }
    }
}

impl Format {
    /// Whether it holds for this and everything written within it.
    pub(super) fn all(&self, holds: &impl Fn(&Self) -> bool) -> bool {
        holds(self)
            && match self {
                Self::Leaf(_) | Self::Type(_) | Self::Opaque(_) => true,
                Self::Option(inner) | Self::Seq(inner) => inner.all(holds),
                Self::Map(parts) => parts.0.all(holds) && parts.1.all(holds),
                Self::Tuple(parts) => parts.iter().all(|part| part.all(holds)),
            }
    }
}
