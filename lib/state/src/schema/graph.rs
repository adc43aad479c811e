//! What is known so far of a type that is being traced.

use std::collections::{HashMap, HashSet};

use super::format::{Body, Content, Field, Format, Leaf, Named, Schema, Variant};

/// The position of a node.
pub(super) type Id = usize;

/// Into which node, and for an enum into which variant.
pub(super) type Step = (Id, usize);

/// A type, by the name of the visitor that serde made for it: that of generic types differs with their parameters.
#[derive(Debug)]
pub(super) enum Node {
    Leaf(Leaf, usize),
    Option(Option<Id>),
    Seq(Option<Id>),
    Map(Option<Id>, Option<Id>),
    Tuple(Vec<Option<Id>>),
    Struct(StructNode),
    Enum(EnumNode),
}

#[derive(Debug)]
pub(super) struct StructNode {
    pub(super) name: &'static str,
    /// All names that serde knows, aliases among them.
    pub(super) names: &'static [&'static str],
    /// By position.
    pub(super) fields: Vec<Option<Id>>,
    /// The fields' names without aliases, as far as they were found out.
    pub(super) real: Vec<&'static str>,
    /// Names that were asked about.
    pub(super) asked: usize,
    pub(super) has_aliases: bool,
}

#[derive(Debug)]
pub(super) struct EnumNode {
    pub(super) name: &'static str,
    pub(super) names: &'static [&'static str],
    pub(super) variants: Vec<VariantNode>,
    /// In the order in which they were first seen to the end.
    pub(super) completed: Vec<usize>,
}

#[derive(Debug, Clone, Default)]
pub(super) enum VariantNode {
    #[default]
    Unseen,
    /// There is no variant of this number: its place among the names is an alias's.
    Missing,
    Unit,
    Newtype(Option<Id>),
    Tuple(Vec<Option<Id>>),
    Struct(&'static [&'static str], Vec<Option<Id>>),
}

