//! Watches over the attached client of a job that was started with `-sae`: when it falls silent, its job is cancelled. Pure.

use flumen_jobmaster::Timestamp;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientWatch {
    /// When the client is taken for gone; `None`: nobody watches, or the silence was told.
    expires: Option<Timestamp>,
}

impl ClientWatch {
    /// No client has to give signs of life.
    pub fn off() -> Self {
        Self { expires: None }
    }

    /// The client has to be heard until then for the first time.
    pub fn until(expires: Timestamp) -> Self {
        Self { expires: Some(expires) }
    }

    /// The client was heard, and is to be heard again until then.
    pub fn heard(&mut self, expires: Timestamp) {
        if let Some(current) = &mut self.expires {
            *current = expires.max(*current);
        }
    }

    /// When the silence will be too long.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// True once, when the silence is too long.
    pub fn has_fallen_silent(&mut self, now: Timestamp) -> bool {
        self.expires.take_if(|expires| *expires <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_once_and_signs_of_life_put_it_off() {
        let mut watch = ClientWatch::until(Timestamp(100));
        assert!(!watch.has_fallen_silent(Timestamp(99)));
        watch.heard(Timestamp(200));
        watch.heard(Timestamp(150));
        assert_eq!(watch.expires(), Some(Timestamp(200)));
        assert!(!watch.has_fallen_silent(Timestamp(199)));
        assert!(watch.has_fallen_silent(Timestamp(200)));
        assert!(!watch.has_fallen_silent(Timestamp(300)));
        watch.heard(Timestamp(400));
        assert_eq!(watch.expires(), None, "it is too late for signs of life");
    }

    #[test]
    fn without_a_watch_nobody_falls_silent() {
        let mut watch = ClientWatch::off();
        watch.heard(Timestamp(1));
        assert!(!watch.has_fallen_silent(Timestamp(u64::MAX)));
    }
}
