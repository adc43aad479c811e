//! What is submitted, as the JSON that the ResourceManager takes.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::RmError;
use crate::token::Credentials;
use crate::yarn::messages::{LocalResourceProto, UrlProto};
use crate::yarn::{ApplicationId, LaunchContext, Resource};

/// An application to be submitted.
///
/// Some mistakes are not refused at the submission but fail the application afterwards: an unknown queue, a missing file, a
/// wrong time stamp. Watch the application until it runs.
#[derive(Debug, Clone)]
pub struct SubmitApplication {
    /// From [`new_application`](super::ResourceManagerClient::new_application).
    pub id: ApplicationId,
    /// The name that lists show.
    pub name: String,
    /// The type that lists show and filter by, at most 20 characters.
    pub application_type: String,
    /// The queue; `None` is YARN's `default`.
    pub queue: Option<String>,
    /// Higher runs first within the queue; `None` is the queue's default.
    pub priority: Option<i32>,
    /// Tags to find it by; at most 10 of 100 ASCII characters. YARN turns them to lower case.
    pub tags: BTreeSet<String>,
    /// Memory and cores of the ApplicationMaster's container; other resource types are not sent.
    pub resource: Resource,
    /// What the ApplicationMaster's container runs.
    pub launch: LaunchContext,
    /// How often the ApplicationMaster is started in all; `None` is the cluster's default, which also is the upper limit.
    pub max_attempts: Option<u32>,
    /// Failures older than this do not count towards `max_attempts`; `None`: all count.
    pub attempt_failures_validity: Option<Duration>,
    /// Whether containers survive the end of an attempt, for the next one to take over.
    pub keep_containers: bool,
    /// Label of the nodes that its containers may run on.
    pub node_label: Option<String>,
    /// Label of the nodes that the ApplicationMaster's container may run on; `None` is `node_label`.
    pub master_node_label: Option<String>,
}

impl SubmitApplication {
    /// The JSON of `POST /ws/v1/cluster/apps`.
    pub(super) fn to_json(&self) -> Result<Value, RmError> {
        let mut json = json!({
            "application-id": self.id.to_string(),
            "application-name": self.name,
            "application-type": self.application_type,
            "unmanaged-AM": false,
            "keep-containers-across-application-attempts": self.keep_containers,
            "resource": {"memory": self.resource.memory_mb, "vCores": self.resource.vcores},
            "am-container-spec": launch_json(&self.launch)?,
        });
        let mut set = |key: &str, value: Option<Value>| {
            if let (Some(fields), Some(value)) = (json.as_object_mut(), value) {
                fields.insert(key.to_owned(), value);
            }
        };
        set("queue", self.queue.as_deref().map(Value::from));
        set("priority", self.priority.map(Value::from));
        set("max-app-attempts", self.max_attempts.map(Value::from));
        let validity = self.attempt_failures_validity.map(|validity| validity.as_millis() as u64);
        set("attempt-failures-validity-interval", validity.map(Value::from));
        set("application-tags", (!self.tags.is_empty()).then(|| json!({"tag": self.tags})));
        set("app-node-label-expression", self.node_label.as_deref().map(Value::from));
        set("am-container-node-label-expression", self.master_node_label.as_deref().map(Value::from));
        Ok(json)
    }
}

fn launch_json(launch: &LaunchContext) -> Result<Value, RmError> {
    let context = launch.to_proto().map_err(|error| RmError::Submission(Box::new(error)))?;
    let resources = context
        .local_resources
        .iter()
        .filter_map(|entry| Some((entry.key.as_deref()?, resource_json(entry.value.as_ref()?))));
    let environment = context
        .environment
        .iter()
        .filter_map(|entry| Some((entry.key.as_deref()?, Value::from(entry.value.as_deref()?))));
    let acls = context.application_acls.iter().filter_map(|entry| {
        let access = if entry.access_type == Some(1) { "VIEW_APP" } else { "MODIFY_APP" };
        Some((access, Value::from(entry.acl.as_deref()?)))
    });
    let mut json = json!({
        "commands": {"command": context.command.join(" ")},
        "local-resources": entries(resources),
        "environment": entries(environment),
        "application-acls": entries(acls),
    });
    if let (Some(tokens), Some(fields)) = (&context.tokens, json.as_object_mut()) {
        let credentials = Credentials::from_bytes(tokens).map_err(|error| RmError::Submission(Box::new(error)))?;
        let tokens = credentials.tokens().map(|(alias, token)| (alias, Value::from(token.to_url_string())));
        let secrets = credentials.secrets().map(|(name, secret)| (name, Value::from(STANDARD.encode(secret))));
        fields.insert("credentials".to_owned(), json!({"tokens": entries(tokens), "secrets": entries(secrets)}));
    }
    Ok(json)
}

/// A map in the services' form: `{"entry":[{"key":…,"value":…}]}`.
fn entries<'a>(pairs: impl Iterator<Item = (&'a str, Value)>) -> Value {
    let entries: Vec<Value> = pairs.map(|(key, value)| json!({"key": key, "value": value})).collect();
    json!({"entry": entries})
}

