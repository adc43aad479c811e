//! Configuration: flat `key: value` pairs under Flink's keys, read through declared [`ConfigOption`]s.
//!
//! A [`Configuration`] is a value that is passed on, never a global. Layers are merged with [`Configuration::extend`]:
//! file, then `-D`, then the dedicated flags.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Keys and values as they were written. Secrets are hidden by [`Configuration::redacted`] and in `Debug`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Configuration {
    values: BTreeMap<String, String>,
}

/// One declared option: its key, default and meaning, from which `conf/flink-conf.yaml` is generated.
#[derive(Debug)]
pub struct ConfigOption<T> {
    /// The key that is written today.
    pub key: &'static str,
    /// The default as text, `None` when the option has none.
    pub default: Option<&'static str>,
    /// Older or alternative keys, in the order in which they are looked at.
    pub fallback_keys: &'static [&'static str],
    /// What it does, in one or two sentences, with the unit.
    pub description: &'static str,
    value: PhantomData<fn() -> T>,
}

/// A value that an option can't take, or a line that is no pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadConfiguration {
    /// The value of a key is of the wrong form.
    #[error("option `{key}`: `{value}` is not {expected}")]
    Value {
        /// The key under which it was found.
        key: String,
        /// What was written.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// A line of a configuration file is not `key: value`.
    #[error("line {line} of the configuration is not `key: value`: `{text}`")]
    Line {
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// A dynamic property is not `key=value`.
    #[error("dynamic property `{text}` is not `key=value`")]
    Property {
        /// What was written.
        text: String,
    },
}

/// A type that an option can have.
pub trait ConfigValue: Sized {
    /// What is allowed, as it stands in an error after "is not".
    const EXPECTED: &'static str;
    /// Reads the text; `None` when it is not of the form.
    fn read(text: &str) -> Option<Self>;
}

impl<T: ConfigValue> ConfigOption<T> {
    /// Declares an option; see the fields.
    pub const fn new(
        key: &'static str,
        default: Option<&'static str>,
        fallback_keys: &'static [&'static str],
        description: &'static str,
    ) -> Self {
        Self { key, default, fallback_keys, description, value: PhantomData }
    }
}

impl Configuration {
    /// An empty configuration: every option has its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the text of a `flink-conf.yaml`: one `key: value` a line, `#` starts a comment (at the start of a line or after
    /// a blank), a value may stand in quotes, later lines win.
    pub fn from_conf_text(text: &str) -> Result<Self, BadConfiguration> {
        let mut conf = Self::new();
        for (index, raw) in text.lines().enumerate() {
            let line = strip_comment(raw).trim();
            if line.is_empty() || line == "---" {
                continue;
            }
            let bad = || BadConfiguration::Line { line: index + 1, text: raw.trim().to_owned() };
            let (key, value) = match line.split_once(": ") {
                Some(pair) => pair,
                None => (line.strip_suffix(':').ok_or_else(bad)?, ""),
            };
            let key = key.trim();
            if key.is_empty() || key.contains(char::is_whitespace) {
                return Err(bad());
            }
            if !value.trim().is_empty() {
                conf.set(key, unquote(value.trim()));
            }
        }
        Ok(conf)
    }

    /// Adds one `key=value`, as `-D` takes it; without `=` the value is `true`, as in Flink.
    pub fn set_property(&mut self, text: &str) -> Result<(), BadConfiguration> {
        let (key, value) = text.split_once('=').unwrap_or((text, "true"));
        if key.trim().is_empty() {
            return Err(BadConfiguration::Property { text: text.to_owned() });
        }
        self.set(key.trim(), value.trim());
        Ok(())
    }

