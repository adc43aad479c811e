//! Patterns over file names, for every backend.

use crate::{FileStatus, FileSystem, FsError, FsPath};

/// The most patterns that braces may stand for.
const MAX_ALTERNATIVES: usize = 1024;

/// Finds what matches `pattern`, sorted by path.
pub(crate) async fn expand<F: FileSystem + ?Sized>(fs: &F, pattern: &FsPath) -> Result<Vec<FileStatus>, FsError> {
    let bad = |reason| FsError::BadPath { path: pattern.to_string(), reason };
    let mut found = Vec::new();
    for alternative in expand_braces(pattern.path()).map_err(bad)? {
        let components = alternative.split('/').filter(|part| !part.is_empty()).map(Component::parse);
        let components = components.collect::<Result<Vec<_>, _>>().map_err(bad)?;
        found.extend(walk(fs, &pattern.root(), &components).await?);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup_by(|a, b| a.path == b.path);
    Ok(found)
}

/// Follows the components from the root down; directories are listed only where a component has wildcards.
async fn walk<F: FileSystem + ?Sized>(
    fs: &F,
    root: &FsPath,
    components: &[Component],
) -> Result<Vec<FileStatus>, FsError> {
    let mut paths = vec![root.clone()];
    let mut statuses = Vec::new();
    for (depth, component) in components.iter().enumerate() {
        let last = depth + 1 == components.len();
        statuses.clear();
        let mut next = Vec::new();
        for path in &paths {
            match component {
                Component::Literal(name) if last => statuses.extend(found(fs.status(&path.join(name)).await)?),
                Component::Literal(name) => next.push(path.join(name)),
                Component::Pattern(tokens) => {
                    let entries = found(fs.list(path).await)?.unwrap_or_default();
                    let matching = entries.into_iter().filter(|entry| matches(tokens, entry.path.name()));
                    let (kept, descended): (Vec<_>, Vec<_>) = matching.partition(|_| last);
                    statuses.extend(kept);
                    next.extend(descended.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.path));
                }
            }
        }
        paths = next;
    }
    if components.is_empty() {
        statuses.extend(found(fs.status(root).await)?);
    }
    Ok(statuses)
}

/// What is not there, or is no directory, simply does not match.
fn found<T>(answer: Result<T, FsError>) -> Result<Option<T>, FsError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(FsError::NotFound { .. } | FsError::NotADirectory { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One component of a pattern.
#[derive(Debug, PartialEq)]
enum Component {
    /// No wildcard in it: the name itself, escapes removed.
    Literal(String),
    Pattern(Vec<Token>),
}

#[derive(Debug, PartialEq)]
enum Token {
    Char(char),
    /// `?`
    AnyChar,
    /// `*`
    AnyText,
    /// `[a-z]`, or `[^a-z]` when negated.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Component {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::AnyText,
                '?' => Token::AnyChar,
                '[' => parse_class(&mut chars)?,
                '\\' => Token::Char(chars.next().ok_or("it ends in a backslash")?),
                other => Token::Char(other),
            });
        }
        let literal = tokens.iter().map(|token| if let Token::Char(c) = token { Some(*c) } else { None });
        Ok(match literal.collect::<Option<String>>() {
            Some(name) => Component::Literal(name),
            None => Component::Pattern(tokens),
        })
    }
}

fn parse_class(chars: &mut std::str::Chars<'_>) -> Result<Token, &'static str> {
    const OPEN: &str = "a `[` is not closed";
    let mut rest = chars.clone();
    let negated = matches!(rest.next(), Some('^' | '!'));
    if negated {
        chars.next();
    }
    let mut ranges = Vec::new();
    loop {
        let low = match chars.next().ok_or(OPEN)? {
            ']' if !ranges.is_empty() => return Ok(Token::Class { negated, ranges }),
            '\\' => chars.next().ok_or(OPEN)?,
            c => c,
        };
        let mut ahead = chars.clone();
        match (ahead.next(), ahead.next()) {
            (Some('-'), Some(high)) if high != ']' => {
                *chars = ahead;
                ranges.push((low, high));
            }
            _ => ranges.push((low, low)),
        }
    }
}

/// Whether the whole `name` matches. Linear in `name` times the number of tokens: only the last `*` is ever revisited.
fn matches(tokens: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut at_token, mut at_char) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while at_char < name.len() {
        let here = name.get(at_char).copied().unwrap_or_default();
        match tokens.get(at_token) {
            Some(Token::AnyText) => {
                last_star = Some((at_token, at_char));
                at_token += 1;
                continue;
            }
            Some(token) if matches_char(token, here) => {
                at_token += 1;
                at_char += 1;
                continue;
            }
            _ => {}
        }
        let Some((star, swallowed)) = last_star else { return false };
        last_star = Some((star, swallowed + 1));
        at_token = star + 1;
        at_char = swallowed + 1;
    }
    tokens.iter().skip(at_token).all(|token| *token == Token::AnyText)
}

