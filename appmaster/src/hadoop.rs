//! What the ApplicationMaster reads of the Hadoop properties.

use std::collections::BTreeMap;

use crate::resource::yarn::Inspection;

/// Port of the scheduler when an address names none.
const SCHEDULER_PORT: u16 = 8030;

/// `host:port` of the schedulers of all ResourceManagers, in the order in which they are tried.
pub fn scheduler_addresses(properties: &BTreeMap<String, String>) -> Vec<String> {
    const KEY: &str = "yarn.resourcemanager.scheduler.address";
    let host = |suffix: &str| properties.get(&format!("yarn.resourcemanager.hostname{suffix}"));
    let address = |suffix: &str| match properties.get(&format!("{KEY}{suffix}")) {
        Some(address) if !address.is_empty() && address.contains(':') => Some(address.clone()),
        Some(address) if !address.is_empty() => Some(format!("{address}:{SCHEDULER_PORT}")),
        _ => host(suffix).map(|host| format!("{host}:{SCHEDULER_PORT}")),
    };
    match properties.get("yarn.resourcemanager.ha.rm-ids") {
        Some(ids) => ids.split(',').filter_map(|id| address(&format!(".{}", id.trim()))).collect(),
        None => address("").into_iter().collect(),
    }
}

/// How to find out how large the cluster is.
pub fn inspection(_properties: &BTreeMap<String, String>) -> Box<dyn Fn() -> Inspection + Send> {
    Box::new(|| Box::pin(async { None }))
}