    /// Sets a key to a value, replacing the former one.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.values.insert(key.into(), value.into());
    }

    /// Sets a declared option to a value's text.
    pub fn put<T>(&mut self, option: &ConfigOption<T>, value: impl fmt::Display) {
        self.set(option.key, value.to_string());
    }

    /// Lets the other configuration's keys win over this one's.
    pub fn extend(&mut self, over: &Configuration) {
        self.values.extend(over.values.iter().map(|(k, v)| (k.clone(), v.clone())));
    }

    /// The text under a key, as written.
    pub fn raw(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// All pairs whose key starts with `prefix`, with the prefix cut off.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter().filter_map(move |(k, v)| k.strip_prefix(prefix).map(|k| (k, v)))
    }

    /// True when the option, or one of its older keys, was set.
    pub fn is_set<T>(&self, option: &ConfigOption<T>) -> bool {
        self.written(option).is_some()
    }

    /// The value of an option that has a default.
    ///
    /// # Panics
    /// When the option was declared without a default, or with one that its own type can't read: both are mistakes in the
    /// declaration, and a test reads every declared default.
    pub fn get<T: ConfigValue>(&self, option: &ConfigOption<T>) -> Result<T, BadConfiguration> {
        Ok(self.find(option)?.expect("an option read by `get` is declared with a default"))
    }

    /// The value of an option, its default, or `None` when it has neither.
    pub fn find<T: ConfigValue>(&self, option: &ConfigOption<T>) -> Result<Option<T>, BadConfiguration> {
        match self.written(option) {
            Some((key, value)) => read(key, value).map(Some),
            None => option.default.map(|text| read(option.key, text)).transpose(),
        }
    }

    /// The configuration with the values of secret keys replaced by `******`, for pages and logs.
    pub fn redacted(&self) -> Self {
        let hide = |(k, v): (&String, &String)| (k.clone(), if is_secret(k) { "******".to_owned() } else { v.clone() });
        Self { values: self.values.iter().map(hide).collect() }
    }

    fn written<T>(&self, option: &ConfigOption<T>) -> Option<(&str, &str)> {
        std::iter::once(&option.key)
            .chain(option.fallback_keys)
            .find_map(|key| self.values.get_key_value(*key).map(|(k, v)| (k.as_str(), v.as_str())))
    }
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.redacted().values.iter()).finish()
    }
}

/// The same words as Flink's `GlobalConfiguration` hides.
fn is_secret(key: &str) -> bool {
    const WORDS: [&str; 9] = [
        "password",
        "secret",
        "fs.azure.account.key",
        "apikey",
        "api-key",
        "auth-params",
        "service-key",
        "token",
        "basic-auth",
    ];
    let key = key.to_ascii_lowercase();
    WORDS.iter().any(|word| key.contains(word))
}

fn strip_comment(line: &str) -> &str {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            return &line[..at];
        }
        before = c;
    }
    line
}

fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

fn read<T: ConfigValue>(key: &str, text: &str) -> Result<T, BadConfiguration> {
    T::read(text.trim()).ok_or_else(|| BadConfiguration::Value {
        key: key.to_owned(),
        value: text.to_owned(),
        expected: T::EXPECTED.to_owned(),
    })
}

