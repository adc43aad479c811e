//! What the ApplicationMaster reads of the Hadoop properties that the client staged.

use std::collections::BTreeMap;

use flumen_hadoop::conf::{ConfError, Configuration};

/// The staged properties, which are expanded already.
pub fn configuration(properties: &BTreeMap<String, String>) -> Configuration {
    let mut conf = Configuration::empty(|name| std::env::var(name).ok());
    for (key, value) in properties {
        conf.set(key, value);
    }
    conf
}

/// `host:port` of the schedulers of all ResourceManagers, in the order in which they are tried.
///
/// # Errors
/// [`ConfError`] when the properties don't name them.
pub fn scheduler_addresses(conf: &Configuration) -> Result<Vec<String>, ConfError> {
    Ok(conf.scheduler_addresses()?.into_iter().map(|rm| rm.address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_resourcemanagers_are_named() {
        let pairs = [
            ("yarn.resourcemanager.ha.enabled", "true"),
            ("yarn.resourcemanager.ha.rm-ids", "rm1,rm2"),
            ("yarn.resourcemanager.hostname.rm1", "a"),
            ("yarn.resourcemanager.scheduler.address.rm2", "b:9030"),
        ];
        let properties = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(scheduler_addresses(&configuration(&properties)).unwrap(), ["a:8030", "b:9030"]);
    }
}
