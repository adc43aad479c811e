//! A process that is slow for long: it stands still (SIGSTOP) most of the time, and goes on for a moment again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Signal;

use crate::process::signal_pid;
use crate::wait;

/// A process that is slow until this is dropped.
#[derive(Debug)]
pub struct Slow {
    pid: u32,
    over: Arc<AtomicBool>,
    rhythm: Option<JoinHandle<()>>,
}

impl Slow {
    /// Lets it stand still for `still`, and then go on for `on`, until the end.
    ///
    /// # Errors
    /// When there is no such process, or no thread can be started.
    pub fn process(pid: u32, still: Duration, on: Duration) -> Result<Slow> {
        signal_pid(pid, Signal::STOP)?;
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let rhythm = std::thread::Builder::new().name("slow".to_owned()).spawn(move || {
            let mut turns = [(Signal::STOP, still), (Signal::CONT, on)].into_iter().cycle();
            while let Some((signal, time)) = turns.next()
                && !ended.load(Ordering::Relaxed)
            {
                let since = Instant::now();
                // That it has ended is for the test to see.
                let _ = signal_pid(pid, signal);
                let _ = wait::closely("a turn is over", time + Duration::from_secs(60), || {
                    match since.elapsed() >= time || ended.load(Ordering::Relaxed) {
                        true => Ok(()),
                        false => Err(String::new()),
                    }
                });
            }
        })?;
        Ok(Slow { pid, over, rhythm: Some(rhythm) })
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(rhythm) = self.rhythm.take() {
            let _ = rhythm.join();
        }
        let _ = signal_pid(self.pid, Signal::CONT);
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// Whether the kernel says that it is stopped.
    fn is_still(child: &Child) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    }

    #[test]
    fn a_slow_process_stands_still_and_goes_on_by_turns_and_for_good_in_the_end() {
        const LIMIT: Duration = Duration::from_secs(60);
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let turn = Duration::from_millis(200);
        let slow = Slow::process(child.id(), turn, turn).unwrap();
        for still in [true, false, true, false] {
            wait::closely("it changes", LIMIT, || if is_still(&child) == still { Ok(()) } else { Err(String::new()) })
                .unwrap();
        }
        drop(slow);
        assert!(!is_still(&child));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