fn resource_json(resource: &LocalResourceProto) -> Value {
    let mut json = Map::new();
    json.insert("resource".to_owned(), resource.resource.as_ref().map(uri).into());
    json.insert("type".to_owned(), if resource.kind == Some(1) { "ARCHIVE" } else { "FILE" }.into());
    let visibility = match resource.visibility {
        Some(1) => "PUBLIC",
        Some(2) => "PRIVATE",
        _ => "APPLICATION",
    };
    json.insert("visibility".to_owned(), visibility.into());
    json.insert("size".to_owned(), resource.size.into());
    json.insert("timestamp".to_owned(), resource.timestamp.into());
    Value::Object(json)
}

/// The URL as a `java.net.URI`, which the ResourceManager decodes again: everything but plain characters is escaped.
fn uri(url: &UrlProto) -> String {
    let mut text = format!("{}://{}", url.scheme.as_deref().unwrap_or(""), url.host.as_deref().unwrap_or(""));
    if let Some(port) = url.port.filter(|port| *port >= 0) {
        text.push_str(&format!(":{port}"));
    }
    for byte in url.file.as_deref().unwrap_or("").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Token;
    use crate::yarn::{LocalResource, ResourceKind, Visibility};

    fn application(launch: LaunchContext) -> SubmitApplication {
        SubmitApplication {
            id: "application_1_0003".parse().unwrap(),
            name: "job".to_owned(),
            application_type: "Test".to_owned(),
            queue: None,
            priority: None,
            tags: BTreeSet::new(),
            resource: Resource::new(256, 1),
            launch,
            max_attempts: None,
            attempt_failures_validity: None,
            keep_containers: true,
            node_label: None,
            master_node_label: None,
        }
    }

    #[test]
    fn the_json_has_the_form_that_yarn_reads() {
        let resource = LocalResource {
            url: "hdfs://nn:8020/a b/ü%20.sh".parse().unwrap(),
            size: 615,
            timestamp_ms: 1_795_228_684_344,
            kind: ResourceKind::File,
            visibility: Visibility::Application,
        };
        let mut credentials = Credentials::default();
        let (identifier, password) = (b"id1".to_vec(), b"pw1".to_vec());
        let token = Token { identifier, password, kind: "MY_KIND".to_owned(), service: "svc:1".to_owned() };
        credentials.add_token("my-alias", token);
        credentials.add_secret("mysecret", b"hello".to_vec());
        let launch = LaunchContext::new().resource("am.sh", resource).unwrap().env("A", "b c").unwrap();
        let launch = launch.command(["./am.sh"]).unwrap().credentials(&credentials).acls("*", "alice");
        let application = SubmitApplication {
            queue: Some("root.q".to_owned()),
            priority: Some(3),
            max_attempts: Some(2),
            attempt_failures_validity: Some(Duration::from_secs(600)),
            tags: BTreeSet::from(["t1".to_owned(), "t2".to_owned()]),
            ..application(launch)
        };
        let expected = json!({
            "application-id": "application_1_0003", "application-name": "job", "application-type": "Test",
            "queue": "root.q", "priority": 3, "unmanaged-AM": false, "max-app-attempts": 2,
            "keep-containers-across-application-attempts": true, "attempt-failures-validity-interval": 600_000,
            "application-tags": {"tag": ["t1", "t2"]}, "resource": {"memory": 256, "vCores": 1},
            "am-container-spec": {
                "commands": {"command": "exec ./am.sh 1><LOG_DIR>/stdout 2><LOG_DIR>/stderr"},
                "environment": {"entry": [{"key": "A", "value": "b c"}]},
                "local-resources": {"entry": [{"key": "am.sh", "value": {
                    "resource": "hdfs://nn:8020/a%20b/%C3%BC%2520.sh", "type": "FILE", "visibility": "APPLICATION",
                    "size": 615, "timestamp": 1_795_228_684_344_u64}}]},
                "application-acls": {"entry": [
                    {"key": "VIEW_APP", "value": "*"}, {"key": "MODIFY_APP", "value": "alice"}]},
                "credentials": {
                    "tokens": {"entry": [{"key": "my-alias", "value": "A2lkMQNwdzEHTVlfS0lORAVzdmM6MQ"}]},
                    "secrets": {"entry": [{"key": "mysecret", "value": "aGVsbG8="}]}},
            },
        });
        assert_eq!(application.to_json().unwrap(), expected);
    }

    #[test]
    fn what_is_not_given_is_left_to_yarn() {
        let json = application(LaunchContext::new().command(["x"]).unwrap()).to_json().unwrap();
        for key in ["queue", "priority", "max-app-attempts", "attempt-failures-validity-interval", "application-tags"] {
            assert!(json.get(key).is_none(), "{key}");
        }
        assert!(json.pointer("/am-container-spec/credentials").is_none());
        assert!(matches!(application(LaunchContext::new()).to_json(), Err(RmError::Submission(_))));
    }
}
