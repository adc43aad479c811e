//! The directories that a job writes, and the application's staging directory: claimed, committed, removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flumen_fs::{FileSystems, FsError, FsPath, output};
use flumen_model::failure::{Blame, Failure};
use flumen_model::ids::{ExecutionAttempt, JobId};
use flumen_model::text::with_causes;

/// The outputs of one job.
#[derive(Clone)]
pub struct Outputs {
    files: FileSystems,
    paths: Vec<FsPath>,
    job: JobId,
    /// True while they are this job's: nothing of anybody else is ever removed.
    claimed: Arc<AtomicBool>,
}

impl Outputs {
    /// Resolves the outputs as they stand in the JobGraph.
    ///
    /// # Errors
    /// [`FsError`] when one is no path.
    pub fn new(files: FileSystems, outputs: &[String], job: JobId) -> Result<Self, FsError> {
        let paths = outputs.iter().map(|text| files.resolve(text)).collect::<Result<_, _>>()?;
        Ok(Self { files, paths, job, claimed: Arc::default() })
    }

    /// Claims all of them, or none. What an earlier attempt of the same job wrote stays if the job is `taken_over`, because
    /// subtasks that go on with it may be at work; else it is removed.
    ///
    /// # Errors
    /// Why the first of them can't be claimed: something is there already, or may not be written.
    pub async fn prepare(&self, taken_over: bool) -> Result<(), Failure> {
        for (claimed, path) in self.paths.iter().enumerate() {
            if let Err(error) = self.claim(path, taken_over).await {
                let undone = if taken_over { 0 } else { claimed };
                for path in &self.paths[..undone] {
                    self.abandon_one(path).await;
                }
                return Err(Failure::new(
                    Blame::Outside,
                    format!("the job's output can't be written: {}", with_causes(&error)),
                ));
            }
            tracing::info!(%path, "output claimed");
        }
        self.claimed.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn claim(&self, path: &FsPath, taken_over: bool) -> Result<(), FsError> {
        let fs = self.files.get(path)?;
        let job = self.job.to_string();
        output::prepare(&*fs, path, &job).await?;
        if !taken_over && self.has_leftovers(path).await? {
            output::abandon(&*fs, path).await?;
            output::prepare(&*fs, path, &job).await?;
        }
        Ok(())
    }

    /// True when an earlier application attempt wrote parts: they would stand in the way of this one's.
    async fn has_leftovers(&self, path: &FsPath) -> Result<bool, FsError> {
        let fs = self.files.get(path)?;
        let first = output::temporary_part(path, 0, 0);
        // The directory of all attempts is two above a part.
        let Some(temporary) = first.parent().and_then(|attempt| attempt.parent()) else { return Ok(false) };
        Ok(fs.list(&temporary).await?.iter().any(|entry| entry.is_dir))
    }

    /// Finishes what an earlier attempt of the application had decided: true when the job had ended, and its outputs are in
    /// place now. Nobody may be told that it ran again.
    ///
    /// # Errors
    /// Whether it had isn't known, or the outputs could not be put in place.
    pub async fn had_ended(&self) -> Result<bool, Failure> {
        let Some(first) = self.paths.first() else { return Ok(false) };
        let decided = async { output::decided(&*self.files.get(first)?, first, &self.job.to_string()).await };
        let attempt = decided.await.map_err(|error| {
            let text = format!("whether the job had ended can't be seen in `{first}`: {}", with_causes(&error));
            Failure::new(Blame::Outside, text)
        })?;
        let Some(attempt) = attempt else { return Ok(false) };
        tracing::info!(path = %first, attempt, "the job had ended: its outputs are put in place");
        self.commit(ExecutionAttempt(attempt)).await?;
        self.claimed.store(true, Ordering::Relaxed);
        Ok(true)
    }

    /// How the job ended is known elsewhere.
    pub async fn forget_end(&self) {
        let Some(first) = self.paths.first() else { return };
        let forgotten = async { output::forget_decision(&*self.files.get(first)?, first, &self.job.to_string()).await };
        if let Err(error) = forgotten.await {
            tracing::warn!(path = %first, error = with_causes(&error), "a mark that the job has ended is left in its output");
        }
    }

    /// Makes what this attempt wrote visible. The first step decides that the job has ended, whatever happens to this process.
    ///
    /// # Errors
    /// Why one of them could not be; the ones before it are visible then.
    pub async fn commit(&self, attempt: ExecutionAttempt) -> Result<(), Failure> {
        if let Some(first) = self.paths.first() {
            let job = self.job.to_string();
            let decided = async { output::decide(&*self.files.get(first)?, first, &job, attempt.0).await };
            decided.await.map_err(|error| {
                let text = format!("the job's output `{first}` could not be committed: {}", with_causes(&error));
                Failure::new(Blame::Outside, text)
            })?;
        }
        for path in &self.paths {
            let committed = async { output::commit(&*self.files.get(path)?, path, attempt.0).await };
            match committed.await {
                Ok(parts) => tracing::info!(%path, parts, "output committed"),
                Err(error) => {
                    let text = format!("the job's output `{path}` could not be committed: {}", with_causes(&error));
                    return Err(Failure::new(Blame::Outside, text));
                }
            }
        }
        Ok(())
    }

    /// Removes what a job left that did not succeed, as far as that is possible. Outputs that were never claimed are
    /// somebody else's and stay as they are.
    pub async fn abandon(&self) {
        if !self.claimed.load(Ordering::Relaxed) {
            return;
        }
        self.forget_end().await;
        for path in &self.paths {
            self.abandon_one(path).await;
        }
    }

    async fn abandon_one(&self, path: &FsPath) {
        let abandoned = async { output::abandon(&*self.files.get(path)?, path).await };
        match abandoned.await {
            Ok(()) => tracing::info!(%path, "output abandoned"),
            Err(error) => tracing::warn!(%path, error = with_causes(&error), "an output could not be cleaned up"),
        }
    }
}

/// The application's own staging directory.
#[derive(Clone)]
pub struct Staging {
    files: FileSystems,
    path: FsPath,
}

impl Staging {
    /// # Errors
    /// [`FsError`] when it is no path.
    pub fn new(files: FileSystems, path: &str) -> Result<Self, FsError> {
        let path = files.resolve(path)?;
        Ok(Self { files, path })
    }

