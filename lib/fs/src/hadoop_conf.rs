//! Hadoop's client configuration as file systems need it.

use std::collections::BTreeMap;

use flumen_hadoop::conf::{ConfError, Configuration};

/// The variables that name Hadoop's configuration directory.
const VARIABLES: [&str; 4] = ["YARN_CONF_DIR", "HADOOP_CONF_DIR", "HADOOP_CONF_PATH", "HADOOP_HOME"];

/// The expanded properties of the Hadoop configuration that the environment names, for
/// [`FsOptions::hadoop`](crate::FsOptions::hadoop). `None` when it names none.
///
/// # Errors
/// [`ConfError`] when it names one that can't be read.
pub fn hadoop_properties(
    env: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> Result<Option<BTreeMap<String, String>>, ConfError> {
    if VARIABLES.iter().all(|name| env(name).is_none_or(|value| value.is_empty())) {
        return Ok(None);
    }
    Configuration::load(env).map(|configuration| Some(configuration.expanded()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_variable_is_no_configuration_and_a_wrong_one_is_an_error() {
        assert_eq!(hadoop_properties(|_| None).unwrap(), None);
        let wrong = |name: &str| (name == "HADOOP_CONF_DIR").then(|| "/nonexistent".to_owned());
        assert!(hadoop_properties(wrong).unwrap_err().to_string().contains("/nonexistent"));
    }

    #[test]
    fn the_properties_are_those_of_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let site = "<configuration><property><name>fs.defaultFS</name><value>hdfs://${a}:1</value></property>\
                    <property><name>a</name><value>b</value></property></configuration>";
        std::fs::write(directory.path().join("core-site.xml"), site).unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        let properties =
            hadoop_properties(move |name| (name == "HADOOP_CONF_DIR").then(|| path.clone())).unwrap().unwrap();
        assert_eq!(properties["fs.defaultFS"], "hdfs://b:1");
    }
}
