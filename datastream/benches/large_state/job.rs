//! The job: a source, one subtask with large state.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flumen::{
    Collector, Configuration, FunctionResult, KeyedContext, KeyedProcessFunction, OpenContext, ReadStatus,
    RuntimeContext, SourceFunction, SourceOutput, StreamExecutionEnvironment, ValueState, ValueStateDescriptor,
};

use crate::disk;
use crate::watch::{Completed, Watch, now_ms};

/// What is measured.
#[derive(Debug, Clone)]
pub struct Setting {
    /// `hashmap`, `rocksdb-full` or `rocksdb-incremental`.
    pub backend: String,
    /// With local copies.
    pub local: bool,
    pub keys: u64,
    pub value_bytes: usize,
    /// Keys that change between checkpoints, of a hundred.
    pub changed_percent: u64,
    pub rounds: usize,
    pub directory: PathBuf,
}

/// What was measured.
#[derive(Debug)]
pub struct Outcome {
    pub setting: Setting,
    /// Each with the time that copying its new files takes.
    pub checkpoints: Vec<(Completed, Duration)>,
    /// From the failure to the first record that found its state.
    pub recovery: Duration,
    /// The time that copying all files of the checkpoint takes, without waiting for the disk, and their bytes.
    pub copy: (Duration, u64),
}

/// Where the job is, for all its subtasks.
#[derive(Debug, Default)]
struct Progress {
    checkpoints: Vec<(Completed, Duration)>,
    copy: Option<(Duration, u64)>,
    failed: Option<Instant>,
    recovered: Option<Duration>,
}

type Shared = Arc<Mutex<Progress>>;

/// Time between two checkpoints, in which the changes are made.
const PAUSE: &str = "1 s";
/// Time between two records while nothing changes.
const BEAT: Duration = Duration::from_micros(500);
/// Keys that are looked at after the recovery.
const CHECKED: u64 = 10_000;

pub fn run(setting: Setting) -> Outcome {
    let root = setting.directory.join(format!("flumen-large-state-{}", std::process::id()));
    let (checkpoints, tmp) = (root.join("checkpoints"), root.join("tmp"));
    std::fs::create_dir_all(&tmp).expect("a directory");
    let watch = Watch::start(&checkpoints);
    let progress = Shared::default();
    let mut options = Configuration::new();
    options.set("state.backend.type", setting.backend.split('-').next().unwrap_or_default());
    options.set("execution.checkpointing.incremental", (!setting.backend.ends_with("full")).to_string());
    options.set("execution.checkpointing.local-backup.enabled", setting.local.to_string());
    options.set("execution.checkpointing.dir", format!("file://{}", checkpoints.display()));
    options.set("execution.checkpointing.interval", PAUSE);
    options.set("execution.checkpointing.min-pause", PAUSE);
    options.set("io.tmp.dirs", tmp.display().to_string());
    options.set("restart-strategy.type", "fixed-delay");
    options.set("restart-strategy.fixed-delay.delay", "0 ms");
    let env = StreamExecutionEnvironment::get_with(&options).expect("an environment");
    env.set_parallelism(1);
    let source = Changes { setting: setting.clone(), watch: Arc::clone(&watch), progress: Arc::clone(&progress) };
    let values =
        Values { setting: setting.clone(), watch: Arc::clone(&watch), progress: Arc::clone(&progress), last: None };
    env.add_source(source).uid("changes").key_by_ref(|(key, _)| key).process(values).uid("values").print();
    env.execute("large-state").expect("the job finishes");
    watch.end();
    let progress = std::mem::take(&mut *progress.lock().expect("no panic"));
    // What the disk is busy with would be in the next measurement.
    std::fs::remove_dir_all(&root).expect("the directory");
    Outcome {
        setting,
        checkpoints: progress.checkpoints,
        recovery: progress.recovered.expect("the job has failed once"),
        copy: progress.copy.expect("the checkpoint was copied"),
    }
}

/// What is to be done with a key.
const BEATS: u64 = u64::MAX;
const FAIL: u64 = u64::MAX - 1;
const CHECK: u64 = u64::MAX - 2;

