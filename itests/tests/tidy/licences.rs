//! What we link is under licences that agree with our own, the Apache License 2.0.

use crate::metadata::PACKAGES;

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that are allowed in spite of their licence: name, licence, reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

#[test]
fn every_dependency_has_an_allowed_licence() {
    assert!(PACKAGES.values().any(|package| package.name == "librocksdb-sys"), "those of optional features too");
    let mut wrong = Vec::new();
    for package in PACKAGES.values() {
        let licence = package.licence.as_deref().unwrap_or("none named");
        let excepted = EXCEPTIONS.iter().any(|(name, known, _)| *name == package.name && *known == licence);
        if !excepted && !allows(licence) {
            wrong.push(format!("{} {}: {licence}", package.name, package.version));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_exception_is_older_than_its_reason() {
    for (name, licence, _) in EXCEPTIONS {
        let needed =
            PACKAGES.values().any(|package| package.name == *name && package.licence.as_deref() == Some(licence));
        assert!(needed, "{name} under {licence} is no dependency any more");
    }
}

#[test]
fn an_expression_is_allowed_when_one_of_its_choices_is() {
    for (expression, allowed) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("Apache-2.0 AND ISC", true),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("(MIT AND GPL-3.0) OR GPL-2.0", false),
        ("GPL-2.0 OR MIT AND ISC", true),
        ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true),
        ("GPL-2.0 WITH Classpath-exception-2.0", false),
        ("", false),
    ] {
        assert_eq!(allows(expression), allowed, "{expression}");
    }
}

/// Whether an SPDX expression leaves us a choice of allowed licences only. An old form separates choices by a slash.
fn allows(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut tokens = spaced.split_whitespace().peekable();
    any_of(&mut tokens) && tokens.next().is_none()
}

type Tokens<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(tokens: &mut Tokens<'_>) -> bool {
    let mut allowed = all_of(tokens);
    while tokens.next_if_eq(&"OR").is_some() {
        allowed |= all_of(tokens);
    }
    allowed
}

fn all_of(tokens: &mut Tokens<'_>) -> bool {
    let mut allowed = one(tokens);
    while tokens.next_if_eq(&"AND").is_some() {
        allowed &= one(tokens);
    }
    allowed
}

fn one(tokens: &mut Tokens<'_>) -> bool {
    if tokens.next_if_eq(&"(").is_some() {
        return any_of(tokens) & tokens.next_if_eq(&")").is_some();
    }
    let Some(licence) = tokens.next() else { return false };
    if tokens.next_if_eq(&"WITH").is_none() {
        return ALLOWED.contains(&licence);
    }
    let licence = format!("{licence} WITH {}", tokens.next().unwrap_or_default());
    ALLOWED.contains(&licence.as_str())
}
