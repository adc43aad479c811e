//! What an HTTP answer of a ResourceManager means.

use serde_json::Value;

use super::RmError;

/// Bytes of an answer that are shown in messages.
const EXCERPT: usize = 200;

/// An answer as it came.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `Location`
    pub(super) location: Option<String>,
    /// `Refresh`: a standby asks a browser to come back.
    pub(super) refresh: bool,
    /// `WWW-Authenticate`
    pub(super) authenticate: Option<String>,
    pub(super) body: Vec<u8>,
}

/// What to do about it.
#[derive(Debug)]
pub(super) enum Verdict {
    Success(Value),
    /// Ask there: the ResourceManager on standby knows the active one.
    AskAt(String),
    /// The active one is not known yet.
    Standby,
    /// It can't serve now.
    Unavailable(String),
    Failed(RmError),
}

/// Decides by status, headers and body. `request` is method and path, `base` the URL that answered.
pub(super) fn judge(answer: &Answer, request: &str, base: &str) -> Verdict {
    let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
    match (answer.status, json) {
        (200..=299, _) if answer.body.iter().all(u8::is_ascii_whitespace) => Verdict::Success(Value::Null),
        (200..=299, Some(value)) => Verdict::Success(value),
        // "Can not find any active RM" comes as 200 text.
        (200..=299, None) if answer.refresh => Verdict::Standby,
        (301 | 302 | 303 | 307 | 308, _) => match answer.location.as_deref().and_then(origin) {
            Some(origin) => Verdict::AskAt(origin),
            None => Verdict::Standby,
        },
        (401, _) => Verdict::Failed(RmError::Unauthorized {
            request: request.to_owned(),
            scheme: answer.authenticate.clone().unwrap_or_else(|| "no scheme offered".to_owned()),
        }),
        // How `/conf` says that a key is not set.
        (404, None) if answer.body.is_empty() => {
            Verdict::Failed(RmError::NotFound { request: request.to_owned(), message: "it is not set".to_owned() })
        }
        (status, Some(json)) => refused(status, &json, answer, request),
        (status @ 500..=599, None) => Verdict::Unavailable(format!("{status} {}", excerpt(&answer.body))),
        (status, None) => Verdict::Failed(RmError::Malformed {
            request: request.to_owned(),
            url: base.to_owned(),
            reason: format!("status {status}: {}", excerpt(&answer.body)),
        }),
    }
}

/// `{"RemoteException":{"exception":"NotFoundException","message":"…","javaClassName":"…"}}`
fn refused(status: u16, json: &Value, answer: &Answer, request: &str) -> Verdict {
    let field = |name: &str| json.pointer(&format!("/RemoteException/{name}")).and_then(Value::as_str);
    let class = field("exception").unwrap_or("").to_owned();
    let message = match field("message") {
        Some(message) => {
            let line = message.lines().next().unwrap_or("");
            line.strip_prefix("java.lang.Exception: ").unwrap_or(line).to_owned()
        }
        None => excerpt(&answer.body),
    };
    match (status, class.as_str()) {
        (_, "StandbyException") => Verdict::Standby,
        (_, "RetriableException") => Verdict::Unavailable(message),
        (404, _) => Verdict::Failed(RmError::NotFound { request: request.to_owned(), message }),
        // Without a Java exception it is a proxy, or the server's start.
        (500..=599, "") => Verdict::Unavailable(format!("{status} {message}")),
        _ => Verdict::Failed(RmError::Refused { request: request.to_owned(), status, class, message }),
    }
}

/// `http://host:port` of a URL.
pub(super) fn origin(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    let origin = url.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

/// The beginning of a body on one line.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() }
    }

    fn exception(class: &str) -> String {
        format!(r#"{{"RemoteException":{{"exception":"{class}","message":"m\n\tat x","javaClassName":"a.{class}"}}}}"#)
    }

    #[test]
    fn answers_are_judged_by_status_and_exception() {
        let cases = [
            (answer(200, "{}"), "Success(Object {})"),
            (answer(202, ""), "Success(Null)"),
            (answer(200, r#"{"a":1,"a":2}"#), r#"Success(Object {"a": Number(2)})"#),
            (Answer { refresh: true, ..answer(200, "Can not find any active RM.") }, "Standby"),
            (
                Answer { location: Some("http://rm2:8088/x?y".to_owned()), ..answer(307, "") },
                r#"AskAt("http://rm2:8088")"#,
            ),
            (answer(307, ""), "Standby"),
            (answer(503, &exception("StandbyException")), "Standby"),
            (answer(503, "<html>"), "Unavailable"),
            (answer(502, "{}"), "Unavailable"),
            (answer(401, ""), "Failed(Unauthorized"),
            (answer(404, &exception("NotFoundException")), "Failed(NotFound"),
            (answer(404, ""), "Failed(NotFound"),
            (answer(404, "<html>"), "Failed(Malformed"),
            (answer(503, &exception("NullPointerException")), "Failed(Refused"),
        ];
        for (answer, expected) in cases {
            let verdict = format!("{:?}", judge(&answer, "GET /x", "http://rm1:8088"));
            assert!(verdict.starts_with(expected), "{answer:?}: {verdict}");
        }
    }

    #[test]
    fn a_refusal_tells_status_class_and_first_line() {
        let Verdict::Failed(error) = judge(&answer(400, &exception("BadRequestException")), "POST /apps", "http://rm")
        else {
            panic!("400 is a failure")
        };
        assert_eq!(error.to_string(), "the ResourceManager refused POST /apps with 400 BadRequestException: m");
    }

    proptest! {
        #[test]
        fn no_answer_panics(status in 100..600_u16, body: Vec<u8>, location: Option<String>) {
            let _ = judge(&Answer { status, location, body, ..Answer::default() }, "GET /x", "http://rm");
        }
    }
}