fn splitmix64(i: u64) -> u64 {
    let z = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[derive(Clone)]
struct Changes {
    setting: Setting,
    watch: Arc<Watch>,
    progress: Shared,
}

impl SourceFunction for Changes {
    type Out = (u64, u64);
    /// Key and number of the next change.
    type Split = (u64, u64);
    /// The change that the next checkpoint is to have, and when it was sent.
    type State = Option<u64>;

    fn splits(&self) -> Vec<(u64, u64)> {
        vec![(0, 0)]
    }

    fn open(&self, _: &RuntimeContext) -> FunctionResult<Option<u64>> {
        Ok(None)
    }

    fn read(
        &mut self,
        (next, change): &mut (u64, u64),
        sent: &mut Option<u64>,
        out: &mut SourceOutput<'_, (u64, u64)>,
    ) -> FunctionResult<ReadStatus> {
        let keys = self.setting.keys;
        let mut progress = self.progress.lock().expect("no panic");
        if progress.recovered.is_some() {
            (0..CHECKED).for_each(|i| out.collect((splitmix64(i) % keys, CHECK)));
            return Ok(ReadStatus::Finished);
        }
        let of_change = if *change == 0 { keys } else { keys * self.setting.changed_percent / 100 };
        if *next < of_change && progress.failed.is_none() {
            while *next < of_change && !out.is_full() {
                let key = if *change == 0 { *next } else { splitmix64(*next + (*change << 32)) % keys };
                out.collect((key, *change));
                *next += 1;
            }
            *sent = None;
            return Ok(ReadStatus::More);
        }
        let moment = *sent.get_or_insert_with(|| now_ms() + 100);
        if let Some(completed) = self.watch.triggered_after(moment).filter(|_| progress.failed.is_none()) {
            // The first one has everything since the last, and the disk is busy with what was written before.
            if *change > 0 {
                let copies = self.setting.directory.join(format!("flumen-large-state-{}/copies", std::process::id()));
                let copied = disk::copy(&completed.new, &copies, true);
                progress.checkpoints.push((completed, copied));
            }
            if progress.checkpoints.len() == self.setting.rounds {
                let root = self.setting.directory.join(format!("flumen-large-state-{}", std::process::id()));
                let all = disk::files(&root.join("checkpoints"));
                progress.copy = Some((disk::copy(all.keys(), &root.join("copies"), false), all.values().sum()));
                out.collect((0, FAIL));
            } else {
                *change += 1;
                *next = 0;
                return Ok(ReadStatus::More);
            }
        }
        out.collect((splitmix64(now_ms()) % keys, BEATS));
        Ok(ReadStatus::Idle(BEAT))
    }
}

#[derive(Clone)]
struct Values {
    setting: Setting,
    watch: Arc<Watch>,
    progress: Shared,
    last: Option<Instant>,
}

impl Values {
    /// A text that doesn't compress, other than at the change before.
    fn text(&self, key: u64, change: u64) -> String {
        let mut text = String::with_capacity(self.setting.value_bytes + 8);
        let mut seed = splitmix64(key ^ (change << 40));
        while text.len() < self.setting.value_bytes {
            seed = splitmix64(seed);
            text.extend(seed.to_le_bytes().map(|byte| char::from(b'!' + byte % 94)));
        }
        text.truncate(self.setting.value_bytes);
        text
    }
}

impl KeyedProcessFunction<u64, (u64, u64), String> for Values {
    type State = ValueState<u64, String>;

    fn open(&self, context: &mut OpenContext<'_, u64>) -> FunctionResult<Self::State> {
        Ok(context.value_state(ValueStateDescriptor::new("value"))?)
    }

    fn process_element(
        &mut self,
        (key, change): (u64, u64),
        value: &Self::State,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Collector<String>,
    ) -> FunctionResult {
        match change {
            BEATS | CHECK => {
                let length = value.with(|text| text.map(String::len))?;
                if length != Some(self.setting.value_bytes) {
                    return Err(format!("key {key} lost its value").into());
                }
                let mut progress = self.progress.lock().expect("no panic");
                let failed = progress.failed;
                if progress.recovered.is_none() {
                    progress.recovered = failed.map(|failed| failed.elapsed());
                }
            }
            FAIL => {
                let mut progress = self.progress.lock().expect("no panic");
                if progress.failed.is_none() {
                    progress.failed = Some(Instant::now());
                    return Err("as the benchmark wants it".into());
                }
            }
            _ => value.set(self.text(key, change))?,
        }
        if let Some(last) = self.last.replace(Instant::now()) {
            self.watch.waited(last.elapsed());
        }
        Ok(())
    }
}
