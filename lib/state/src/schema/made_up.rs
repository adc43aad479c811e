//! Made-up values of a schema, until every variant of every enum in it was seen.

use std::collections::{HashMap, HashSet};

use serde::de::Visitor;

use super::format::{Body, Format, Leaf, Schema, Variant};
use super::read::{Mismatch, Source};
use super::samples;

/// What was made up so far.
#[derive(Default)]
pub(super) struct MadeUp {
    /// Variants that were read to their end, or are gone.
    seen: HashSet<(usize, usize)>,
    within: Vec<(usize, usize)>,
    entered: HashSet<*const Format>,
    /// Which sample is used for the leaves of this pass.
    samples: HashMap<usize, usize>,
    leaves: Vec<Leaf>,
    /// Something new was seen in this pass.
    progress: bool,
}

impl MadeUp {
    /// Begins another value.
    pub(super) fn begin(&mut self) {
        self.within.clear();
        self.entered.clear();
        self.leaves.clear();
        self.progress = false;
    }

    /// Whether the last value showed something new.
    pub(super) fn progressed(&mut self) -> bool {
        self.samples.clear();
        self.progress
    }

    /// After a value was refused: changes its last leaf. False when there is no other sample for it.
    pub(super) fn change_last(&mut self) -> bool {
        let Some(last) = self.leaves.len().checked_sub(1) else { return false };
        let sample = self.samples.entry(last).or_default();
        *sample += 1;
        *sample < samples::count(self.leaves[last])
    }

    fn enter(&mut self, place: &Format) -> bool {
        self.entered.insert(std::ptr::from_ref(place))
    }

    /// Whether a variant that was not seen yet can be reached.
    fn leads_to_unseen(&self, schema: &Schema, formats: Vec<&Format>) -> bool {
        let mut known = HashSet::new();
        let mut open = formats;
        while let Some(format) = open.pop() {
            match format {
                Format::Leaf(_) | Format::Opaque(_) => {}
                Format::Option(inner) | Format::Seq(inner) => open.push(inner),
                Format::Map(parts) => open.extend([&parts.0, &parts.1]),
                Format::Tuple(parts) => open.extend(parts),
                Format::Type(at) => {
                    if !known.insert(*at) {
                        continue;
                    }
                    match &schema.types[*at].body {
                        Body::Struct(fields) => open.extend(fields.iter().map(|field| &field.format)),
                        Body::Enum(variants) => {
                            if (0..variants.len()).any(|number| !self.seen.contains(&(*at, number))) {
                                return true;
                            }
                            open.extend(variants.iter().flat_map(|variant| variant.content.formats()));
                        }
                    }
                }
            }
        }
        false
    }
}

/// How deep the smallest value is; `None` when there is none.
fn depth(known: &[Option<usize>], format: &Format) -> Option<usize> {
    match format {
        Format::Leaf(_) | Format::Opaque(_) | Format::Option(_) | Format::Seq(_) | Format::Map(_) => Some(0),
        Format::Tuple(parts) => deepest(parts.iter().map(|part| depth(known, part))),
        Format::Type(at) => known[*at],
    }
}

fn deepest(mut depths: impl Iterator<Item = Option<usize>>) -> Option<usize> {
    depths.try_fold(0, |deepest, depth| Some(deepest.max(depth?)))
}

/// The variant with the smallest value.
fn smallest(schema: &Schema, variants: &[Variant]) -> usize {
    let mut known = vec![None; schema.types.len()];
    for _ in 0..schema.types.len() {
        for (at, named) in schema.types.iter().enumerate() {
            let content = |variant: &Variant| deepest(variant.content.formats().map(|f| depth(&known, f)));
            let found = match &named.body {
                Body::Struct(fields) => deepest(fields.iter().map(|field| depth(&known, &field.format))),
                Body::Enum(variants) => variants.iter().filter_map(content).min(),
            };
            known[at] = known[at].or(found.map(|depth| depth + 1));
        }
    }
    let content = |variant: &Variant| deepest(variant.content.formats().map(|f| depth(&known, f)));
    let depths = variants.iter().enumerate().filter_map(|(number, variant)| Some((content(variant)?, number)));
    depths.min().map_or(0, |(_, number)| number)
}

impl Source for MadeUp {
    fn leaf<'de, V: Visitor<'de>>(&mut self, leaf: Leaf, visitor: V) -> Result<V::Value, Mismatch> {
        let sample = self.samples.get(&self.leaves.len()).copied().unwrap_or_default();
        self.leaves.push(leaf);
        let number = samples::number(sample);
        match leaf {
            Leaf::Unit => visitor.visit_unit(),
            Leaf::Bool => visitor.visit_bool(sample == 1),
            Leaf::I8 => visitor.visit_i8(number as i8),
            Leaf::I16 => visitor.visit_i16(number.into()),
            Leaf::I32 => visitor.visit_i32(number.into()),
            Leaf::I64 => visitor.visit_i64(number.into()),
            Leaf::I128 => visitor.visit_i128(number.into()),
            Leaf::U8 => visitor.visit_u8(number),
            Leaf::U16 => visitor.visit_u16(number.into()),
            Leaf::U32 => visitor.visit_u32(number.into()),
            Leaf::U64 => visitor.visit_u64(number.into()),
            Leaf::U128 => visitor.visit_u128(number.into()),
            Leaf::F32 => visitor.visit_f32(number.into()),
            Leaf::F64 => visitor.visit_f64(number.into()),
            Leaf::Char => visitor.visit_char(samples::character(sample)),
            Leaf::Str => visitor.visit_str(samples::TEXTS.get(sample).copied().unwrap_or_default()),
            Leaf::Bytes => visitor.visit_bytes(samples::bytes(sample)),
        }
    }

    fn option(&mut self, place: &Format) -> Result<bool, Mismatch> {
        Ok(self.enter(place))
    }

    fn length(&mut self, place: &Format) -> Result<usize, Mismatch> {
        Ok(usize::from(self.enter(place)))
    }

    fn variant(&mut self, schema: &Schema, at: usize, variants: &[Variant]) -> Result<usize, Mismatch> {
        let free = |number: &usize| !self.within.contains(&(at, *number));
        let unseen = (0..variants.len()).filter(free).find(|number| !self.seen.contains(&(at, *number)));
        let leading = || {
            let leads = |number: &usize| self.leads_to_unseen(schema, variants[*number].content.formats().collect());
            (0..variants.len()).filter(free).find(leads)
        };
        let number = unseen.or_else(leading).unwrap_or_else(|| smallest(schema, variants));
        if number >= variants.len() {
            return Err(Mismatch::new("it is an enum without variants"));
        }
        self.within.push((at, number));
        Ok(number)
    }

    fn leave(&mut self, at: usize) {
        if let Some(left) = self.within.pop()
            && left.0 == at
        {
            self.progress |= self.seen.insert(left);
        }
    }
}
