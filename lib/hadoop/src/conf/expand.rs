//! `${…}` in values, as Hadoop's `Configuration.substituteVars` does it.

/// Substitutions in one value. The limit also bounds how large a value can grow.
pub(super) const MAX_SUBSTITUTIONS: usize = 20;

/// Replaces variables until none is left, one is unknown (the rest then stays as it is), or one refers to itself (the
/// value then stays as it was).
///
/// `property` looks up raw properties and system properties, `env` the environment. `None`: too many substitutions.
pub(super) fn expand(
    raw: &str,
    property: &dyn Fn(&str) -> Option<String>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let mut text = raw.to_owned();
    for _ in 0..MAX_SUBSTITUTIONS {
        let Some((start, end)) = find_variable(&text) else { return Some(text) };
        let variable = &text[start + "${".len()..end - "}".len()];
        let value = match variable.strip_prefix("env.").filter(|name| !name.is_empty()) {
            Some(name) => lookup_env(name, env),
            None => property(variable),
        };
        let Some(value) = value else { return Some(text) };
        if value.contains(&text[start..end]) {
            return Some(raw.to_owned());
        }
        text.replace_range(start..end, &value);
    }
    if find_variable(&text).is_none() { Some(text) } else { None }
}

/// `NAME`, `NAME:-default` (unset or empty) or `NAME-default` (unset).
fn lookup_env(name: &str, env: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let Some(dash) = name.find('-') else { return env(name) };
    let (name, default) = (&name[..dash], &name[dash + 1..]);
    match name.strip_suffix(':') {
        Some(name) => env(name).filter(|value| !value.is_empty()).or_else(|| Some(default.to_owned())),
        None => env(name).or_else(|| Some(default.to_owned())),
    }
}

/// The first `${name}` whose name holds neither `$` nor a blank nor a brace: the innermost of nested ones.
fn find_variable(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(found) = text[from..].find("${") {
        let start = from + found;
        let name = start + "${".len();
        let stop = text[name..].find(['}', '$', ' '])? + name;
        if text[stop..].starts_with('}') && stop > name {
            return Some((start, stop + 1));
        }
        // A `$` may open the next variable, so it is looked at again.
        from = if text[stop..].starts_with('$') { stop } else { stop + 1 };
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn property(name: &str) -> Option<String> {
        let value = match name {
            "host" => "nn",
            "url" => "hdfs://${host}:9000",
            "which" => "host",
            "self" => "x${self}",
            "ping" => "${pong}",
            "pong" => "${ping}",
            "bomb" => "${bomb2}${bomb2}",
            "bomb2" => "${host}${host}${host}${host}${host}${host}${host}${host}${host}${host}",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn env(name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/home/a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_as_in_hadoop() {
        let cases = [
            ("plain", Some("plain")),
            ("${host}", Some("nn")),
            ("${url}/x", Some("hdfs://nn:9000/x")),
            ("${${which}}", Some("nn")),
            ("${host}${host}", Some("nnnn")),
            ("${unknown}-${host}", Some("${unknown}-${host}")),
            ("${host}-${unknown}", Some("nn-${unknown}")),
            ("a ${self}", Some("a ${self}")),
            ("${ping}", None),
            ("${bomb}", None),
            ("${}", Some("${}")),
            ("${host", Some("${host")),
            ("${a b}${host}", Some("${a b}nn")),
            ("$${host}", Some("$nn")),
            ("${env.HOME}/x", Some("/home/a/x")),
            ("${env.NO}", Some("${env.NO}")),
            ("${env.NO:-d-e}", Some("d-e")),
            ("${env.EMPTY:-d}", Some("d")),
            ("${env.EMPTY-d}", Some("")),
            ("${env.NO-d}", Some("d")),
            ("${env.}", Some("${env.}")),
        ];
        for (raw, expected) in cases {
            assert_eq!(expand(raw, &property, &env).as_deref(), expected, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(raw in "([$]|[{]|[}]|host|env[.]|:|-|ß| ){0,16}") {
            let _ = expand(&raw, &property, &env);
        }
    }
}
