//! What windows are by definition: a list of windows with all their records, gone through at each step.

use flumen_testkit::{Element, rec};

use super::support::{Fired, Record};

/// Which windows.
#[derive(Debug, Clone, Copy)]
pub enum Windows {
    /// Size, slide, offset.
    Regular(i64, i64, i64),
    /// Gap.
    Sessions(i64),
}

/// When they fire.
#[derive(Debug, Clone, Copy)]
pub enum Fires {
    AtEnd,
    Count(u64),
    Continuously(i64),
}

#[derive(Debug, Clone, Copy)]
pub struct Spec {
    pub windows: Windows,
    pub fires: Fires,
    pub purging: bool,
    pub event_time: bool,
    pub lateness: i64,
}

struct Pane {
    key: u8,
    start: i64,
    end: i64,
    values: Vec<i64>,
    /// Records since it fired.
    count: u64,
    /// Moments at which it is to fire.
    due: Vec<i64>,
    next: Option<i64>,
}

pub struct Model {
    spec: Spec,
    panes: Vec<Pane>,
    watermark: i64,
    now: i64,
    fired: Vec<Element<Fired>>,
    pub late: Vec<Record>,
}

impl Model {
    pub fn run(spec: Spec, input: &[Element<Record>]) -> (Vec<Element<Fired>>, Vec<Record>) {
        let mut model =
            Self { spec, panes: Vec::new(), watermark: i64::MIN, now: 0, fired: Vec::new(), late: Vec::new() };
        for element in input {
            match element {
                Element::Record(record, time) => model.record(*record, *time),
                Element::Watermark(time) => model.advance(*time),
                Element::ProcessingTime(now) => model.time(*now),
                Element::End => model.advance(i64::MAX),
                _ => {}
            }
        }
        (model.fired, model.late)
    }

    /// What windows of this kind have seen of time: their last moment is over when it is not greater.
    fn progress(&self) -> i64 {
        if self.spec.event_time { self.watermark } else { self.now - 1 }
    }

    fn emit(&mut self, at: usize) {
        let pane = &mut self.panes[at];
        if pane.values.is_empty() {
            return;
        }
        let mut values = pane.values.clone();
        values.sort_unstable();
        self.fired.push(rec((pane.key, pane.start, pane.end, values)).at(pane.end - 1));
        if self.spec.purging {
            pane.values.clear();
        }
    }

    fn record(&mut self, (key, value): Record, time: i64) {
        let moment = if self.spec.event_time { time } else { self.now };
        let mut bounds: Vec<(i64, i64)> = match self.spec.windows {
            Windows::Regular(size, slide, offset) => {
                // All that can have the moment in them, and some more.
                let numbers = (moment - size - offset).div_euclid(slide)..=(moment - offset).div_euclid(slide) + 1;
                let starts = numbers.map(|number| number * slide + offset);
                starts.filter(|start| (*start..start + size).contains(&moment)).map(|s| (s, s + size)).collect()
            }
            Windows::Sessions(gap) => vec![(moment, moment + gap)],
        };
        let mut taken = false;
        for (start, end) in bounds.drain(..) {
            let at = self.pane(key, start, end);
            let (end, lateness) = (self.panes[at].end, self.spec.lateness);
            if self.spec.event_time && end - 1 + lateness <= self.watermark {
                self.panes.remove(at);
                continue;
            }
            taken = true;
            self.panes[at].values.push(value);
            self.fires_on_record(at, moment);
        }
        if !taken && self.spec.event_time && time + self.spec.lateness <= self.watermark {
            self.late.push((key, value));
        }
    }

    /// The window with those bounds, or the session that they are in.
    fn pane(&mut self, key: u8, start: i64, end: i64) -> usize {
        let merges = matches!(self.spec.windows, Windows::Sessions(_));
        let mut pane = Pane { key, start, end, values: Vec::new(), count: 0, due: Vec::new(), next: None };
        let belongs = |other: &Pane| {
            let same = (other.start, other.end) == (start, end);
            other.key == key && if merges { other.start <= end && other.end >= start } else { same }
        };
        let parts: Vec<Pane> = self.panes.extract_if(.., |other| belongs(other)).collect();
        let is_new_end = !parts.iter().any(|part| part.end >= end && part.start <= start);
        for part in parts {
            pane.start = pane.start.min(part.start);
            pane.end = pane.end.max(part.end);
            pane.values.extend(part.values);
            pane.count += part.count;
            pane.next = [pane.next, part.next].into_iter().flatten().min();
            if !is_new_end {
                pane.due = part.due;
            }
        }
        pane.due.extend(pane.next.filter(|_| is_new_end));
        self.panes.push(pane);
        self.panes.len() - 1
    }

    fn fires_on_record(&mut self, at: usize, moment: i64) {
        let progress = self.progress();
        let pane = &mut self.panes[at];
        let max = pane.end - 1;
        match self.spec.fires {
            Fires::Count(count) => {
                pane.count += 1;
                if pane.count >= count {
                    pane.count = 0;
                    self.emit(at);
                }
            }
            Fires::AtEnd | Fires::Continuously(_) if self.spec.event_time && max <= progress => self.emit(at),
            Fires::AtEnd => pane.due.push(max),
            Fires::Continuously(interval) => {
                if self.spec.event_time {
                    pane.due.push(max);
                }
                if pane.next.is_none() {
                    let next = (moment - moment % interval + interval).min(max);
                    pane.next = Some(next);
                    pane.due.push(next);
                }
            }
        }
    }

    fn advance(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(watermark);
        if self.spec.event_time {
            self.fire_due();
        }
    }

    fn time(&mut self, now: i64) {
        self.now = now;
        if !self.spec.event_time {
            self.fire_due();
        }
    }

    fn fire_due(&mut self) {
        let progress = self.progress();
        loop {
            let due = self.panes.iter().enumerate().flat_map(|(at, pane)| pane.due.iter().map(move |due| (*due, at)));
            let Some((time, at)) = due.min().filter(|(time, _)| *time <= progress) else { break };
            let pane = &mut self.panes[at];
            pane.due.retain(|due| *due != time);
            let max = pane.end - 1;
            if let Fires::Continuously(interval) = self.spec.fires
                && pane.next == Some(time)
                && (time != max || !self.spec.event_time)
            {
                let next = (time + interval).min(max);
                pane.next = Some(next);
                if next > time {
                    pane.due.push(next);
                }
            }
            self.emit(at);
        }
        let lateness = if self.spec.event_time { self.spec.lateness } else { 0 };
        self.panes.retain(|pane| pane.end - 1 + lateness > progress);
    }
}
