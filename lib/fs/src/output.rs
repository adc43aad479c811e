//! A job's output directory and its job-level commit.
//!
//! Subtasks write into `<output>/_temporary/<attempt>/part-<subtask>`; when the whole job has finished, the parts of the
//! successful attempt are renamed to `<output>/part-<subtask>` and `_temporary` is removed. A reader never sees half a
//! part. While a commit runs it may see some parts and not others; `_temporary` is gone once all are there.

use crate::{CreateOptions, FileSystem, FsError, FsPath};

/// The directory of parts that are not committed.
const TEMPORARY: &str = "_temporary";
/// Start of the names of parts.
const PART: &str = "part-";
/// Start of the name of the empty file in `_temporary` that tells whose output it is.
const OWNER: &str = "owner-";
/// Start of the name of the empty file in the output that says that a job has ended and which attempt's parts are its result.
const DECIDED: &str = "_commit-";

/// Where a subtask of the given attempt (counted from 1) writes its part: `<output>/_temporary/<attempt>/part-<subtask>`.
pub fn temporary_part(output: &FsPath, attempt: u32, subtask: u32) -> FsPath {
    attempt_dir(output, attempt).join(format!("{PART}{subtask}"))
}

/// Where that part stands once the job has finished: `<output>/part-<subtask>`.
pub fn committed_part(output: &FsPath, subtask: u32) -> FsPath {
    output.join(format!("{PART}{subtask}"))
}

fn attempt_dir(output: &FsPath, attempt: u32) -> FsPath {
    output.join(TEMPORARY).join(attempt.to_string())
}

/// Claims `output` for the job named `job`: makes the directory, and `_temporary` in it.
///
/// Nothing that exists is overwritten: an existing path is refused unless it is an empty directory, or one that this very
/// job claimed before and that holds nothing committed (a new attempt after a crash).
///
/// # Errors
/// [`FsError::AlreadyExists`] naming the path; those of the file system.
pub async fn prepare(fs: &dyn FileSystem, output: &FsPath, job: &str) -> Result<(), FsError> {
    let refused = || FsError::AlreadyExists { path: output.to_string() };
    let owner = output.join(TEMPORARY).join(format!("{OWNER}{job}"));
    let entries = match fs.list(output).await {
        Ok(entries) => entries,
        Err(FsError::NotFound { .. }) => Vec::new(),
        Err(FsError::NotADirectory { .. }) if fs.exists(output).await? => return Err(refused()),
        Err(error) => return Err(error),
    };
    // Of two jobs that come here at the same time, one makes `_temporary` by an exclusive rename.
    let claim = output.join(format!("{TEMPORARY}-{job}"));
    if entries.iter().any(|entry| entry.path.name() != TEMPORARY && entry.path != claim) {
        return Err(refused());
    }
    if entries.iter().any(|entry| entry.path.name() == TEMPORARY) {
        return if fs.exists(&owner).await? { Ok(()) } else { Err(refused()) };
    }
    fs.write_fully(&claim.join(format!("{OWNER}{job}")), Default::default(), &CreateOptions::overwriting()).await?;
    match fs.rename(&claim, &output.join(TEMPORARY), false).await {
        Ok(()) => Ok(()),
        Err(error) => {
            fs.delete(&claim, true).await?;
            Err(if error.is_already_exists() { refused() } else { error })
        }
    }
}

/// Says that the job named `job` has ended, and that the parts of `attempt` are its result: from now on it is only
/// [committed](commit), and never runs again. Repeating it does no harm.
///
/// # Errors
/// Those of the file system.
pub async fn decide(fs: &dyn FileSystem, output: &FsPath, job: &str, attempt: u32) -> Result<(), FsError> {
    let decision = output.join(format!("{DECIDED}{job}.{attempt}"));
    fs.write_fully(&decision, Default::default(), &CreateOptions::overwriting()).await
}

/// The attempt whose parts are the result of the job named `job`, if that is [decided](decide).
///
/// # Errors
/// Those of the file system.
pub async fn decided(fs: &dyn FileSystem, output: &FsPath, job: &str) -> Result<Option<u32>, FsError> {
    let entries = match fs.list(output).await {
        Err(FsError::NotFound { .. } | FsError::NotADirectory { .. }) => return Ok(None),
        entries => entries?,
    };
    let prefix = format!("{DECIDED}{job}.");
    Ok(entries.iter().find_map(|entry| entry.path.name().strip_prefix(&prefix)?.parse().ok()))
}

/// Forgets the decision: when it is known elsewhere how the job ended.
///
/// # Errors
/// Those of the file system.
pub async fn forget_decision(fs: &dyn FileSystem, output: &FsPath, job: &str) -> Result<(), FsError> {
    if let Some(attempt) = decided(fs, output, job).await? {
        fs.delete(&output.join(format!("{DECIDED}{job}.{attempt}")), false).await?;
    }
    Ok(())
}

/// Makes the parts of `attempt` the job's result and removes what other attempts left. Repeating it after a crash
/// finishes what was begun. Returns the number of parts that this call renamed.
///
/// # Errors
/// [`FsError::AlreadyExists`] when somebody else put a part there; [`FsError::NotFound`] when neither parts of the
/// attempt nor committed parts exist; those of the file system.
pub async fn commit(fs: &dyn FileSystem, output: &FsPath, attempt: u32) -> Result<usize, FsError> {
    let written = match fs.list(&attempt_dir(output, attempt)).await {
        Ok(parts) => parts,
        // Removed by an earlier commit that crashed after it, unless nothing was ever written.
        Err(error) if error.is_not_found() && has_committed_parts(fs, output).await? => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut renamed = 0;
    for part in written.iter().filter(|part| !part.is_dir && part.path.name().starts_with(PART)) {
        fs.rename(&part.path, &output.join(part.path.name()), false).await?;
        renamed += 1;
    }
    fs.delete(&output.join(TEMPORARY), true).await?;
    Ok(renamed)
}

async fn has_committed_parts(fs: &dyn FileSystem, output: &FsPath) -> Result<bool, FsError> {
    let entries = fs.list(output).await?;
    Ok(entries.iter().any(|entry| !entry.is_dir && entry.path.name().starts_with(PART)))
}

/// Removes what a failed or cancelled job wrote: `_temporary`, and the output directory if nothing else is in it.
///
/// # Errors
/// Those of the file system.
pub async fn abandon(fs: &dyn FileSystem, output: &FsPath) -> Result<(), FsError> {
    fs.delete(&output.join(TEMPORARY), true).await?;
    match fs.delete(output, false).await {
        Ok(_) | Err(FsError::NotEmpty { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
