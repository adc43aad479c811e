//! Waiting for a condition: the only place of the tests that sleeps.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);
/// … and when it is measured.
const POLL_CLOSELY: Duration = Duration::from_millis(10);

/// Waits until `condition` gives a value, at most `limit`; `what` names it in the error.
///
/// # Errors
/// When the limit has passed, with the time and `what`.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    until_ok(what, limit, || condition().ok_or_else(String::new))
}

/// As [`until_ok`], but looks often: for what shall be measured, and costs little to look at.
///
/// # Errors
/// When the limit has passed.
pub fn closely<T>(what: &str, limit: Duration, condition: impl FnMut() -> Result<T, String>) -> Result<T> {
    poll(what, limit, POLL_CLOSELY, condition)
}

/// As [`until`], for a condition that says why it does not hold yet: the error repeats its last reason.
///
/// # Errors
/// When the limit has passed.
pub fn until_ok<T>(what: &str, limit: Duration, condition: impl FnMut() -> Result<T, String>) -> Result<T> {
    poll(what, limit, POLL, condition)
}

fn poll<T>(
    what: &str,
    limit: Duration,
    every: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let reason = match condition() {
            Ok(value) => return Ok(value),
            Err(reason) => reason,
        };
        if start.elapsed() >= limit {
            let colon = if reason.is_empty() { "" } else { ": " };
            bail!("{what}: not within {limit:?}{colon}{reason}");
        }
        pause(every);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one wait for a condition with a limit that the rule asks for"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_holds_at_once_does_not_wait() {
        assert_eq!(until("it", Duration::ZERO, || Some(7)).unwrap(), 7);
    }

    #[test]
    fn a_condition_that_never_holds_ends_with_its_last_reason() {
        let mut looks = 0;
        let error = until_ok("the daemon is up", Duration::from_secs(1), || -> Result<(), String> {
            looks += 1;
            Err(format!("look {looks}"))
        })
        .unwrap_err()
        .to_string();
        assert!(error.contains("the daemon is up") && error.ends_with(&format!("look {looks}")), "{error}");
        assert!(looks > 1);
    }
}
