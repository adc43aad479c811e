//! Every option that Flumen reads, declared once: key, default, older keys, meaning. `conf/flink-conf.yaml` is generated
//! from these declarations; a test compares.

use std::fmt::Write as _;

use crate::config::{ConfigOption, ConfigValue};

pub mod checkpointing;
pub mod deployment;
pub mod execution;
pub mod high_availability;
pub mod memory;
pub mod rest;
pub mod yarn;

/// An option as the reference shows it.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    /// Its key.
    pub key: &'static str,
    /// Its default as text.
    pub default: Option<&'static str>,
    /// Its older keys.
    pub fallback_keys: &'static [&'static str],
    /// Its meaning.
    pub description: &'static str,
    /// Whether a text is a value of its type.
    pub accepts: fn(&str) -> bool,
}

impl<T: ConfigValue> ConfigOption<T> {
    /// The option without its type.
    pub const fn described(&self) -> Described {
        Described {
            key: self.key,
            default: self.default,
            fallback_keys: self.fallback_keys,
            description: self.description,
            accepts: accepts::<T>,
        }
    }
}

fn accepts<T: ConfigValue>(text: &str) -> bool {
    T::read(text).is_some()
}

/// Declares the options of one section: constants, and the list `SECTION` that the reference is made of.
macro_rules! section {
    ($title:literal; $($(#[$doc:meta])* $name:ident: $type:ty = $key:literal, $default:expr, [$($older:literal),*], $text:literal;)*) => {
        $(
            #[doc = $text]
            $(#[$doc])*
            pub const $name: $crate::config::ConfigOption<$type> =
                $crate::config::ConfigOption::new($key, $default, &[$($older),*], $text);
        )*
        /// The section's title and its options, in the order of the reference.
        pub const SECTION: (&str, &[$crate::options::Described]) = ($title, &[$($name.described()),*]);
    };
}
pub(crate) use section;

/// All sections, in the order of the reference.
pub const SECTIONS: [(&str, &[Described]); 7] = [
    execution::SECTION,
    checkpointing::SECTION,
    memory::SECTION,
    deployment::SECTION,
    high_availability::SECTION,
    rest::SECTION,
    yarn::SECTION,
];

/// The text of `conf/flink-conf.yaml`: every option with its meaning and its default, commented out.
pub fn reference_conf() -> String {
    let mut text = String::from(
        "# Flumen's configuration: one `key: value` a line, under Flink's keys.\n\
         # Every option stands here with its default, commented out; this file is generated from their declarations\n\
         # (FLUMEN_UPDATE_CONF=1 cargo test -p flumen-model writes it anew).\n",
    );
    for (title, options) in SECTIONS {
        let _ = write!(text, "\n#{}\n# {title}\n#{}\n", "=".repeat(78), "=".repeat(78));
        for option in options {
            text.push('\n');
            for line in wrapped(option.description, 100) {
                let _ = writeln!(text, "# {line}");
            }
            if !option.fallback_keys.is_empty() {
                let _ = writeln!(text, "# Also read from: {}", option.fallback_keys.join(", "));
            }
            let _ = writeln!(text, "#{}: {}", option.key, option.default.unwrap_or("(none)"));
        }
    }
    text
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always a last line");
        if !last.is_empty() && last.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_declared_default_is_a_value_of_its_option() {
        for option in SECTIONS.iter().flat_map(|(_, options)| *options) {
            if let Some(default) = option.default {
                assert!((option.accepts)(default), "{}: {default}", option.key);
            }
            assert!(!option.description.is_empty(), "{}", option.key);
        }
    }

    #[test]
    fn no_key_is_declared_twice() {
        let mut seen = BTreeSet::new();
        for option in SECTIONS.iter().flat_map(|(_, options)| *options) {
            for key in std::iter::once(&option.key).chain(option.fallback_keys) {
                assert!(seen.insert(*key), "{key} is declared twice");
            }
        }
    }

    #[test]
    fn the_reference_configuration_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conf/flink-conf.yaml");
        if std::env::var_os("FLUMEN_UPDATE_CONF").is_some() {
            std::fs::write(path, reference_conf()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == reference_conf(),
            "conf/flink-conf.yaml is out of date: FLUMEN_UPDATE_CONF=1 cargo test -p flumen-model"
        );
    }
}
