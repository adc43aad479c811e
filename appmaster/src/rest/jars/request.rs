//! What a request to run or to plan a program says, in its body or, as older clients have it, in its query. Pure.

use std::collections::BTreeMap;
use std::fmt::Display;

use flumen_model::config::{ConfigOption, Configuration};
use flumen_model::ids::JobId;
use flumen_model::options::{checkpointing, execution};
use serde::Deserialize;

use super::JarError;

/// `JarRunRequestBody` and `JarPlanRequestBody`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Body {
    program_args: Option<String>,
    program_args_list: Option<Vec<String>>,
    parallelism: Option<u32>,
    job_id: Option<String>,
    allow_non_restored_state: Option<bool>,
    savepoint_path: Option<String>,
    claim_mode: Option<String>,
    restore_mode: Option<String>,
    flink_configuration: BTreeMap<String, String>,
    /// Flumen's own: whether the job ends when its client falls silent.
    client_heartbeat: bool,
}

/// The same as query parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Query {
    #[serde(rename = "program-args")]
    program_args: Option<String>,
    /// Separated by commas.
    program_arg: Option<String>,
    parallelism: Option<u32>,
    #[serde(rename = "jobid")]
    job_id: Option<String>,
    allow_non_restored_state: Option<bool>,
    savepoint_path: Option<String>,
    claim_mode: Option<String>,
    restore_mode: Option<String>,
}

/// What is to be run.
#[derive(Debug, PartialEq)]
pub(super) struct Wish {
    pub(super) job: JobId,
    pub(super) arguments: Vec<String>,
    /// The job's: the cluster's with what the request says over it.
    pub(super) configuration: Configuration,
    pub(super) client_heartbeat: bool,
}

impl Wish {
    /// What the body says counts before the query. Without an id the job gets `new_id`.
    ///
    /// # Errors
    /// [`JarError::Request`].
    pub(super) fn read(
        body: Body,
        query: Query,
        cluster: &Configuration,
        new_id: impl FnOnce() -> JobId,
    ) -> Result<Self, JarError> {
        let job = match body.job_id.or(query.job_id) {
            None => new_id(),
            Some(text) => text.parse().map_err(|_| JarError::Request(format!("`{text}` is no id of a job")))?,
        };
        let parallelism = body.parallelism.or(query.parallelism);
        if parallelism == Some(0) {
            return Err(JarError::Request("the parallelism must be at least 1".to_owned()));
        }
        let mut configuration = cluster.clone();
        for (key, value) in body.flink_configuration {
            configuration.set(key, value);
        }
        let conf = &mut configuration;
        put(conf, &execution::PARALLELISM, parallelism);
        put(conf, &checkpointing::SAVEPOINT_PATH, body.savepoint_path.or(query.savepoint_path));
        put(conf, &checkpointing::IGNORE_UNCLAIMED, body.allow_non_restored_state.or(query.allow_non_restored_state));
        let mode = body.claim_mode.or(body.restore_mode).or(query.claim_mode).or(query.restore_mode);
        put(conf, &checkpointing::CLAIM_MODE, mode);
        let listed = body.program_args_list.or_else(|| query.program_arg.map(|list| separated(&list)));
        let arguments = match (listed, body.program_args.or(query.program_args)) {
            (Some(_), Some(_)) => {
                return Err(JarError::Request(
                    "programArgs and programArgsList are both given: programArgsList is enough".to_owned(),
                ));
            }
            (Some(list), None) => list,
            (None, Some(line)) => words(&line),
            (None, None) => vec![],
        };
        Ok(Self { job, arguments, configuration, client_heartbeat: body.client_heartbeat })
    }
}

fn put<T>(configuration: &mut Configuration, option: &ConfigOption<T>, value: Option<impl Display>) {
    if let Some(value) = value {
        configuration.put(option, value);
    }
}

fn separated(list: &str) -> Vec<String> {
    list.split(',').map(str::to_owned).filter(|one| !one.is_empty()).collect()
}

/// Arguments in one line, as Flink takes it apart: blanks separate, and quotes hold together what they enclose. A quote
/// that is not closed is a character like others.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = Some(first).filter(|c| ['"', '\''].contains(c));
        let closed = quoted.and_then(|quote| rest[1..].find(quote).filter(|&length| length > 0));
        let end = match closed {
            Some(length) => {
                words.push(rest[1..=length].to_owned());
                length + 2
            }
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                words.push(rest[..end].to_owned());
                end
            }
        };
        rest = rest[end..].trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(body: Value, query: Query) -> Result<Wish, JarError> {
        let mut cluster = Configuration::new();
        cluster.set("parallelism.default", "2");
        cluster.set("a.key", "cluster");
        Wish::read(serde_json::from_value(body).unwrap(), query, &cluster, || JobId(9))
    }

    #[test]
    fn a_body_says_what_is_run() {
        let wish = read(
            json!({
                "programArgsList": ["--input", "a b"], "parallelism": 3, "jobId": "000000000000000000000000000000ab",
                "allowNonRestoredState": true, "savepointPath": "/sp", "claimMode": "CLAIM",
                "flinkConfiguration": {"a.key": "job"}, "entryClass": "ignored", "unknown": 1,
            }),
            Query { parallelism: Some(7), ..Query::default() },
        )
        .unwrap();
        assert_eq!(
            (wish.job, wish.arguments, wish.client_heartbeat),
            (JobId(0xab), vec!["--input".into(), "a b".into()], false)
        );
        let conf = wish.configuration;
        assert_eq!(conf.get(&execution::PARALLELISM).unwrap(), 3, "the body counts before the query");
        assert_eq!(conf.find(&checkpointing::SAVEPOINT_PATH).unwrap().as_deref(), Some("/sp"));
        assert!(conf.get(&checkpointing::IGNORE_UNCLAIMED).unwrap());
        assert_eq!(conf.get(&checkpointing::CLAIM_MODE).unwrap(), "CLAIM");
        assert_eq!(conf.raw("a.key"), Some("job"));
    }

    #[test]
    fn a_query_says_the_same_in_its_way() {
        let query =
            Query { program_arg: Some("a,b".into()), restore_mode: Some("NO_CLAIM".into()), ..Query::default() };
        let wish = read(json!({}), query).unwrap();
        assert_eq!((wish.job, wish.arguments), (JobId(9), vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(wish.configuration.get(&checkpointing::CLAIM_MODE).unwrap(), "NO_CLAIM");
        assert_eq!(wish.configuration.get(&execution::PARALLELISM).unwrap(), 2, "the cluster's");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (body, part) in [
            (json!({"parallelism": 0}), "at least 1"),
            (json!({"jobId": "xyz"}), "`xyz`"),
            (json!({"programArgs": "a", "programArgsList": ["a"]}), "both"),
        ] {
            let error = read(body, Query::default()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_line_is_taken_apart_as_flink_does_it() {
        for (line, expected) in [
            ("", &[][..]),
            ("  --input  a ", &["--input", "a"]),
            ("--name 'two words' \"and 'three' more\"", &["--name", "two words", "and 'three' more"]),
            ("it's \"open", &["it's", "\"open"]),
            ("''", &["''"]),
            ("'a'b", &["a", "b"]),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_taken_apart(line in "[ a'\"ä\\n]{0,20}") {
            let count: usize = words(&line).iter().map(String::len).sum();
            prop_assert!(count <= line.len());
        }
    }
}
