//! Hadoop's configuration: core-site.xml, hdfs-site.xml and yarn-site.xml, read as Hadoop's clients read them.
//!
//! In: the environment and the files that it points to. Out: typed values, addresses, and the expanded map that other
//! clients take. `final` properties, `${…}`, XInclude and old key names work as in Hadoop. Defaults are built in for the
//! keys used here, not for all of Hadoop's.

mod addresses;
mod defaults;
mod error;
mod expand;
mod load;
mod xml;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use addresses::RmAddress;
pub use error::ConfError;

/// Looks up a variable of the environment.
type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A loaded configuration. Cheap to read, cloned by value.
#[derive(Clone)]
pub struct Configuration {
    properties: BTreeMap<String, Property>,
    env: Lookup,
}

#[derive(Clone)]
struct Property {
    value: String,
    is_final: bool,
}

/// Values may be secrets, so only their number is shown.
impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration").field("properties", &self.properties.len()).finish_non_exhaustive()
    }
}

impl Configuration {
    /// Hadoop's defaults alone. `env` looks up environment variables for `${env.…}` and `${user.name}`.
    pub fn empty(env: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self::with_lookup(Arc::new(env))
    }

    /// Reads core-site.xml, hdfs-site.xml and yarn-site.xml, each from the first of these directories that has it:
    /// `$YARN_CONF_DIR`, `$HADOOP_CONF_DIR`, `$HADOOP_CONF_PATH`, `$HADOOP_HOME/etc/hadoop`, `$HADOOP_HOME/conf`.
    ///
    /// `env` looks up environment variables; pass `|name| std::env::var(name).ok()`.
    ///
    /// # Errors
    /// [`ConfError::NoFiles`] when none is found; [`ConfError::Read`] and [`ConfError::Xml`].
    pub fn load(env: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Result<Self, ConfError> {
        load::load(Arc::new(env))
    }

    fn with_lookup(env: Lookup) -> Self {
        Self { properties: BTreeMap::new(), env }
    }

    /// Reads one more file over what is there. Values that are final stay.
    ///
    /// # Errors
    /// [`ConfError::Read`] and [`ConfError::Xml`].
    pub fn add_file(&mut self, file: &Path) -> Result<(), ConfError> {
        load::add_file(self, file, 0)
    }

    fn add(&mut self, key: &str, value: String, is_final: bool) {
        let key = defaults::current_name(key);
        match self.properties.get_mut(key) {
            Some(fixed) if fixed.is_final => {}
            Some(property) => *property = Property { value, is_final },
            None => drop(self.properties.insert(key.to_owned(), Property { value, is_final })),
        }
    }

    /// Sets a value over everything that files say, final or not.
    pub fn set(&mut self, key: impl AsRef<str>, value: impl Into<String>) {
        let key = defaults::current_name(key.as_ref());
        self.properties.insert(key.to_owned(), Property { value: value.into(), is_final: true });
    }

    /// The value as written, or Hadoop's default.
    pub fn get_raw(&self, key: &str) -> Option<&str> {
        let key = defaults::current_name(key);
        self.properties.get(key).map(|property| property.value.as_str()).or_else(|| defaults::default(key))
    }

    /// The value with its variables replaced and blanks around it removed, or Hadoop's default.
    ///
    /// # Errors
    /// [`ConfError::TooManySubstitutions`].
    pub fn get(&self, key: &str) -> Result<Option<String>, ConfError> {
        let Some(raw) = self.get_raw(key) else { return Ok(None) };
        let property = |name: &str| self.system_property(name).or_else(|| self.get_raw(name).map(str::to_owned));
        match expand::expand(raw, &property, &*self.env) {
            Some(value) => Ok(Some(value.trim().to_owned())),
            None => Err(ConfError::TooManySubstitutions { key: key.to_owned(), limit: expand::MAX_SUBSTITUTIONS }),
        }
    }

    /// The Java system properties that configurations refer to.
    fn system_property(&self, name: &str) -> Option<String> {
        match name {
            "user.name" => (self.env)("USER").or_else(|| (self.env)("LOGNAME")),
            "user.home" => (self.env)("HOME"),
            "user.dir" => (self.env)("PWD"),
            "java.io.tmpdir" => Some("/tmp".to_owned()),
            _ => None,
        }
    }

    /// A whole number, decimal or `0x…`.
    ///
    /// # Errors
    /// [`ConfError::BadValue`] when it is none.
    pub fn get_i64(&self, key: &str) -> Result<Option<i64>, ConfError> {
        self.parse(key, "whole number", |text| match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) => i64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        })
    }

    /// `true` or `false`, in any case.
    ///
    /// # Errors
    /// [`ConfError::BadValue`] when it is neither.
    pub fn get_bool(&self, key: &str) -> Result<Option<bool>, ConfError> {
        self.parse(key, "`true` or `false`", |text| match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    /// A time such as `30s` or `5m` (units ns, us, ms, s, m, h, d); a bare number counts in `unit`.
    ///
    /// # Errors
    /// [`ConfError::BadValue`] when it is none, or negative.
    pub fn get_duration(&self, key: &str, unit: Duration) -> Result<Option<Duration>, ConfError> {
        self.parse(key, "time such as 30s", |text| parse_duration(text, unit))
    }

    /// The parts between commas, without blanks around them; empty parts are left out. Empty when the key is not set.
    ///
    /// # Errors
    /// [`ConfError::TooManySubstitutions`].
    pub fn get_list(&self, key: &str) -> Result<Vec<String>, ConfError> {
        let text = self.get(key)?.unwrap_or_default();
        Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }

    fn parse<T>(
        &self,
        key: &str,
        wanted: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfError> {
        match self.get(key)? {
            None => Ok(None),
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => match parse(&text) {
                Some(value) => Ok(Some(value)),
                None => Err(ConfError::BadValue { key: key.to_owned(), value: text, wanted }),
            },
        }
    }

    /// All properties, those of the files and the built-in defaults, with their variables replaced: for clients that take
    /// a plain map. A value that can't be expanded is given as it is written.
    pub fn expanded(&self) -> BTreeMap<String, String> {
        let defaults = defaults::DEFAULTS.iter().map(|(key, _)| *key);
        let keys = defaults.chain(self.properties.keys().map(String::as_str));
        keys.filter_map(|key| {
            let value = self.get(key).ok().flatten().or_else(|| self.get_raw(key).map(str::to_owned))?;
            Some((key.to_owned(), value))
        })
        .collect()
    }
}

fn parse_duration(text: &str, unit: Duration) -> Option<Duration> {
    let text = text.to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let unit = match suffix.trim() {
        "" => unit,
        "ns" => Duration::from_nanos(1),
        "us" => Duration::from_micros(1),
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        "d" => Duration::from_secs(86400),
        _ => return None,
    };
    let nanos = unit.as_nanos().checked_mul(number.parse().ok()?)?;
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(properties: &[(&str, &str)]) -> Configuration {
        let mut conf = Configuration::empty(|name| (name == "USER").then(|| "alice".to_owned()));
        properties.iter().for_each(|(key, value)| conf.set(*key, *value));
        conf
    }

    #[test]
    fn values_have_types() {
        let conf =
            conf(&[("n", " 12 "), ("hex", "0xff"), ("yes", "TRUE"), ("list", "a, b,,c "), ("none", ""), ("x", "x")]);
        assert_eq!(conf.get_i64("n").unwrap(), Some(12));
        assert_eq!(conf.get_i64("hex").unwrap(), Some(255));
        assert_eq!(conf.get_bool("yes").unwrap(), Some(true));
        assert_eq!(conf.get_list("list").unwrap(), ["a", "b", "c"]);
        assert_eq!(conf.get_i64("none").unwrap(), None);
        assert_eq!(conf.get_i64("not.set").unwrap(), None);
        assert!(conf.get_list("not.set").unwrap().is_empty());
        let text = conf.get_i64("x").unwrap_err().to_string();
        assert!(text.contains("property x is `x`"), "{text}");
        assert!(conf.get_bool("x").is_err());
    }

    #[test]
    fn times_have_units() {
        let cases = [
            ("1500", Some(1500)),
            ("30s", Some(30_000)),
            ("5 m", Some(300_000)),
            ("2H", Some(7_200_000)),
            ("1d", Some(86_400_000)),
            ("7ms", Some(7)),
            ("-1", None),
            ("s", None),
            ("1x", None),
            ("1.5s", None),
            ("99999999999999999999", None),
            ("99999999999d", None),
        ];
        for (text, expected) in cases {
            let value = conf(&[("t", text)]).get_duration("t", Duration::from_millis(1));
            assert_eq!(value.ok().flatten(), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn old_names_mean_the_new_ones() {
        let conf = conf(&[("fs.default.name", "hdfs://nn:1")]);
        assert_eq!(conf.default_fs().unwrap(), "hdfs://nn:1");
        assert_eq!(conf.get("fs.default.name").unwrap().as_deref(), Some("hdfs://nn:1"));
        assert!(!conf.expanded().contains_key("fs.default.name"));
    }

    #[test]
    fn the_expanded_map_has_files_and_defaults() {
        let map = conf(&[("a", "${b}x"), ("b", " 1 "), ("loop", "${loop2}"), ("loop2", "${loop}")]).expanded();
        let get = |key: &str| map.get(key).map(String::as_str);
        assert_eq!(get("a"), Some("1 x"));
        assert_eq!(get("hadoop.tmp.dir"), Some("/tmp/hadoop-alice"));
        assert_eq!(get("fs.defaultFS"), Some("file:///"));
        assert_eq!(get("loop"), Some("${loop2}"));
    }

    #[test]
    fn variables_without_end_are_an_error_naming_the_key() {
        let text = conf(&[("loop", "${loop2}"), ("loop2", "${loop}")]).get("loop").unwrap_err().to_string();
        assert!(text.contains("loop") && text.contains("20"), "{text}");
    }

    #[test]
    fn debug_output_shows_no_values() {
        assert!(!format!("{:?}", conf(&[("secret", "hunter2")])).contains("hunter2"));
    }
}
