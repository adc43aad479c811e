//! The scheduler's queues.

use serde::Deserialize;
use serde_json::Value;

use super::cluster::ResourceJson;
use super::{one_or_many, or_default};
use crate::yarn::Resource;

/// A queue with those below it. What a scheduler does not tell is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Queue {
    /// The last part of its path.
    pub name: String,
    /// Its whole path, such as `root.prod`.
    pub path: String,
    /// `RUNNING`, `STOPPED` or `DRAINING`; a queue that is not running takes no applications. Capacity and FIFO scheduler.
    pub state: Option<String>,
    /// Its guaranteed share of the queue above it, in percent. Capacity scheduler.
    pub capacity_percent: Option<f64>,
    /// The most that it may have of the queue above it, in percent. Capacity scheduler.
    pub max_capacity_percent: Option<f64>,
    /// How much of its share is in use, in percent; above 100 it borrows. Capacity scheduler.
    pub used_capacity_percent: Option<f64>,
    /// Applications in it, running and waiting.
    pub applications: Option<u64>,
    /// The most applications that it takes.
    pub max_applications: Option<u64>,
    /// What its applications use.
    pub used: Option<Resource>,
    /// The most that its applications may use together. Fair scheduler.
    pub max_resources: Option<Resource>,
    /// Queues below it.
    pub children: Vec<Queue>,
}

impl Queue {
    /// Whether applications can be submitted to it: it has no queues below.
    pub fn is_leaf(&self) -> bool {
        self.children.is_empty()
    }

    /// The leaves of this tree, in the order of the configuration.
    pub fn leaves(&self) -> Vec<&Queue> {
        if self.is_leaf() {
            return vec![self];
        }
        self.children.iter().flat_map(Queue::leaves).collect()
    }
}

/// The fields of all three schedulers in one.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct QueueJson {
    #[serde(deserialize_with = "or_default")]
    queue_name: String,
    queue_path: Option<String>,
    state: Option<String>,
    qstate: Option<String>,
    capacity: Option<f64>,
    max_capacity: Option<f64>,
    used_capacity: Option<f64>,
    num_applications: Option<i64>,
    num_active_apps: Option<i64>,
    num_pending_apps: Option<i64>,
    max_applications: Option<i64>,
    max_apps: Option<i64>,
    resources_used: Option<ResourceJson>,
    used_resources: Option<ResourceJson>,
    max_resources: Option<ResourceJson>,
    /// Capacity scheduler.
    #[serde(deserialize_with = "or_default")]
    queues: Children,
    /// Fair scheduler; in Hadoop 2 an array, later an object that holds one.
    #[serde(deserialize_with = "fair_children")]
    child_queues: Vec<QueueJson>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Children {
    #[serde(deserialize_with = "one_or_many")]
    queue: Vec<QueueJson>,
}

fn fair_children<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<QueueJson>, D::Error> {
    let value = match Value::deserialize(deserializer)? {
        Value::Object(mut fields) => fields.remove("queue").unwrap_or_default(),
        other => other,
    };
    one_or_many(value).map_err(serde::de::Error::custom)
}

/// The root of the tree in an answer of `/ws/v1/cluster/scheduler`; `None` when there is none in it.
pub(super) fn parse(answer: &Value) -> Option<Queue> {
    let info = answer.pointer("/scheduler/schedulerInfo")?;
    let root = info.get("rootQueue").unwrap_or(info);
    let root: QueueJson = serde_json::from_value(root.clone()).ok()?;
    Some(root.into_queue(None))
}