fn matches_char(token: &Token, c: char) -> bool {
    match token {
        Token::Char(expected) => *expected == c,
        Token::AnyChar => true,
        Token::AnyText => false,
        Token::Class { negated, ranges } => {
            let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
            inside != *negated
        }
    }
}

/// `a{b,c{d,e}}` becomes `ab`, `acd`, `ace`. Escaped braces and commas stay as they are.
fn expand_braces(pattern: &str) -> Result<Vec<String>, &'static str> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(text) = open.pop() {
        let Some((before, alternatives, after)) = first_brace(&text)? else {
            done.push(text);
            continue;
        };
        if done.len() + open.len() + alternatives.len() > MAX_ALTERNATIVES {
            return Err("its braces stand for too many patterns");
        }
        open.extend(alternatives.iter().rev().map(|alternative| format!("{before}{alternative}{after}")));
    }
    Ok(done)
}

/// Text before a brace, the alternatives inside it, and text after it.
type Brace<'a> = (&'a str, Vec<&'a str>, &'a str);

fn first_brace(text: &str) -> Result<Option<Brace<'_>>, &'static str> {
    let mut depth = 0_usize;
    let mut start = 0;
    let mut piece = 0;
    let mut alternatives = Vec::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match c {
            '\\' => escaped = true,
            '{' if depth == 0 => (depth, start, piece) = (1, at, at + 1),
            '{' => depth += 1,
            ',' if depth == 1 => {
                alternatives.push(&text[piece..at]);
                piece = at + 1;
            }
            '}' if depth == 1 => {
                alternatives.push(&text[piece..at]);
                return Ok(Some((&text[..start], alternatives, &text[at + 1..])));
            }
            '}' if depth > 1 => depth -= 1,
            _ => {}
        }
    }
    if depth > 0 { Err("a `{` is not closed") } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, name: &str) -> bool {
        match Component::parse(pattern).unwrap() {
            Component::Literal(text) => text == name,
            Component::Pattern(tokens) => matches(&tokens, name),
        }
    }

    #[test]
    fn names_match_patterns_as_in_hadoop() {
        let cases = [
            ("*", "", true),
            ("*", ".hidden", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "ab_ab_a", false),
            ("part-?", "part-1", true),
            ("part-?", "part-10", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[^a-c]x", "dx", true),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("[\\]]", "]", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("größe-?", "größe-ß", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(is_match(pattern, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn braces_stand_for_every_alternative() {
        let cases: [(&str, &[&str]); 6] = [
            ("/a", &["/a"]),
            ("/{a,b}/c", &["/a/c", "/b/c"]),
            ("{a,b{c,d}}", &["a", "bc", "bd"]),
            ("{a,b}{c,d}", &["ac", "ad", "bc", "bd"]),
            ("x{,y}", &["x", "xy"]),
            ("\\{a,b\\}", &["\\{a,b\\}"]),
        ];
        for (pattern, expected) in cases {
            assert_eq!(expand_braces(pattern).unwrap(), expected, "{pattern}");
        }
    }

    #[test]
    fn unclosed_brackets_and_explosions_are_refused() {
        assert!(Component::parse("[a").is_err());
        assert!(Component::parse("a\\").is_err());
        assert!(expand_braces("{a,b").is_err());
        assert!(expand_braces(&"{a,b}".repeat(30)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_panics(pattern in "[\\[\\]{},*?\\\\a-cß^!-]{0,12}", name in "[a-cß*\\[-]{0,8}") {
            for text in expand_braces(&pattern).unwrap_or_default() {
                if let Ok(Component::Pattern(tokens)) = Component::parse(&text) {
                    let _ = matches(&tokens, &name);
                }
            }
        }
    }
}