macro_rules! parsed_value {
    ($($type:ty: $expected:literal),* $(,)?) => {$(
        impl ConfigValue for $type {
            const EXPECTED: &'static str = $expected;
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}

parsed_value! {
    String: "a text",
    u32: "a whole number from 0 to 4294967295",
    i32: "a whole number",
    u64: "a whole number from 0",
    u16: "a whole number from 0 to 65535",
    f64: "a number",
    MemorySize: "a size such as `1024m` or `2 gb`",
}

impl ConfigValue for bool {
    const EXPECTED: &'static str = "`true` or `false`";
    fn read(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

impl ConfigValue for Duration {
    const EXPECTED: &'static str = "a duration such as `500 ms`, `10 s`, `5 min` or `1 h`";
    fn read(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let nanos: u64 = match unit.as_str() {
            "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1_000_000,
            "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1,
            "µs" | "us" | "micro" | "micros" | "microsecond" | "microseconds" => 1_000,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
            "m" | "min" | "minute" | "minutes" => 60_000_000_000,
            "h" | "hour" | "hours" => 3_600_000_000_000,
            "d" | "day" | "days" => 86_400_000_000_000,
            _ => return None,
        };
        number.checked_mul(nanos).map(Duration::from_nanos)
    }
}

/// Directories of a machine, separated by commas or colons as in Flink. None are as good as no value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directories(pub Vec<PathBuf>);

impl ConfigValue for Directories {
    const EXPECTED: &'static str = "directories with commas between them";
    fn read(text: &str) -> Option<Self> {
        let paths = text.split([',', ':']).map(str::trim).filter(|path| !path.is_empty());
        Some(Self(paths.map(PathBuf::from).collect()))
    }
}

/// A number of bytes, written with Flink's units: `1024` (bytes), `512k`, `1024m`, `2 gb`, `1 tebibytes`; every unit is a
/// power of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MemorySize(pub u64);

impl MemorySize {
    /// That many mebibytes.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// Whole mebibytes, rounded up: what YARN is asked for.
    pub const fn mib_rounded_up(self) -> u64 {
        self.0.div_ceil(1 << 20)
    }
}

impl FromStr for MemorySize {
    type Err = BadConfiguration;
    fn from_str(text: &str) -> Result<Self, BadConfiguration> {
        let parse = || {
            let (number, unit) = split_unit(text)?;
            let shift = match unit.as_str() {
                "" | "b" | "bytes" => 0,
                "k" | "kb" | "kibibytes" => 10,
                "m" | "mb" | "mebibytes" => 20,
                "g" | "gb" | "gibibytes" => 30,
                "t" | "tb" | "tebibytes" => 40,
                _ => return None,
            };
            number.checked_mul(1 << shift).map(MemorySize)
        };
        parse().ok_or_else(|| BadConfiguration::Value {
            key: "size".to_owned(),
            value: text.to_owned(),
            expected: <MemorySize as ConfigValue>::EXPECTED.to_owned(),
        })
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n > 0 && n % (1 << 30) == 0 => write!(f, "{} gb", n >> 30),
            n if n > 0 && n % (1 << 20) == 0 => write!(f, "{} mb", n >> 20),
            n if n > 0 && n % (1 << 10) == 0 => write!(f, "{} kb", n >> 10),
            n => write!(f, "{n} bytes"),
        }
    }
}

fn split_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim().to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: ConfigOption<MemorySize> = ConfigOption::new("a.size", Some("1 gb"), &["a.heap.size"], "");

    #[test]
    fn a_configuration_file_is_read_as_flink_reads_it() {
        let conf = Configuration::from_conf_text(
            "# comment\na.b: 1\n c.d:   x y # tail\nurl: hdfs://h:9000/p#1\nempty:\nq: \"quoted\"\n---\na.b: 2\n",
        )
        .unwrap();
        assert_eq!(conf.raw("a.b"), Some("2"));
        assert_eq!(conf.raw("c.d"), Some("x y"));
        assert_eq!(conf.raw("url"), Some("hdfs://h:9000/p#1"));
        assert_eq!(conf.raw("empty"), None);
        assert_eq!(conf.raw("q"), Some("quoted"));
        let error = Configuration::from_conf_text("a: 1\nnonsense\n").unwrap_err();
        assert_eq!(error, BadConfiguration::Line { line: 2, text: "nonsense".into() });
    }

    #[test]
    fn an_older_key_counts_when_the_newer_is_not_set() {
        let mut conf = Configuration::new();
        assert_eq!(conf.get(&SIZE).unwrap(), MemorySize::from_mib(1024));
        conf.set("a.heap.size", "512m");
        assert_eq!(conf.get(&SIZE).unwrap(), MemorySize::from_mib(512));
        conf.set("a.size", "2 gb");
        assert_eq!(conf.get(&SIZE).unwrap(), MemorySize::from_mib(2048));
        conf.set("a.size", "lots");
        let error = conf.get(&SIZE).unwrap_err().to_string();
        assert!(error.contains("`a.size`") && error.contains("`lots`"), "{error}");
    }

    #[test]
    fn durations_and_sizes_take_flinks_units() {
        for (text, ms) in [("500 ms", 500), ("500", 500), ("10s", 10_000), ("5 min", 300_000), ("1 h", 3_600_000)] {
            assert_eq!(Duration::read(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1 s", "1 fortnight", "1.5 s", "99999999999999999999 s", "99999999999999999 d"] {
            assert_eq!(Duration::read(text), None, "{text}");
        }
        for (text, bytes) in [("1024", 1024), ("1k", 1024), ("1 mb", 1 << 20), ("2G", 2 << 30), ("1tebibytes", 1 << 40)]
        {
            assert_eq!(text.parse::<MemorySize>().unwrap(), MemorySize(bytes), "{text}");
        }
        assert!("1 zb".parse::<MemorySize>().is_err());
        assert_eq!(MemorySize::from_mib(1600).to_string(), "1600 mb");
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut conf = Configuration::new();
        conf.set("security.ssl.key-password", "hunter2");
        conf.set("parallelism.default", "2");
        assert!(!format!("{conf:?}").contains("hunter2"));
        assert_eq!(conf.redacted().raw("security.ssl.key-password"), Some("******"));
        assert_eq!(conf.redacted().raw("parallelism.default"), Some("2"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*(\n\\PC*){0,4}") {
            let _ = Configuration::from_conf_text(&text);
            let _ = Duration::read(&text);
            let _ = text.parse::<MemorySize>();
        }
    }
}
