//! Flink's way of writing options: several letters behind one dash (`-yjm`), which clap does not know. Every option is found
//! among those that are declared and rewritten to `--long=value`.

use clap::error::{ContextKind, ContextValue};

use super::UsageError;

/// One option with all its names, without dashes.
pub struct Flag {
    /// As clap takes it: `--long` or `-x`.
    canonical: String,
    /// All names, those of one dash first.
    pub names: Vec<String>,
    /// Whether a value follows.
    pub takes_value: bool,
    /// What the value is.
    pub value_name: String,
    /// What the option means.
    pub help: String,
    /// The group that it is shown in.
    pub heading: Option<String>,
}

impl Flag {
    /// `-yjm,--yarnjobManagerMemory`, as Flink's help shows it.
    pub fn shown(&self) -> String {
        self.names.iter().map(|name| dashed(name)).collect::<Vec<_>>().join(",")
    }
}

/// Flink's short names have up to three letters and stand behind one dash; these are long ones all the same.
const LONG_OF_THREE: [&str; 2] = ["all", "jar"];

fn is_long(name: &str) -> bool {
    name.len() > 3 || LONG_OF_THREE.contains(&name)
}

/// A name with its dashes.
pub fn dashed(name: &str) -> String {
    if is_long(name) { format!("--{name}") } else { format!("-{name}") }
}

/// The options of a command.
pub fn flags(command: &clap::Command) -> Vec<Flag> {
    let mut flags = Vec::new();
    for arg in command.get_arguments() {
        let mut names: Vec<String> =
            arg.get_short_and_visible_aliases().unwrap_or_default().iter().map(char::to_string).collect();
        names.extend(arg.get_all_short_aliases().unwrap_or_default().iter().map(char::to_string));
        names.extend(arg.get_all_aliases().unwrap_or_default().iter().map(|&name| name.to_owned()));
        names.extend(arg.get_long().map(str::to_owned));
        names.sort_by_key(|name| is_long(name));
        let canonical = match (arg.get_long(), arg.get_short()) {
            (Some(long), _) => format!("--{long}"),
            (None, Some(short)) => format!("-{short}"),
            (None, None) => continue,
        };
        let value_name = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        flags.push(Flag {
            canonical,
            names,
            takes_value: arg.get_action().takes_values(),
            value_name: value_name.unwrap_or_default(),
            help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
            heading: arg.get_help_heading().map(str::to_owned),
        });
    }
    flags
}

/// Options in clap's form, made of the rewritten words.
pub fn read<T: clap::Parser>(rewritten: Vec<String>) -> Result<T, UsageError> {
    let matches = T::command().try_get_matches_from(rewritten).map_err(|error| usage(&error, &T::command()))?;
    T::from_arg_matches(&matches).map_err(|error| usage(&error, &T::command()))
}

/// An option as clap takes it; its value may be the next of the words.
pub fn rewrite<'a>(
    flags: &[Flag],
    word: &str,
    words: &mut impl Iterator<Item = &'a String>,
) -> Result<String, UsageError> {
    let (flag, attached) = find(flags, word)?;
    match (flag.takes_value, attached) {
        (false, None) => Ok(flag.canonical.clone()),
        (false, Some(_)) => Err(UsageError(format!("`{word}`: {} takes no value", flag.shown()))),
        (true, Some(value)) => Ok(format!("{}={value}", flag.canonical)),
        (true, None) => match words.next() {
            Some(value) => Ok(format!("{}={value}", flag.canonical)),
            None => Err(UsageError(format!("{} needs a value: <{}>", flag.shown(), flag.value_name))),
        },
    }
}

/// clap's error in our words: the flag with all its names, the value, what would be allowed.
fn usage(error: &clap::Error, command: &clap::Command) -> UsageError {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if let (Some(arg), Some(value)) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue)) {
        let canonical = arg.split([' ', '=']).next().unwrap_or_default();
        if let Some(flag) = flags(command).into_iter().find(|flag| flag.canonical == canonical) {
            let allowed = match flag.value_name.as_str() {
                "number" => format!("a whole number up to {}", u32::MAX),
                other => format!("a {other}"),
            };
            return UsageError(format!("{} is `{value}`, which is not {allowed}", flag.shown()));
        }
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    UsageError(first.strip_prefix("error: ").unwrap_or(first).to_owned())
}

/// The flag of a word and the value that is attached to it: `-yjm`, `--yarnslots=2`, `-Dkey=value`, `-p4`.
fn find<'a, 'w>(flags: &'a [Flag], word: &'w str) -> Result<(&'a Flag, Option<&'w str>), UsageError> {
    let body = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or(word);
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    };
    let named = |name: &str| flags.iter().find(|flag| flag.names.iter().any(|n| n == name));
    if let Some(flag) = named(name) {
        return Ok((flag, value));
    }
    let number = body.strip_prefix('p').filter(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    for (name, value) in [("yD", body.strip_prefix("yD")), ("D", body.strip_prefix('D')), ("p", number)] {
        if let (Some(flag), Some(value)) = (named(name), value) {
            return Ok((flag, Some(value)));
        }
    }
    let known = flags.iter().flat_map(|flag| &flag.names).map(|known| (distance(name, known), known));
    // What is another word is no help.
    let nearest = known.min_by_key(|(distance, _)| *distance).filter(|(distance, _)| *distance <= name.len());
    let hint = nearest.map(|(_, known)| format!("; did you mean `{}`?", dashed(known))).unwrap_or_default();
    Err(UsageError(format!(
        "unknown option `{word}`{hint} (options of the program stand after the program; --help lists all)"
    )))
}

/// Levenshtein's distance, upper and lower case being half a step apart (counted in halves).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).map(|i| i * 2).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = (i + 1) * 2;
        for (j, &y) in b.iter().enumerate() {
            let differ = if x == y { 0 } else { 2 - usize::from(x.eq_ignore_ascii_case(&y)) };
            let best = (corner + differ).min(row[j] + 2).min(row[j + 1] + 2);
            corner = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}
