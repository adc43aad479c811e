//! A clock that jumps, for some processes of this machine alone: a library that is loaded into them before all others.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

const SOURCE: &str = include_str!("jumping.c");

/// The clock of processes whose environment has `LD_PRELOAD` set to [`library`](Self::library).
#[derive(Debug)]
pub struct Clock {
    dir: TempDir,
}

impl Clock {
    /// A clock that is right.
    ///
    /// # Errors
    /// When there is no C compiler; Rust's linker is one.
    pub fn right() -> Result<Clock> {
        let clock = Clock { dir: tempfile::Builder::new().prefix("flumen-clock-").tempdir()? };
        let source = clock.dir.path().join("jumping.c");
        std::fs::write(&source, SOURCE)?;
        let offset = format!("-DOFFSET_FILE=\"{}\"", clock.offset_file().display());
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", &offset, "-o"]).arg(clock.library()).arg(&source);
        let output = compiler.output().context("starting cc")?;
        ensure!(output.status.success(), "cc failed: {}", String::from_utf8_lossy(&output.stderr));
        clock.jump_to(0)?;
        Ok(clock)
    }

    /// The value for `LD_PRELOAD`.
    #[must_use]
    pub fn library(&self) -> PathBuf {
        self.dir.path().join("jumping.so")
    }

    fn offset_file(&self) -> PathBuf {
        self.dir.path().join("offset")
    }

    /// From now on it is so many seconds off.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn jump_to(&self, seconds: i64) -> Result<()> {
        let new = self.dir.path().join("new");
        std::fs::write(&new, seconds.to_string())?;
        // Nobody reads half of it.
        Ok(std::fs::rename(new, self.offset_file())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_the_library_has_another_time() {
        let clock = Clock::right().unwrap();
        let year = || {
            let output = Command::new("date").arg("+%Y").env("LD_PRELOAD", clock.library()).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse::<i64>().unwrap()
        };
        let now = year();
        clock.jump_to(10 * 366 * 86_400).unwrap();
        assert!([now + 10, now + 11].contains(&year()), "{now} and {}", year());
    }
}
