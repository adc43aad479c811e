//! A small disk of its own, to be full: a file system in memory.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::wait;

/// A mounted file system of a fixed size; unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    dir: PathBuf,
}

/// What [`SmallDisk::fill`] leaves free.
const LEFT: usize = 256 << 10;
/// More than any test lasts.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl SmallDisk {
    /// Mounts one of so many MiB. It costs memory as far as it is filled.
    ///
    /// # Errors
    /// When this process may not mount file systems, which needs root, and in a container more.
    pub fn mount(megabytes: u32) -> Result<SmallDisk> {
        let dir = tempfile::Builder::new().prefix("flumen-disk-").tempdir()?.keep();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=1777"), "flumen-disk"]).arg(&dir);
        let output = mount.output().context("starting mount")?;
        if !output.status.success() {
            std::fs::remove_dir(&dir)?;
        }
        ensure!(output.status.success(), "mount failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(SmallDisk { dir })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn filler(&self) -> PathBuf {
        self.dir.join("filler")
    }

    /// Takes all of its room but a little: Hadoop takes a disk on which not one byte can be written for broken.
    ///
    /// # Errors
    /// When something else fails than room.
    pub fn fill(&self) -> Result<()> {
        let file = File::create(self.filler())?;
        take_all(&file);
        let length = file.metadata()?.len();
        Ok(file.set_len(length.saturating_sub(LEFT as u64))?)
    }

    /// Takes all of its room, to the last byte, and what others give back of it.
    ///
    /// # Errors
    /// When something else fails than room.
    pub fn keep_full(&self) -> Result<Full> {
        let path = self.filler();
        let file = File::create(&path)?;
        take_all(&file);
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let taker = std::thread::Builder::new().name("full disk".to_owned()).spawn(move || {
            let _ = wait::closely("the disk may be emptied", DAY, || {
                take_all(&file);
                if ended.load(Ordering::Relaxed) { Ok(()) } else { Err(String::new()) }
            });
        })?;
        Ok(Full { path, over, taker: Some(taker) })
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When it wasn't taken.
    pub fn empty(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }
}

/// Writes until there is no room.
fn take_all(mut file: &File) {
    for piece in [&vec![1; LEFT][..], &[1]] {
        while file.write_all(piece).is_ok() {}
    }
}

/// A disk that stays full until this is dropped.
#[derive(Debug)]
pub struct Full {
    path: PathBuf,
    over: Arc<AtomicBool>,
    taker: Option<JoinHandle<()>>,
}

impl Drop for Full {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Only when the file is closed, too, its room is free again.
        if let Some(taker) = self.taker.take() {
            let _ = taker.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: daemons may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
        let _ = std::fs::remove_dir(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_full_takes_no_more_until_it_is_emptied() {
        let disk = match SmallDisk::mount(2) {
            Ok(disk) => disk,
            Err(error) => return crate::say(&format!("not run, for nothing can be mounted: {error:#}")),
        };
        let path = |name| disk.dir().join(name);
        let write = || std::fs::write(path("file"), vec![0; 1 << 20]);
        disk.fill().unwrap();
        write().unwrap_err();
        disk.empty().unwrap();
        write().unwrap();

        let full = disk.keep_full().unwrap();
        std::fs::write(path("other"), [0]).unwrap_err();
        // What others give back is taken.
        let taken = || path("filler").metadata().unwrap().len();
        let before = taken();
        std::fs::remove_file(path("file")).unwrap();
        let more = || if taken() >= before + (1 << 20) { Ok(()) } else { Err(taken().to_string()) };
        wait::closely("the room is taken", Duration::from_secs(60), more).unwrap();
        write().unwrap_err();
        drop(full);
        write().unwrap();

        let dir = disk.dir().to_owned();
        drop(disk);
        assert!(!dir.try_exists().unwrap());
    }
}
