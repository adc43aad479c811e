//! Where a web page goes on when its JobManager does not answer any more: from the leader to who stands by, and from there to the leader.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `host:port` of another process's web page, which comes and goes. Cheap to clone: all clones are the same place.
#[derive(Debug, Clone, Default)]
pub struct Elsewhere(Arc<Mutex<Option<String>>>);

impl Elsewhere {
    /// From now on it is there. What is no `host:port` is nowhere: it becomes a part of headers and pages.
    pub fn is_at(&self, address: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        *self.lock() = Some(address.to_owned()).filter(|address| !address.is_empty() && address.bytes().all(plain));
    }

    /// It is no more, unless it is elsewhere already.
    pub fn is_gone_from(&self, address: &str) {
        self.lock().take_if(|current| current == address);
    }

    /// `http://host:port`, if there is such a place.
    pub fn url(&self) -> Option<String> {
        self.lock().as_ref().map(|address| format!("http://{address}"))
    }

    /// Held for a look only.
    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_stand_in_a_header_is_a_place_and_who_goes_takes_only_its_own() {
        let elsewhere = Elsewhere::default();
        for bad in ["", "a b:1", "a:1; script-src *", "a:1\" onload=\"x", "a:1\r\nx: y", "a/b", "é:1"] {
            elsewhere.is_at(bad);
            assert_eq!(elsewhere.url(), None, "{bad}");
        }
        elsewhere.is_at("[::1]:80");
        assert_eq!(elsewhere.url().as_deref(), Some("http://[::1]:80"));
        elsewhere.is_at("node-2.example:8081");
        elsewhere.is_gone_from("[::1]:80");
        assert_eq!(elsewhere.clone().url().as_deref(), Some("http://node-2.example:8081"));
        elsewhere.is_gone_from("node-2.example:8081");
        assert_eq!(elsewhere.url(), None);
    }
}
