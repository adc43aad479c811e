//! What a leader begins with: the job that came with the application, or what a former leader kept.

use flumen_wire::application::{Application, Purpose};

use crate::high_availability::Kept;

/// What this application's leader begins with.
pub(super) struct Own<'a> {
    /// What is taken over from a former leader.
    pub(super) recover: Option<Kept>,
    /// The application's own job, if it did not begin before.
    pub(super) begin: Option<&'a Purpose>,
}

/// Divides what was kept. The job that came with the application is not among what is kept unless it has ended: it is there
/// anyway.
pub(super) fn own(application: &Application, kept: Kept, follows_another: bool) -> Own<'_> {
    let Kept { mut jobs, ended } = kept;
    let mut begin = None;
    if let Purpose::Job(own) = &application.purpose {
        match ended.iter().any(|result| result.submission.job == own.job) {
            true => {}
            false if follows_another => jobs.push(own.as_ref().clone()),
            false => begin = Some(&application.purpose),
        }
    } else if jobs.is_empty() && ended.is_empty() {
        begin = Some(&application.purpose);
    }
    let recover = (follows_another || !jobs.is_empty() || !ended.is_empty()).then_some(Kept { jobs, ended });
    Own { recover, begin }
}
