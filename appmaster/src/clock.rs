//! The time of this process: the system's clock is read once, a monotonic one is added, so that time never runs back.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use flumen_jobmaster::Timestamp;

/// One moment on both of the clocks in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// For waiting.
    pub instant: Instant,
    /// For showing.
    pub timestamp: Timestamp,
}

impl Moment {
    /// The `Instant` of a time that is given for showing.
    pub fn instant_of(self, timestamp: Timestamp) -> Instant {
        self.instant + std::time::Duration::from_millis(timestamp.since(self.timestamp))
    }
}

fn start() -> Moment {
    static START: OnceLock<Moment> = OnceLock::new();
    *START.get_or_init(|| {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = Timestamp::default().after(since_1970);
        Moment { instant: Instant::now(), timestamp }
    })
}

/// This moment.
pub fn now() -> Moment {
    let start = start();
    let instant = Instant::now();
    Moment { instant, timestamp: start.timestamp.after(instant.saturating_duration_since(start.instant)) }
}

/// This moment, for showing.
pub fn timestamp() -> Timestamp {
    now().timestamp
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn both_clocks_agree() {
        let (first, second) = (now(), now());
        assert!(second.timestamp >= first.timestamp);
        let later = first.timestamp.after(Duration::from_secs(5));
        assert_eq!(first.instant_of(later), first.instant + Duration::from_secs(5));
        assert_eq!(first.instant_of(Timestamp(0)), first.instant, "the past is now");
    }
}