impl QueueJson {
    fn into_queue(self, parent: Option<&str>) -> Queue {
        // The FIFO scheduler has one queue without a name.
        let given = if self.queue_name.is_empty() { "default".to_owned() } else { self.queue_name };
        let path = match (self.queue_path, parent) {
            (Some(path), _) => path,
            // The fair scheduler's names are whole paths.
            (None, Some(parent)) if !given.starts_with(&format!("{parent}.")) => format!("{parent}.{given}"),
            (None, _) => given.clone(),
        };
        let count = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        let fair_count = match (count(self.num_active_apps), count(self.num_pending_apps)) {
            (None, None) => None,
            (active, pending) => Some(active.unwrap_or(0).saturating_add(pending.unwrap_or(0))),
        };
        Queue {
            name: given.rsplit('.').next().unwrap_or(&given).to_owned(),
            state: self.state.or(self.qstate),
            capacity_percent: self.capacity,
            max_capacity_percent: self.max_capacity,
            used_capacity_percent: self.used_capacity,
            applications: count(self.num_applications).or(fair_count),
            max_applications: count(self.max_applications.or(self.max_apps)),
            used: self.resources_used.or(self.used_resources).map(Resource::from),
            max_resources: self.max_resources.map(Resource::from),
            children: self
                .queues
                .queue
                .into_iter()
                .chain(self.child_queues)
                .map(|q| q.into_queue(Some(&path)))
                .collect(),
            path,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn leaves(answer: &Value) -> Vec<String> {
        parse(answer).unwrap().leaves().iter().map(|queue| queue.path.clone()).collect()
    }

    #[test]
    fn the_capacity_schedulers_tree_is_read_to_its_leaves() {
        let answer = json!({"scheduler": {"schedulerInfo": {"type": "capacityScheduler", "queueName": "root", "queuePath": "root",
        "capacity": 100.0, "queues": {"queue": [
            {"queueName": "default", "queuePath": "root.default", "state": "RUNNING", "capacity": 40.0, "maxCapacity": 50.0,
             "usedCapacity": 12.5, "numApplications": 3, "maxApplications": 10000,
             "resourcesUsed": {"memory": 1024, "vCores": 2}},
            {"queueName": "prod", "state": "RUNNING", "queues": {"queue": {"queueName": "a", "state": "STOPPED"}}},
        ]}}}});
        assert_eq!(leaves(&answer), ["root.default", "root.prod.a"]);
        let root = parse(&answer).unwrap();
        let default = root.leaves()[0];
        assert_eq!((default.name.as_str(), default.state.as_deref()), ("default", Some("RUNNING")));
        assert_eq!((default.capacity_percent, default.max_capacity_percent), (Some(40.0), Some(50.0)));
        assert_eq!((default.applications, default.max_applications), (Some(3), Some(10_000)));
        assert_eq!(default.used, Some(Resource::new(1024, 2)));
    }

    #[test]
    fn the_fair_schedulers_tree_is_read_in_both_its_forms() {
        let leaf = json!({"queueName": "root.a.b", "maxApps": 5, "numActiveApps": 1, "numPendingApps": 2,
            "maxResources": {"memory": 4096, "vCores": 4}});
        for children in [json!({"queue": [leaf]}), json!([leaf]), json!({"queue": leaf})] {
            let answer = json!({"scheduler": {"schedulerInfo": {"type": "fairScheduler", "rootQueue": {"queueName": "root",
                "childQueues": {"queue": [{"queueName": "root.a", "childQueues": children}]}}}}});
            assert_eq!(leaves(&answer), ["root.a.b"]);
            let root = parse(&answer).unwrap();
            let leaf = root.leaves()[0];
            assert_eq!((leaf.name.as_str(), leaf.applications, leaf.max_applications), ("b", Some(3), Some(5)));
            assert_eq!(leaf.max_resources, Some(Resource::new(4096, 4)));
        }
    }

    #[test]
    fn the_fifo_scheduler_has_one_queue() {
        let answer =
            json!({"scheduler": {"schedulerInfo": {"type": "fifoScheduler", "capacity": 1.0, "qstate": "RUNNING"}}});
        assert_eq!(leaves(&answer), ["default"]);
        assert_eq!(parse(&answer).unwrap().state.as_deref(), Some("RUNNING"));
    }

    #[test]
    fn what_is_no_scheduler_is_none() {
        for answer in [json!(null), json!({"scheduler": {}}), json!({"scheduler": {"schedulerInfo": {"queues": 1}}})] {
            assert_eq!(parse(&answer), None, "{answer}");
        }
    }

    /// JSON that is made of the right keys, but of the wrong values.
    fn any_json() -> impl Strategy<Value = Value> {
        let keys =
            ["scheduler", "schedulerInfo", "rootQueue", "queues", "queue", "childQueues", "queueName", "capacity"];
        let leaf = prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), ".{0,4}".prop_map(Value::from)];
        leaf.prop_recursive(6, 64, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((prop::sample::select(keys.to_vec()), inner), 0..4).prop_map(|fields| {
                    Value::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_panics(info in any_json()) {
            if let Some(root) = parse(&json!({"scheduler": {"schedulerInfo": info}})) {
                prop_assert!(!root.leaves().is_empty());
            }
        }
    }
}
