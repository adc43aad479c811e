//! One subtask of a group that waits for its slowest, so that nobody has to keep what the fast ones read ahead.
//!
//! Every member says how far it is, the JobMaster says how far the slowest is ([`FromWorker::GroupWatermark`] and
//! [`ToWorker::GroupWatermark`](flumen_wire::control::ToWorker::GroupWatermark)), and each decides for itself.

use std::sync::Arc;

use flumen_model::ids::{ExecutionAttempt, SubtaskId};
use flumen_wire::control::FromWorker;
use tokio::sync::mpsc;

use super::strategy::WatermarkAlignment;
use crate::batch::EventTime;
use crate::subtask::{Backlog, SubtaskContext};

/// One subtask's part in its group.
pub(super) struct Member {
    alignment: WatermarkAlignment,
    subtask: SubtaskId,
    attempt: ExecutionAttempt,
    backlog: Arc<Backlog>,
    reports: mpsc::Sender<FromWorker>,
    /// How far this subtask is; `None`: nobody has to wait for it.
    watermark: Option<EventTime>,
    /// What the JobMaster was told last.
    told: Option<EventTime>,
    /// How far the slowest is, as far as it is known here.
    least: Option<EventTime>,
    waits: bool,
    next_update: EventTime,
}

impl Member {
    pub(super) fn join(alignment: &WatermarkAlignment, context: &SubtaskContext) -> Self {
        Self {
            alignment: alignment.clone(),
            subtask: context.id,
            attempt: context.attempt,
            backlog: Arc::clone(&context.backlog),
            reports: context.reports.clone(),
            watermark: None,
            told: None,
            least: None,
            waits: false,
            next_update: EventTime::MIN,
        }
    }

    /// Whether this subtask takes no input because it is ahead.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Notes how far this subtask is (`None`: nobody has to wait for it) and tells the JobMaster when it is time to.
    /// Returns when to call again.
    pub(super) fn update(&mut self, watermark: Option<EventTime>, now: EventTime) -> EventTime {
        self.watermark = watermark;
        self.decide();
        // Who waits says so at once: if it is the slowest itself, nobody else could let it go on.
        if now >= self.next_update || self.waits || watermark.is_none() {
            self.next_update = now.saturating_add(self.alignment.update_interval_ms);
            self.tell();
        }
        self.next_update
    }

    /// The JobMaster says how far the slowest of a group is.
    pub(super) fn heard(&mut self, group: &str, least: Option<EventTime>) {
        if group == self.alignment.group {
            self.least = least;
            self.decide();
        }
    }

    /// The subtask's input has ended: nobody has to wait for it any more.
    pub(super) fn leave(mut self) {
        self.watermark = None;
        // There is no next time to tell it. When nobody hears it, the worker is going down.
        if self.told.is_some() {
            let _ = self.reports.blocking_send(self.report());
        }
    }

    fn tell(&mut self) {
        // What could not be told is told with the next update.
        if self.told != self.watermark && self.reports.try_send(self.report()).is_ok() {
            self.told = self.watermark;
        }
    }

    fn report(&self) -> FromWorker {
        FromWorker::GroupWatermark {
            attempt: self.attempt,
            subtask: self.subtask,
            group: self.alignment.group.clone(),
            watermark: self.watermark,
        }
    }

    fn decide(&mut self) {
        let limit = self.least.map(|least| least.saturating_add(self.alignment.max_drift_ms));
        self.wait(self.watermark.zip(limit).is_some_and(|(watermark, limit)| watermark > limit));
    }

    fn wait(&mut self, waits: bool) {
        if waits != self.waits {
            self.waits = waits;
            self.backlog.hold(waits);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.wait(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_model::ids::VertexId;

    struct Subtask {
        member: Member,
        reported: mpsc::Receiver<FromWorker>,
    }

    fn subtask() -> Subtask {
        let (reports, reported) = mpsc::channel(1);
        let alignment = WatermarkAlignment { group: "all".to_owned(), max_drift_ms: 100, update_interval_ms: 10 };
        let member = Member {
            alignment,
            subtask: SubtaskId { vertex: VertexId(1), index: 0 },
            attempt: ExecutionAttempt(0),
            backlog: Arc::default(),
            reports,
            watermark: None,
            told: None,
            least: None,
            waits: false,
            next_update: EventTime::MIN,
        };
        Subtask { member, reported }
    }

    impl Subtask {
        fn says(&mut self) -> Option<Option<EventTime>> {
            self.reported.try_recv().ok().map(|report| match report {
                FromWorker::GroupWatermark { watermark, .. } => watermark,
                other => panic!("{other:?}"),
            })
        }

        fn takes_input(&self) -> bool {
            self.member.backlog.is_empty()
        }
    }

    #[test]
    fn who_is_ahead_by_more_than_the_drift_waits_until_the_slowest_has_come_after() {
        let mut fast = subtask();
        fast.member.update(Some(500), 0);
        assert_eq!(fast.says(), Some(Some(500)));
        assert!(fast.takes_input(), "nobody else has said anything yet");
        fast.member.heard("all", Some(300));
        assert!(!fast.takes_input());
        assert!(fast.member.backlog.may_send(), "what it has is sent");
        fast.member.heard("another", Some(900));
        assert!(!fast.takes_input());
        fast.member.heard("all", Some(400));
        assert!(fast.takes_input(), "exactly the drift is allowed");
        fast.member.update(Some(501), 1);
        assert!(!fast.takes_input());
        fast.member.heard("all", None);
        assert!(fast.takes_input());
    }

    #[test]
    fn it_tells_how_far_it_is_once_per_interval_and_at_once_when_it_waits() {
        let mut one = subtask();
        assert_eq!(one.member.update(Some(1), 0), 10);
        assert_eq!(one.says(), Some(Some(1)));
        assert_eq!((one.member.update(Some(2), 9), one.says()), (10, None));
        assert_eq!((one.member.update(Some(2), 10), one.says()), (20, Some(Some(2))));
        assert_eq!((one.member.update(Some(2), 20), one.says()), (30, None), "nothing new");
        one.member.heard("all", Some(2));
        one.member.update(Some(200), 21);
        assert_eq!(one.says(), Some(Some(200)), "it may be the slowest itself");
        one.member.heard("all", Some(200));
        assert!(one.takes_input());
        one.member.update(None, 22);
        assert_eq!(one.says(), Some(None));
    }

    #[test]
    fn what_could_not_be_told_is_told_later_and_the_end_in_any_case() {
        let mut one = subtask();
        one.member.update(Some(1), 0);
        one.member.update(Some(2), 10);
        assert_eq!((one.says(), one.says()), (Some(Some(1)), None), "the queue was full");
        one.member.update(Some(2), 20);
        assert_eq!(one.says(), Some(Some(2)));
        one.member.heard("all", Some(-1000));
        assert!(!one.takes_input());
        let backlog = Arc::clone(&one.member.backlog);
        let Subtask { member, mut reported } = one;
        member.leave();
        assert!(backlog.is_empty());
        assert!(matches!(reported.try_recv(), Ok(FromWorker::GroupWatermark { watermark: None, .. })));
    }
}
