//! Watches the directory of the checkpoints as anybody can, and the pauses of the subtask.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::disk;

/// A complete checkpoint.
#[derive(Debug, Clone)]
pub struct Completed {
    /// When it was triggered: milliseconds since 1970.
    pub triggered_ms: u64,
    /// Until its metadata was found under its name.
    pub took: Duration,
    /// Files that were not there when the one before was complete.
    pub new: Vec<PathBuf>,
    /// Their bytes.
    pub new_bytes: u64,
    /// CPU time of the process, from trigger to completion, without that of the watch.
    pub cpu: Duration,
    /// The longest time between two records meanwhile.
    pub pause: Duration,
}

/// What is seen of a running job.
#[derive(Debug, Default)]
pub struct Watch {
    pub completed: Mutex<Vec<Completed>>,
    /// Ends of long waits for a record, in milliseconds since 1970, and how long they were.
    gaps: Mutex<Vec<(u64, Duration)>>,
    over: AtomicBool,
}

/// Shorter waits are not noted.
const GAP: Duration = Duration::from_millis(1);
const LOOK: Duration = Duration::from_millis(2);
/// Looks between two measurements of CPU time.
const CPU_EACH: usize = 10;

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Watch {
    /// Begins to look into the directory, from a thread of its own.
    pub fn start(checkpoints: &Path) -> Arc<Self> {
        let watch = Arc::new(Self::default());
        let (own, directory) = (Arc::clone(&watch), checkpoints.to_owned());
        std::thread::spawn(move || own.look(&directory));
        watch
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// The subtask waited so long for a record.
    pub fn waited(&self, gap: Duration) {
        if gap > GAP {
            self.gaps.lock().expect("no panic").push((now_ms(), gap));
        }
    }

    /// The newest one that was triggered after a moment.
    pub fn triggered_after(&self, moment_ms: u64) -> Option<Completed> {
        self.completed.lock().expect("no panic").last().filter(|last| last.triggered_ms > moment_ms).cloned()
    }

    fn look(&self, directory: &Path) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let systems = flumen_fs::FileSystems::new(flumen_fs::FsOptions::default()).expect("file systems");
        let (mut seen, mut files) = (BTreeSet::new(), BTreeSet::new());
        let mut times = Vec::new();
        for look in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            if look % CPU_EACH == 0 {
                times.push((now_ms(), disk::cpu_time_of_others()));
            }
            for chk in metadata(directory).filter(|path| seen.insert(path.clone())) {
                let now = now_ms();
                let path = format!("file://{}", chk.display()).parse().expect("a path");
                // On a busy machine the next one may be complete already, and this one gone.
                let Ok(stored) = runtime.block_on(flumen_checkpoint::load(&systems, &path)) else { continue };
                let triggered_ms = stored.checkpoint.triggered_ms;
                let all = disk::files(directory);
                let new: Vec<_> = all.iter().filter(|(path, _)| !files.contains(*path)).collect();
                let began = times.partition_point(|(at, _)| *at < triggered_ms);
                let gaps = self.gaps.lock().expect("no panic");
                let meanwhile = gaps
                    .iter()
                    .filter(|(end, gap)| *end >= triggered_ms && end.saturating_sub(gap.as_millis() as u64) <= now);
                let completed = Completed {
                    triggered_ms,
                    took: Duration::from_millis(now - triggered_ms),
                    new_bytes: new.iter().map(|(_, bytes)| **bytes).sum(),
                    new: new.into_iter().map(|(path, _)| path.clone()).collect(),
                    cpu: disk::cpu_time_of_others() - times[began.saturating_sub(1)].1,
                    pause: meanwhile.map(|(_, gap)| *gap).max().unwrap_or_default(),
                };
                drop(gaps);
                files = all.into_keys().collect();
                self.completed.lock().expect("no panic").push(completed);
            }
            std::thread::park_timeout(LOOK);
        }
    }
}

/// The directories of complete checkpoints, oldest first.
fn metadata(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let list = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let mut found: Vec<_> = list(directory).iter().flat_map(|job| list(job)).collect();
    found.retain(|path| path.join("_metadata").try_exists().unwrap_or(false));
    found.sort();
    found.into_iter()
}