impl VariantNode {
    fn children(&self) -> Vec<Id> {
        match self {
            Self::Unseen | Self::Missing | Self::Unit => Vec::new(),
            Self::Newtype(id) => id.iter().copied().collect(),
            Self::Tuple(ids) | Self::Struct(_, ids) => ids.iter().flatten().copied().collect(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    ids: HashMap<(&'static str, u8), Id>,
    /// Containers that were looked into in this pass.
    pub(super) entered: HashSet<Id>,
    /// Containers and variants that are being looked into.
    pub(super) within: Vec<Step>,
    /// Steps that led nowhere, because everything deeper was being looked into already; until something else is known.
    deferred: HashSet<Step>,
    pub(super) last_leaf: Option<Id>,
    /// Something was learned in this pass.
    pub(super) progress: bool,
}

impl Graph {
    /// The node of a type, by the name of its visitor and what it asked for.
    pub(super) fn node(&mut self, visitor: &'static str, kind: u8, make: impl FnOnce() -> Node) -> Id {
        *self.ids.entry((visitor, kind)).or_insert_with(|| {
            self.nodes.push(make());
            self.progress = true;
            self.nodes.len() - 1
        })
    }

    /// Whether a container should be looked into now. If so, [`Self::leave`] follows.
    pub(super) fn enter(&mut self, id: Id) -> bool {
        let enters = self.entered.insert(id) && !self.deferred.contains(&(id, 0)) && self.leads_to_unseen(id);
        if enters {
            self.within.push((id, 0));
        }
        enters
    }

    /// The last step was looked into: to its end, or not.
    pub(super) fn leave(&mut self) {
        self.within.pop();
    }

    /// Which variant to look into now. If there is one, [`Self::leave`] follows.
    pub(super) fn choose(&mut self, id: Id) -> Option<usize> {
        let Node::Enum(node) = &self.nodes[id] else { return None };
        let free = |at: &usize| !self.within.contains(&(id, *at)) && !self.deferred.contains(&(id, *at));
        let numbers = || (0..node.variants.len()).filter(free);
        let unseen = numbers().find(|at| matches!(node.variants[*at], VariantNode::Unseen));
        let leading = || {
            let leads = |at: &usize| node.variants[*at].children().into_iter().any(|id| self.leads_to_unseen(id));
            numbers().find(leads)
        };
        let chosen = unseen.or_else(leading).or_else(|| node.completed.first().copied());
        match (chosen, self.within.last()) {
            (Some(number), _) => self.within.push((id, number)),
            // What led here has to wait until some variant of this enum is known.
            (None, Some(last)) => self.progress |= self.deferred.insert(*last),
            (None, None) => {}
        }
        chosen
    }

    /// A variant was seen for the first time.
    pub(super) fn learned(&mut self) {
        self.progress = true;
        self.deferred.clear();
    }

    /// The type of a part that was read, which takes no bytes when it asked for nothing.
    pub(super) fn noted(&mut self, slot: Option<Id>) -> Option<Id> {
        Some(slot.unwrap_or_else(|| self.node("", Leaf::Unit as u8, || Node::Leaf(Leaf::Unit, 0))))
    }

    /// Whether something that is not known yet can be reached.
    fn leads_to_unseen(&self, from: Id) -> bool {
        let mut seen = HashSet::new();
        let mut open = vec![from];
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            match &self.nodes[id] {
                Node::Leaf(..) => {}
                Node::Option(None) | Node::Seq(None) | Node::Map(_, None) => return true,
                Node::Option(inner) | Node::Seq(inner) => open.extend(inner),
                Node::Map(key, value) => open.extend(key.iter().chain(value)),
                Node::Tuple(items) => open.extend(items.iter().flatten()),
                Node::Struct(node) => open.extend(node.fields.iter().flatten()),
                Node::Enum(node) => {
                    if node.variants.iter().any(|variant| matches!(variant, VariantNode::Unseen)) {
                        return true;
                    }
                    open.extend(node.variants.iter().flat_map(VariantNode::children));
                }
            }
        }
        false
    }

    /// The schema, when everything is known.
    pub(super) fn schema(&self, root: Option<Id>) -> Option<Schema> {
        let mut build = Build { graph: self, types: Vec::new(), positions: HashMap::new(), depth: 0 };
        let root = build.format(root)?;
        let types = build.types.into_iter().collect::<Option<_>>()?;
        Some(Schema { root, types })
    }
}

struct Build<'g> {
    graph: &'g Graph,
    types: Vec<Option<Named>>,
    positions: HashMap<Id, usize>,
    depth: usize,
}

/// Types within types without a struct or enum between them: deeper ones contain themselves.
const DEPTH_MAX: usize = 200;

impl Build<'_> {
    fn format(&mut self, id: Option<Id>) -> Option<Format> {
        let id = id?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let format = match &self.graph.nodes[id] {
            Node::Leaf(leaf, _) => Format::Leaf(*leaf),
            Node::Option(inner) => Format::Option(Box::new(self.format(*inner)?)),
            Node::Seq(inner) => Format::Seq(Box::new(self.format(*inner)?)),
            Node::Map(key, value) => Format::Map(Box::new((self.format(*key)?, self.format(*value)?))),
            Node::Tuple(items) => Format::Tuple(self.formats(items)?),
            Node::Struct(_) | Node::Enum(_) => Format::Type(self.named(id)?),
        };
        self.depth -= 1;
        Some(format)
    }

    fn formats(&mut self, ids: &[Option<Id>]) -> Option<Vec<Format>> {
        ids.iter().map(|id| self.format(*id)).collect()
    }

    fn fields(&mut self, names: &[&'static str], ids: &[Option<Id>]) -> Option<Vec<Field>> {
        if names.len() != ids.len() {
            return None;
        }
        let formats = self.formats(ids)?;
        let names = names.iter().zip(formats);
        Some(names.map(|(name, format)| Field { name: (*name).to_owned(), format }).collect())
    }

    fn named(&mut self, id: Id) -> Option<usize> {
        if let Some(position) = self.positions.get(&id) {
            return Some(*position);
        }
        let position = self.types.len();
        self.types.push(None);
        self.positions.insert(id, position);
        let outer = std::mem::take(&mut self.depth);
        let named = match &self.graph.nodes[id] {
            Node::Struct(node) => {
                let names = if node.has_aliases { &node.real } else { node.names };
                let body = Body::Struct(self.fields(names, &node.fields)?);
                Named { name: node.name.to_owned(), body }
            }
            Node::Enum(node) => {
                let has_aliases = node.variants.iter().any(|variant| matches!(variant, VariantNode::Missing));
                let mut variants = Vec::new();
                for (at, variant) in node.variants.iter().enumerate() {
                    let content = match variant {
                        VariantNode::Unseen => return None,
                        VariantNode::Missing => continue,
                        VariantNode::Unit => Content::Unit,
                        VariantNode::Newtype(id) => Content::Newtype(self.format(*id)?),
                        VariantNode::Tuple(ids) => Content::Tuple(self.formats(ids)?),
                        // With aliases among the names, which name is whose can't be told.
                        VariantNode::Struct(names, ids) if names.len() != ids.len() => {
                            Content::Tuple(self.formats(ids)?)
                        }
                        VariantNode::Struct(names, ids) => Content::Struct(self.fields(names, ids)?),
                    };
                    let name = if has_aliases { format!("#{at}") } else { node.names[at].to_owned() };
                    variants.push(Variant { name, content });
                }
                Named { name: node.name.to_owned(), body: Body::Enum(variants) }
            }
            _ => return None,
        };
        self.depth = outer;
        self.types[position] = Some(named);
        Some(position)
    }
}
