//! The web page: three static files, embedded. It asks only this server, with addresses relative to its own, because it may
//! stand under `/proxy/<application>/` of YARN's proxy.
//!
//! When this server does not answer any more the page goes where it was told it may go on: from the leader to who stands by, and from
//! there to the leader. Before, it looks whether anybody is there, which is the one request to another server that its policy
//! allows.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::elsewhere::Elsewhere;

const INDEX: &str = include_str!("ui/index.html");
/// Where in it the other place goes.
const PLACE: &str = "{elsewhere}";

pub(super) async fn index(State(elsewhere): State<Elsewhere>) -> impl IntoResponse {
    let elsewhere = elsewhere.url().unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' {elsewhere}; img-src data:; \
         base-uri 'none'; form-action 'none'"
    );
    // Browsers that keep it would go where others were.
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, INDEX.replace(PLACE, &elsewhere))
}

/// `{"address":"http://host:port"}`, or `null`.
pub(super) async fn elsewhere(State(elsewhere): State<Elsewhere>) -> Json<Value> {
    Json(json!({ "address": elsewhere.url() }))
}

pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("ui/style.css"))
}

pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("ui/app.js"))
}