    /// Looks at the directory, so that the connection to its file system stands when it has to go quickly.
    pub async fn warm_up(&self) {
        let status = async { self.files.get(&self.path)?.status(&self.path).await };
        if let Err(error) = status.await {
            tracing::warn!(path = %self.path, error = with_causes(&error), "the staging directory can't be seen");
        }
    }

    /// Removes it, within the limit.
    pub async fn remove(&self, limit: Duration) {
        let removed = async { self.files.get(&self.path)?.delete(&self.path, true).await };
        match tokio::time::timeout(limit, removed).await {
            Ok(Ok(_)) => tracing::info!(path = %self.path, "staging directory removed"),
            Ok(Err(error)) => {
                tracing::warn!(path = %self.path, error = with_causes(&error), "the staging directory could not be removed");
            }
            Err(_) => tracing::warn!(path = %self.path, ?limit, "the staging directory was not removed in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_fs::FsOptions;
    use std::path::Path;

    fn outputs(dir: &Path, names: &[&str]) -> Outputs {
        let names: Vec<String> = names.iter().map(|name| dir.join(name).display().to_string()).collect();
        Outputs::new(FileSystems::new(FsOptions::default()).unwrap(), &names, JobId(7)).unwrap()
    }

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[tokio::test]
    async fn all_outputs_are_claimed_or_none() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("b/part-0"), "of somebody else");
        let failure = outputs(dir.path(), &["a", "b"]).prepare(false).await.unwrap_err();
        assert!(failure.message.contains("already exists") && failure.message.contains("/b"), "{failure}");
        assert!(!dir.path().join("a").try_exists().unwrap(), "the first was given up again");
        outputs(dir.path(), &["b"]).abandon().await;
        assert!(dir.path().join("b/part-0").try_exists().unwrap());
    }

    #[tokio::test]
    async fn the_parts_of_the_attempt_become_visible() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = outputs(dir.path(), &["a"]);
        outputs.prepare(false).await.unwrap();
        write(&dir.path().join("a/_temporary/0/part-0"), "failed");
        write(&dir.path().join("a/_temporary/1/part-0"), "good");
        outputs.commit(ExecutionAttempt(1)).await.unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("a/part-0")).unwrap(), "good");
        assert!(!dir.path().join("a/_temporary").try_exists().unwrap());
    }

    #[tokio::test]
    async fn a_job_that_had_ended_is_put_in_place_and_does_not_run_again() {
        // Cut off after the decision, amid the renames, and when all was done but its end was not told.
        for renamed in 0..=2 {
            let dir = tempfile::tempdir().unwrap();
            let first = outputs(dir.path(), &["a", "b"]);
            first.prepare(false).await.unwrap();
            assert!(!outputs(dir.path(), &["a", "b"]).had_ended().await.unwrap());
            for name in ["a", "b"] {
                write(&dir.path().join(format!("{name}/_temporary/3/part-0")), "good");
                write(&dir.path().join(format!("{name}/_temporary/2/part-0")), "failed");
            }
            let fs = FileSystems::new(FsOptions::default()).unwrap();
            for (number, path) in first.paths.iter().enumerate() {
                let fs = fs.get(path).unwrap();
                if number == 0 {
                    output::decide(&*fs, path, &first.job.to_string(), 3).await.unwrap();
                }
                if number < renamed {
                    output::commit(&*fs, path, 3).await.unwrap();
                }
            }
            let second = outputs(dir.path(), &["a", "b"]);
            assert!(second.had_ended().await.unwrap(), "{renamed}");
            second.forget_end().await;
            for name in ["a", "b"] {
                let left: Vec<_> =
                    std::fs::read_dir(dir.path().join(name)).unwrap().map(|e| e.unwrap().file_name()).collect();
                assert_eq!(left, ["part-0"], "{renamed}");
                assert_eq!(std::fs::read_to_string(dir.path().join(name).join("part-0")).unwrap(), "good");
            }
            assert!(outputs(dir.path(), &["a"]).prepare(true).await.is_err(), "another job finds an output");
        }
    }

    #[tokio::test]
    async fn a_second_application_attempt_starts_over_what_the_first_left() {
        let dir = tempfile::tempdir().unwrap();
        outputs(dir.path(), &["a"]).prepare(false).await.unwrap();
        write(&dir.path().join("a/_temporary/0/part-0"), "of the attempt that died");
        let second = outputs(dir.path(), &["a"]);
        second.prepare(false).await.unwrap();
        assert!(!dir.path().join("a/_temporary/0").try_exists().unwrap());
        second.abandon().await;
        assert!(!dir.path().join("a").try_exists().unwrap());
    }

    #[tokio::test]
    async fn what_subtasks_that_go_on_have_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        outputs(dir.path(), &["a"]).prepare(false).await.unwrap();
        write(&dir.path().join("a/_temporary/0/part-0"), "of a subtask that goes on");
        let second = outputs(dir.path(), &["a"]);
        second.prepare(true).await.unwrap();
        assert!(dir.path().join("a/_temporary/0/part-0").try_exists().unwrap());
        outputs(dir.path(), &["b"]).prepare(false).await.unwrap();
        write(&dir.path().join("c/part-0"), "of somebody else");
        outputs(dir.path(), &["b", "c"]).prepare(true).await.unwrap_err();
        assert!(dir.path().join("b").try_exists().unwrap(), "it may be in use");
    }

    #[tokio::test]
    async fn the_staging_directory_goes_with_all_that_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("staging/x/file"), "");
        let files = FileSystems::new(FsOptions::default()).unwrap();
        let staging = Staging::new(files, &dir.path().join("staging").display().to_string()).unwrap();
        staging.warm_up().await;
        staging.remove(Duration::from_secs(10)).await;
        assert!(!dir.path().join("staging").try_exists().unwrap());
        staging.remove(Duration::from_secs(10)).await;
    }
}
