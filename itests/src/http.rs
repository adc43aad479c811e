//! Blocking HTTP for looking at Hadoop from outside.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::blocking::{Client, Response};
use serde_json::Value;

/// Without redirects: WebHDFS wants the second request to carry the body, the first must not.
static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    // Building a client needs a TLS provider even where everything is plain HTTP; somebody else may have set it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(300))
        .build()
        .expect("a client without a certificate of its own always builds")
});

/// The client for requests that the helpers below don't cover.
pub(crate) fn client() -> &'static Client {
    &CLIENT
}

/// What stands at `url`, as JSON; an answer that isn't 2xx is an error with its body.
///
/// # Errors
/// Without an answer of 2xx, or one that is no JSON.
pub fn get_json(url: &str) -> Result<Value> {
    let body = checked(client().get(url).timeout(Duration::from_secs(10)).send()?)?.bytes()?;
    serde_json::from_slice(&body).with_context(|| format!("{url} did not answer with JSON"))
}

/// What stands at `url`, as text; an answer that isn't 2xx is an error with its body.
///
/// # Errors
/// Without an answer of 2xx.
pub fn get_text(url: &str) -> Result<String> {
    Ok(checked(client().get(url).timeout(Duration::from_secs(10)).send()?)?.text()?)
}

/// Turns an answer that isn't 2xx or a redirection into an error that quotes its body.
pub(crate) fn checked(response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() || status.is_redirection() {
        return Ok(response);
    }
    let url = response.url().clone();
    bail!("{url} answered {status}: {}", response.text().unwrap_or_default());
}
