//! `flink list`: the jobs, as Flink prints them, or as JSON.

use chrono::{Local, TimeZone};
use serde_json::{Value, json};

use crate::rest::JobSummary;

/// Which jobs are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Those that run or restart.
    pub running: bool,
    /// Those that wait for their start.
    pub scheduled: bool,
    /// Those that are over, too.
    pub terminated: bool,
}

impl Selection {
    /// As Flink reads its flags: without any, everything that is not over.
    pub fn of(running: bool, scheduled: bool, all: bool) -> Self {
        let any = running || scheduled || all;
        Self { running: running || all || !any, scheduled: scheduled || all || !any, terminated: all }
    }
}

/// A job and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The job.
    pub job: JobSummary,
    /// Its application, when it is known.
    pub application: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Running,
    Scheduled,
    Terminated,
}

fn group(state: &str) -> Group {
    match state {
        "CREATED" | "INITIALIZING" => Group::Scheduled,
        "FINISHED" | "CANCELED" | "FAILED" | "SUSPENDED" => Group::Terminated,
        _ => Group::Running,
    }
}

fn chosen(jobs: &[Listed], wanted: Group) -> Vec<&Listed> {
    let mut chosen: Vec<_> = jobs.iter().filter(|listed| group(&listed.job.state) == wanted).collect();
    chosen.sort_by(|a, b| (a.job.start_ms, &a.job.jid).cmp(&(b.job.start_ms, &b.job.jid)));
    chosen
}

/// Flink's text, with times of this machine's zone.
pub fn text(jobs: &[Listed], selection: Selection) -> String {
    in_zone(jobs, selection, &Local)
}

fn in_zone<Z: TimeZone>(jobs: &[Listed], selection: Selection, zone: &Z) -> String
where
    Z::Offset: std::fmt::Display,
{
    let mut lines = Vec::new();
    for (wanted, shown, title, none) in [
        (Group::Running, selection.running, " Running/Restarting Jobs ", Some("No running jobs.")),
        (Group::Scheduled, selection.scheduled, " Scheduled Jobs ", Some("No scheduled jobs.")),
        (Group::Terminated, selection.terminated, " Terminated Jobs ", None),
    ] {
        if !shown {
            continue;
        }
        let chosen = chosen(jobs, wanted);
        if chosen.is_empty() {
            lines.extend(none.map(str::to_owned));
            continue;
        }
        lines.push(format!("{title:-^62}"));
        lines.extend(chosen.iter().map(|listed| line(&listed.job, zone)));
        lines.push("-".repeat(62));
    }
    lines.join("\n")
}

fn line<Z: TimeZone>(job: &JobSummary, zone: &Z) -> String
where
    Z::Offset: std::fmt::Display,
{
    let start = zone.timestamp_millis_opt(job.start_ms).single();
    let start = start.map(|time| time.format("%d.%m.%Y %H:%M:%S").to_string()).unwrap_or_default();
    format!("{start} : {} : {} ({})", job.jid, job.name, job.state)
}

/// The same as JSON, with REST's names.
pub fn json_text(jobs: &[Listed], selection: Selection) -> String {
    let groups = [
        (Group::Running, selection.running),
        (Group::Scheduled, selection.scheduled),
        (Group::Terminated, selection.terminated),
    ];
    let shown = groups.into_iter().filter(|(_, shown)| *shown).flat_map(|(wanted, _)| chosen(jobs, wanted));
    let shown: Vec<Value> = shown
        .map(|Listed { job, application }| {
            json!({
                "jid": job.jid, "name": job.name, "state": job.state, "start-time": job.start_ms,
                "duration": job.duration, "application": application,
            })
        })
        .collect();
    Value::Array(shown).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(jid: &str, state: &str, start_ms: i64) -> Listed {
        let job = JobSummary { jid: jid.into(), name: "Word Count".into(), state: state.into(), start_ms, duration: 5 };
        Listed { job, application: Some("application_1_1".into()) }
    }

    fn jobs() -> Vec<Listed> {
        vec![job("b", "RUNNING", 2_000), job("a", "RESTARTING", 1_000), job("c", "CREATED", 0), job("d", "FINISHED", 0)]
    }

    fn shown(jobs: &[Listed], selection: Selection) -> String {
        in_zone(jobs, selection, &chrono::Utc)
    }

    #[test]
    fn jobs_are_listed_in_flinks_form() {
        let expected = "------------------ Running/Restarting Jobs -------------------\n\
                        01.01.1970 00:00:01 : a : Word Count (RESTARTING)\n\
                        01.01.1970 00:00:02 : b : Word Count (RUNNING)\n\
                        --------------------------------------------------------------\n\
                        ----------------------- Scheduled Jobs -----------------------\n\
                        01.01.1970 00:00:00 : c : Word Count (CREATED)\n\
                        --------------------------------------------------------------";
        assert_eq!(shown(&jobs(), Selection::of(false, false, false)), expected);
        let terminated = "---------------------- Terminated Jobs -----------------------\n\
                          01.01.1970 00:00:00 : d : Word Count (FINISHED)\n";
        assert!(shown(&jobs(), Selection::of(false, false, true)).contains(terminated));
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert_eq!(shown(&[], Selection::of(false, false, false)), "No running jobs.\nNo scheduled jobs.");
        assert_eq!(shown(&[], Selection::of(true, false, false)), "No running jobs.");
        assert_eq!(shown(&[], Selection::of(false, true, false)), "No scheduled jobs.");
        assert_eq!(shown(&[], Selection::of(false, false, true)), "No running jobs.\nNo scheduled jobs.");
    }

    #[test]
    fn json_holds_the_same_jobs() {
        let all: Value = serde_json::from_str(&json_text(&jobs(), Selection::of(false, false, true))).unwrap();
        let ids: Vec<_> = all.as_array().unwrap().iter().map(|job| job["jid"].as_str().unwrap()).collect();
        assert_eq!(ids, ["a", "b", "c", "d"]);
        assert_eq!(all[0]["start-time"], 1000);
        assert_eq!(all[0]["application"], "application_1_1");
        assert_eq!(json_text(&[], Selection::of(true, false, false)), "[]");
    }
}
