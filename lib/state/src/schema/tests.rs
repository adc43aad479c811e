//! Types as they change, and what can be read of them.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{check_compatible, converter, of};

fn schema<T: DeserializeOwned + 'static>() -> String {
    of::<T>("s").unwrap()
}

/// Reads what was written as one type as another.
fn read<A: Serialize + DeserializeOwned + 'static, B: Serialize + DeserializeOwned + 'static>(
    old: &A,
) -> Result<B, String> {
    let written = postcard::to_stdvec(old).unwrap();
    let mut bytes = Vec::new();
    match converter::<B>("s", &schema::<A>()).map_err(|error| error.to_string())? {
        None => bytes = written,
        Some(convert) => convert(&written, &mut bytes).map_err(|error| error.to_string())?,
    }
    Ok(postcard::from_bytes(&bytes).unwrap())
}

fn refused<A: DeserializeOwned + 'static, B: DeserializeOwned + 'static>() -> String {
    check_compatible::<B>("count", &schema::<A>()).unwrap_err().to_string()
}

mod old {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Order {
        pub id: u32,
        pub gone: Vec<(String, Option<i8>)>,
        pub total: f32,
        pub state: State,
        pub by_name: BTreeMap<String, u16>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub enum State {
        New,
        Paid(u32),
        Sent { to: String, parcels: u8 },
        Pair(u8, u8),
    }
}

mod new {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Order {
        #[serde(default)]
        pub priority: u8,
        #[serde(alias = "total")]
        pub sum: f64,
        pub id: u64,
        pub note: Option<String>,
        pub state: State,
        pub by_name: HashMap<String, i32>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub enum State {
        Returned,
        Sent { parcels: u32, to: String, express: Option<bool> },
        Paid(i64),
        New,
        Pair(u16, u16),
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Tree {
    Branch(Box<Tree>, Box<Tree>),
    Many { children: Vec<Tree>, by_name: BTreeMap<String, Tree> },
    Leaf(Option<Kind>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Big(Box<Tree>),
    Small,
    Count(NonZeroU32),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wrapper<T> {
    inner: T,
}

#[test]
fn added_removed_renamed_and_widened_fields_are_read() {
    for state in
        [old::State::New, old::State::Paid(7), old::State::Sent { to: "x".into(), parcels: 2 }, old::State::Pair(1, 2)]
    {
        let by_name = [("a".to_owned(), 1), ("b".to_owned(), 2)];
        let order = old::Order {
            id: 5,
            gone: vec![("x".into(), Some(1)), ("y".into(), None)],
            total: 1.5,
            state: state.clone(),
            by_name: by_name.clone().into(),
        };
        let expected = new::Order {
            priority: 0,
            sum: 1.5,
            id: 5,
            note: None,
            state: match state {
                old::State::New => new::State::New,
                old::State::Paid(at) => new::State::Paid(at.into()),
                old::State::Sent { to, parcels } => new::State::Sent { to, parcels: parcels.into(), express: None },
                old::State::Pair(a, b) => new::State::Pair(a.into(), b.into()),
            },
            by_name: by_name.map(|(name, n)| (name, n.into())).into(),
        };
        assert_eq!(read::<_, new::Order>(&order).unwrap(), expected);
    }
}

#[test]
fn the_schema_of_a_type_is_always_the_same_and_short() {
    assert_eq!(schema::<u64>(), r#"{"root":"u64"}"#);
    assert_eq!(
        schema::<Wrapper<Vec<(u8, Option<String>)>>>(),
        r#"{"root":{"type":0},"types":[{"name":"Wrapper","body":{"struct":[{"name":"inner","format":{"seq":{"tuple":["u8",{"option":"str"}]}}}]}}]}"#
    );
    assert_eq!(schema::<new::Order>(), schema::<new::Order>());
}

#[test]
fn types_that_contain_themselves_are_traced_completely() {
    let text = schema::<Tree>();
    for name in ["Branch", "Many", "Leaf", "Big", "Small", "Count"] {
        assert!(text.contains(&format!("\"name\":\"{name}\"")), "{name} in {text}");
    }
    assert!(!text.contains("opaque"), "{text}");
    let leaf = || Box::new(Tree::Leaf(Some(Kind::Count(NonZeroU32::MIN))));
    let tree = Tree::Branch(
        leaf(),
        Box::new(Tree::Many { children: vec![*leaf()], by_name: [("x".to_owned(), Tree::Leaf(None))].into() }),
    );
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct More<T> {
        inner: T,
        more: Option<u8>,
    }
    let expected = More { inner: tree.clone(), more: None };
    assert_eq!(read::<_, More<Tree>>(&Wrapper { inner: tree }).unwrap(), expected);
}

#[test]
fn two_types_of_one_name_are_two_types() {
    let text = schema::<Wrapper<(Wrapper<u8>, Wrapper<String>)>>();
    assert_eq!(text.matches("Wrapper").count(), 3, "{text}");
}

#[test]
fn a_value_may_become_optional_and_a_name_of_a_type_may_change() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Renamed {
        inner: Option<u16>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Same {
        inner: u8,
    }
    assert_eq!(read::<_, Renamed>(&Wrapper { inner: 3u8 }).unwrap(), Renamed { inner: Some(3) });
    assert_eq!(read::<_, Same>(&Wrapper { inner: 3u8 }).unwrap(), Same { inner: 3 });
    assert!(converter::<Same>("s", &schema::<Wrapper<u8>>()).unwrap().is_none());
}

#[test]
fn what_can_not_be_read_is_refused_with_state_and_field() {
    #[derive(Serialize, Deserialize)]
    struct Total {
        total: u64,
    }
    #[derive(Serialize, Deserialize)]
    struct Narrow {
        total: u32,
    }
    #[derive(Serialize, Deserialize)]
    struct Text {
        total: String,
    }
    #[derive(Serialize, Deserialize)]
    struct New {
        total: u64,
        new: u64,
    }
    #[derive(Serialize, Deserialize)]
    enum Fewer {
        New,
        Paid(u32),
    }
    type Nested<T> = Wrapper<Vec<Option<T>>>;
    assert_eq!(refused::<Total, Narrow>(), "state `count`, field `total`: it was written as u64 and is now u32");
    assert_eq!(refused::<Total, Text>(), "state `count`, field `total`: it was written as u64 and is now str");
    assert!(refused::<Total, New>().starts_with("state `count`, field `new`: it is new and has no default"));
    let nested = refused::<Nested<Total>, Nested<Narrow>>();
    assert_eq!(nested, "state `count`, field `inner[].total`: it was written as u64 and is now u32");
    let gone = refused::<old::State, Fewer>();
    assert_eq!(gone, "state `count`: the variant `Sent` is gone: snapshots may hold it");
    assert_eq!(refused::<u64, i64>(), "state `count`: it was written as u64 and is now i64");
    assert_eq!(
        refused::<(u8, u8), (u8, u8, u8)>(),
        "state `count`: it was written as tuple of 2 and is now tuple of 3"
    );
    assert_eq!(refused::<Option<u8>, u8>(), "state `count`: it was written as option of u8 and is now u8");
}

#[test]
fn a_new_variant_between_and_a_validated_number_are_no_obstacle() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Count {
        at: NonZeroU32,
        kind: Option<Kind>,
    }
    let old = Count { at: NonZeroU32::MAX, kind: Some(Kind::Small) };
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct More {
        kind: Option<Kind>,
        at: NonZeroU32,
        #[serde(default)]
        more: [u8; 4],
    }
    let new: More = read(&old).unwrap();
    assert_eq!(new, More { kind: Some(Kind::Small), at: NonZeroU32::MAX, more: [0; 4] });
}

#[test]
fn types_that_can_not_be_kept_are_refused_and_those_that_can_not_be_looked_into_are_known_by_name() {
    #[derive(Serialize, Deserialize)]
    struct Flat {
        a: u8,
        #[serde(flatten)]
        rest: Wrapper<u8>,
    }
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        A(u8),
    }
    assert!(of::<Flat>("s").unwrap_err().to_string().contains("can't be state"));
    assert!(of::<Untagged>("s").unwrap_err().to_string().contains("can't be state"));

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(try_from = "String", into = "String")]
    struct Odd(String);
    impl TryFrom<String> for Odd {
        type Error = &'static str;
        fn try_from(text: String) -> Result<Self, &'static str> {
            if text == "odd" { Ok(Self(text)) } else { Err("not odd") }
        }
    }
    impl From<Odd> for String {
        fn from(odd: Odd) -> Self {
            odd.0
        }
    }
    assert!(schema::<Odd>().starts_with(r#"{"root":{"opaque":"#), "{}", schema::<Odd>());
    assert_eq!(read::<_, Odd>(&Odd("odd".into())).unwrap(), Odd("odd".into()));
    assert!(refused::<Odd, String>().contains("can't be looked into"));
    assert!(refused::<String, Odd>().contains("can't be looked into"));
}

#[test]
fn common_types_of_the_standard_library_have_schemas() {
    type Common = (
        std::time::Duration,
        std::time::SystemTime,
        std::net::IpAddr,
        std::collections::BTreeSet<char>,
        Result<u8, String>,
        std::ops::Range<i128>,
        [[f64; 2]; 3],
        Box<str>,
        std::marker::PhantomData<u8>,
        (),
    );
    let text = schema::<Common>();
    assert!(!text.contains("opaque"), "{text}");
    check_compatible::<Common>("s", &text).unwrap();
}

#[test]
fn damaged_bytes_of_an_older_type_are_refused() {
    let order = old::Order {
        id: 5,
        gone: vec![("x".into(), Some(1))],
        total: 1.5,
        state: old::State::New,
        by_name: BTreeMap::new(),
    };
    let bytes = postcard::to_stdvec(&order).unwrap();
    let convert = converter::<new::Order>("s", &schema::<old::Order>()).unwrap().unwrap();
    let mut new = Vec::new();
    convert(&bytes, &mut new).unwrap();
    for end in 0..bytes.len() {
        assert!(convert(&bytes[..end], &mut new).is_err(), "{end} bytes were taken");
    }
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] = 0xff;
        // Some changes make other values; none makes a panic or takes much memory.
        let _ = convert(&bytes, &mut new);
    }
}
