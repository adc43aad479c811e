//! The stateful job for tests (`itest-stateful`): its events, and what it must write whatever happens meanwhile.

use std::collections::BTreeMap;

/// Keys of the events.
const KEYS: u64 = 500;
/// Milliseconds of a window.
pub const WINDOW_MS: i64 = 1000;
/// Events that share a millisecond of event time.
const EVENTS_PER_MS: u64 = 4;

/// Event number `i`: its key, its value and its time in milliseconds. Neighbours come out of order by less than the
/// [`disorder`](DISORDER_MS) that the job allows for.
#[must_use]
pub fn event(number: u64) -> (u64, u64, i64) {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = mixed % KEYS;
    let late = (mixed >> 32) % DISORDER_MS.unsigned_abs();
    (key, number % 1000, (number / EVENTS_PER_MS) as i64 + DISORDER_MS - late as i64)
}

/// How much later than a record with a smaller time a record may come: milliseconds.
pub const DISORDER_MS: i64 = 50;

/// A line of the job's output: how many events of a key lie in the window that begins at a time (or, with `None`, in all),
/// and the sum of their values.
pub type Rows = BTreeMap<(u64, Option<i64>), (u64, u64)>;

/// What the job writes for the events below `count`.
#[must_use]
pub fn expected_rows(count: u64) -> Rows {
    let mut rows = Rows::new();
    for (key, value, time) in (0..count).map(event) {
        for window in [Some(time.div_euclid(WINDOW_MS) * WINDOW_MS), None] {
            let row = rows.entry((key, window)).or_default();
            *row = (row.0 + 1, row.1 + value);
        }
    }
    rows
}

/// A row as the job writes it.
#[must_use]
pub fn line(key: u64, window: Option<i64>, events: u64, sum: u64) -> String {
    let window = window.map_or_else(|| "total".to_owned(), |start| start.to_string());
    format!("{key} {window} {events} {sum}")
}

/// The row in a line that [`line`] made: key, window, events, sum.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn parsed(line: &str) -> (u64, Option<i64>, u64, u64) {
    let fields: Vec<&str> = line.split(' ').collect();
    let [key, window, events, sum] = fields[..] else { panic!("no row: `{line}`") };
    let number = |field: &str| field.parse::<u64>().unwrap_or_else(|_| panic!("no row: `{line}`"));
    let window = (window != "total").then(|| number(window) as i64);
    (number(key), window, number(events), number(sum))
}

/// Compares what a job wrote with what it must have written, record for record: missing, wrong and repeated rows, at most
/// twenty of them; empty when there are none.
#[must_use]
pub fn differences(expected: &Rows, written: &str) -> String {
    let mut left: BTreeMap<String, ()> =
        expected.iter().map(|((key, window), (events, sum))| (line(*key, *window, *events, *sum), ())).collect();
    let mut wrong = Vec::new();
    for row in written.lines() {
        if left.remove(row).is_none() {
            wrong.push(format!("wrong or twice: {row}"));
        }
    }
    wrong.extend(left.keys().map(|row| format!("missing: {row}")));
    let more = wrong.len().saturating_sub(20);
    wrong.truncate(20);
    if more > 0 {
        wrong.push(format!("and {more} more"));
    }
    wrong.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_found() {
        let expected = expected_rows(10_000);
        let lines: Vec<String> = expected.iter().map(|((k, w), (n, s))| line(*k, *w, *n, *s)).collect();
        assert_eq!(differences(&expected, &lines.join("\n")), "");
        assert!(differences(&expected, &lines[1..].join("\n")).starts_with("missing: "));
        assert!(differences(&expected, &[&lines[..], &lines[..1]].concat().join("\n")).starts_with("wrong or twice: "));
        assert!(differences(&expected, &lines.join("\n").replace("total", "totaI")).contains("and "));
    }

    #[test]
    fn no_event_comes_later_than_the_job_allows_for() {
        let mut latest = 0;
        let mut out_of_order = 0;
        for (_, _, time) in (0..100_000).map(event) {
            assert!(time >= latest - DISORDER_MS, "{time} after {latest}");
            out_of_order += u64::from(time < latest);
            latest = latest.max(time);
        }
        assert!(out_of_order > 10_000, "{out_of_order}");
    }
}
