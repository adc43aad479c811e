//! The table.

use std::time::Duration;

use crate::job::{Outcome, Setting};

pub fn head(setting: &Setting) {
    let Setting { keys, value_bytes, changed_percent, rounds, .. } = setting;
    println!(
        "{keys} keys of {value_bytes} bytes, {changed_percent} % changed between checkpoints; {rounds} checkpoints: median (least–greatest)\n"
    );
    println!(
        "| backend | local copies | checkpoint, ms | beside cp | pause, ms | CPU, ms | written, MB | recovery, ms | cp of the checkpoint, ms | beside cp |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|");
}

pub fn line(outcome: &Outcome) {
    let of = |what: &dyn Fn(&(crate::watch::Completed, Duration)) -> f64, digits| {
        median(outcome.checkpoints.iter().map(what).collect(), digits)
    };
    let (copied, bytes) = outcome.copy;
    println!(
        "| {} | {} | {} | {} | {} | {} | {} | {:.0} | {:.0} ({:.0} MB) | {:.2} |",
        outcome.setting.backend,
        if outcome.setting.local { "yes" } else { "no" },
        of(&|(completed, _)| ms(completed.took), 0),
        of(&|(completed, copied)| completed.took.as_secs_f64() / copied.as_secs_f64(), 2),
        of(&|(completed, _)| ms(completed.pause), 1),
        of(&|(completed, _)| ms(completed.cpu), 0),
        of(&|(completed, _)| completed.new_bytes as f64 / 1e6, 1),
        ms(outcome.recovery),
        ms(copied),
        bytes as f64 / 1e6,
        outcome.recovery.as_secs_f64() / copied.as_secs_f64(),
    );
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(mut all: Vec<f64>, digits: usize) -> String {
    all.sort_by(f64::total_cmp);
    let [least, .., greatest] = &all[..] else {
        return all.first().map_or("–".to_owned(), |one| format!("{one:.digits$}"));
    };
    format!("{:.digits$} ({least:.digits$}–{greatest:.digits$})", all[all.len() / 2])
}
