//! Which leader a job's checkpoints belong to, and up to which they count.
//!
//! `<job>/head/` holds one empty file, whose name says who leads and which checkpoint is the newest that counts. A leader
//! changes it by renaming it from the name that it knows: this fails when another leader has renamed it meanwhile. So all
//! completions and changes of leaders of a job stand in one order, and a leader that was cut off learns of its successor
//! before it can announce or remove anything (CP-4, CP-5).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use flumen_fs::{CreateOptions, FileSystem, FileSystems, FsError, FsPath};
use flumen_model::checkpoint::CheckpointId;
use flumen_model::ids::Epoch;
use tracing::{info, warn};

use crate::{CheckpointError, layout};

/// Name of the directory with the one file.
const HEAD: &str = "head";
/// Start of the name of the empty file in a leader's directory that says what it took over.
const FROM: &str = "from.";
/// How often a step is tried: a competitor that comes between is rare, an answer that is lost as well.
const TRIES: u32 = 8;

/// The name of the one file in the head directory: `<leader>.<epoch of the checkpoint's directory>.<checkpoint>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) leader: Epoch,
    pub(crate) newest: Reached,
}

/// A checkpoint of a leader; number 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) epoch: Epoch,
    pub(crate) checkpoint: CheckpointId,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.leader, self.newest)
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.checkpoint)
    }
}

impl Head {
    const START: Self = Self { leader: Epoch(0), newest: Reached { epoch: Epoch(0), checkpoint: CheckpointId(0) } };

    fn parse(name: &str) -> Option<Self> {
        let (leader, newest) = name.split_once('.')?;
        Some(Self { leader: Epoch(layout::number(leader)?), newest: Reached::parse(newest)? })
    }
}

impl Reached {
    fn parse(name: &str) -> Option<Self> {
        let (epoch, checkpoint) = name.split_once('.')?;
        Some(Self { epoch: Epoch(layout::number(epoch)?), checkpoint: CheckpointId(layout::number(checkpoint)?) })
    }
}

/// Being the leader of a job's checkpoints, until a newer one comes.
pub struct Leadership {
    fs: Arc<dyn FileSystem>,
    job_directory: FsPath,
    head: Head,
}

impl Leadership {
    /// Takes the checkpoints in `job_directory` over, from nobody or from a former leader: from now on that one can't
    /// complete, announce or remove any. Repeating it with the same epoch does no harm.
    ///
    /// # Errors
    /// [`CheckpointError::Superseded`] when a newer leader did; those of the file system.
    pub async fn claim(systems: &FileSystems, job_directory: &FsPath, epoch: Epoch) -> Result<Self, CheckpointError> {
        let fs = systems.get(job_directory)?;
        begin(&*fs, job_directory).await?;
        for _ in 0..TRIES {
            let Some(found) = read_head(&*fs, job_directory).await? else { continue };
            if found.leader > epoch {
                return Err(CheckpointError::Superseded { directory: job_directory.to_string(), epoch });
            }
            let head = Head { leader: epoch, ..found };
            if head != found && !moved(&*fs, job_directory, found, head).await? {
                continue;
            }
            let leadership = Self { fs, job_directory: job_directory.clone(), head };
            leadership.note_what_is_taken_over().await?;
            info!(directory = %job_directory, %epoch, newest = %head.newest.checkpoint, "leading the job's checkpoints");
            return Ok(leadership);
        }
        Err(unsettled(job_directory))
    }

    /// The directory that this leader writes into.
    pub fn directory(&self) -> FsPath {
        layout::leader_directory(&self.job_directory, self.head.leader)
    }

    /// The newest checkpoint that counts; `None` before the first.
    pub fn newest(&self) -> Option<CheckpointId> {
        Some(self.head.newest.checkpoint).filter(|checkpoint| checkpoint.0 > 0)
    }

    /// Where that one is.
    pub(crate) fn newest_directory(&self) -> Option<FsPath> {
        self.newest().map(|_| directory_of(&self.job_directory, self.head.newest))
    }

    /// Makes `checkpoint`, whose metadata this leader has stored, the newest that counts. Only after this may it be announced,
    /// and older ones removed.
    ///
    /// # Errors
    /// [`CheckpointError::Superseded`] when there is a newer leader: stop, and remove nothing; those of the file system, after
    /// which it may count all the same: repeat it.
    pub async fn advance(&mut self, checkpoint: CheckpointId) -> Result<(), CheckpointError> {
        let newest = Reached { epoch: self.head.leader, checkpoint };
        let next = Head { newest, ..self.head };
        for _ in 0..TRIES {
            if next == self.head || moved(&*self.fs, &self.job_directory, self.head, next).await? {
                self.head = next;
                return Ok(());
            }
            // An earlier step of this leader may have taken place although its answer was lost.
            match read_head(&*self.fs, &self.job_directory).await? {
                Some(found) if found.leader == self.head.leader => self.head = found,
                Some(_) => {
                    let directory = self.job_directory.to_string();
                    return Err(CheckpointError::Superseded { directory, epoch: self.head.leader });
                }
                None => {}
            }
        }
        Err(unsettled(&self.job_directory))
    }

    /// Says in this leader's own directory, before anything of its own can count, up to where the former one's do.
    async fn note_what_is_taken_over(&self) -> Result<(), FsError> {
        let newest = self.head.newest;
        if newest.epoch == self.head.leader || newest.checkpoint.0 == 0 {
            return Ok(());
        }
        let note = self.directory().join(format!("{FROM}{newest}"));
        self.fs.write_fully(&note, Bytes::new(), &CreateOptions::overwriting()).await
    }
}

fn unsettled(job_directory: &FsPath) -> CheckpointError {
    let path = job_directory.join(HEAD).to_string();
    let reason = "exactly one file such as `1.1.12` belongs there".to_owned();
    CheckpointError::Damaged { path, reason }
}

/// Makes the head directory with its first file, unless it is there: of leaders that race, one makes it, by an exclusive
/// rename.
async fn begin(fs: &dyn FileSystem, job_directory: &FsPath) -> Result<(), FsError> {
    let head = job_directory.join(HEAD);
    if fs.exists(&head).await? {
        return Ok(());
    }
    let temporary = job_directory.join(format!(".{HEAD}.{}.tmp", uuid::Uuid::new_v4().simple()));
    let first = temporary.join(Head::START.to_string());
    fs.write_fully(&first, Bytes::new(), &CreateOptions::default()).await?;
    let renamed = fs.rename(&temporary, &head, false).await;
    fs.delete(&temporary, true).await?;
    match renamed {
        Ok(()) => Ok(()),
        Err(error) if error.is_already_exists() || fs.exists(&head).await? => Ok(()),
        Err(error) => Err(error),
    }
}

/// The one file of the head directory. `None` when it was being renamed.
async fn read_head(fs: &dyn FileSystem, job_directory: &FsPath) -> Result<Option<Head>, CheckpointError> {
    let entries = fs.list(&job_directory.join(HEAD)).await?;
    match &entries[..] {
        [entry] => Head::parse(entry.path.name()).map(Some).ok_or_else(|| unsettled(job_directory)),
        _ => Ok(None),
    }
}

/// Renames the head from one name to another; false when it had another name already.
async fn moved(fs: &dyn FileSystem, job_directory: &FsPath, from: Head, to: Head) -> Result<bool, CheckpointError> {
    let directory = job_directory.join(HEAD);
    let (from, to) = (directory.join(from.to_string()), directory.join(to.to_string()));
    let mut tries = 1;
    loop {
        let Err(error) = fs.rename(&from, &to, false).await else { return Ok(true) };
        // No other leader ever gives it our name: if it has that, our rename took place and only the answer was lost.
        if fs.exists(&to).await? {
            return Ok(true);
        }
        if error.is_not_found() || !fs.exists(&from).await? {
            return Ok(false);
        }
        if !error.is_retryable() || tries >= TRIES {
            return Err(error.into());
        }
        warn!(path = %from, %error, "renaming the head is repeated");
        tries += 1;
    }
}

/// The directories of the checkpoints that count, newest first; the very newest of them must be there. `None` when no leader
/// has been here.
pub(crate) async fn counting(fs: &dyn FileSystem, job_directory: &FsPath) -> Result<Option<Counting>, CheckpointError> {
    let mut head = None;
    for _ in 0..TRIES {
        head = match read_head(fs, job_directory).await {
            Ok(head) => head,
            Err(CheckpointError::Fs(FsError::NotFound { .. })) => return Ok(None),
            Err(error) => return Err(error),
        };
        if head.is_some() {
            break;
        }
    }
    let head = head.ok_or_else(|| unsettled(job_directory))?;
    let mut reached = Some(head.newest).filter(|newest| newest.checkpoint.0 > 0);
    let newest = reached.map(|newest| directory_of(job_directory, newest));
    let mut older = Vec::new();
    while let Some(part) = reached {
        let directory = layout::leader_directory(job_directory, part.epoch);
        let mut taken_over = None;
        let mut here = Vec::new();
        for entry in fs.list(&directory).await? {
            if let Some(note) = entry.path.name().strip_prefix(FROM).and_then(Reached::parse) {
                // Going back in time, so that this ends whatever the notes say.
                taken_over = Some(note).filter(|note| note.epoch < part.epoch);
            }
            here.extend(layout::checkpoint_of(&entry.path).filter(|id| *id <= part.checkpoint));
        }
        here.sort();
        let of_part = |checkpoint| directory_of(job_directory, Reached { epoch: part.epoch, checkpoint });
        older.extend(here.into_iter().rev().map(of_part).filter(|directory| Some(directory) != newest.as_ref()));
        reached = taken_over;
    }
    Ok(Some(Counting { newest, older }))
}

/// See [`counting`].
pub(crate) struct Counting {
    /// The newest; it must be there.
    pub(crate) newest: Option<FsPath>,
    /// What else is there, newest first: complete or not.
    pub(crate) older: Vec<FsPath>,
}

fn directory_of(job_directory: &FsPath, reached: Reached) -> FsPath {
    layout::checkpoint_directory(&layout::leader_directory(job_directory, reached.epoch), reached.checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    async fn claim(scratch: &Scratch, epoch: u64) -> Result<Leadership, CheckpointError> {
        Leadership::claim(&scratch.systems, &scratch.path("job"), Epoch(epoch)).await
    }

    #[tokio::test]
    async fn the_head_says_who_leads_and_what_counts() {
        let scratch = Scratch::new();
        let mut first = claim(&scratch, 1).await.unwrap();
        assert_eq!((first.newest(), first.directory()), (None, scratch.path("job")));
        assert_eq!(scratch.names("job/head").await, ["1.0.0"]);
        first.advance(CheckpointId(4)).await.unwrap();
        first.advance(CheckpointId(4)).await.unwrap();
        assert_eq!(scratch.names("job/head").await, ["1.1.4"]);
        let second = claim(&scratch, 2).await.unwrap();
        assert_eq!((second.newest(), second.directory()), (Some(CheckpointId(4)), scratch.path("job/e2")));
        assert_eq!(scratch.names("job/e2").await, ["from.1.4"]);
        assert_eq!(scratch.names("job/head").await, ["2.1.4"]);
    }

    #[tokio::test]
    async fn a_leader_that_was_cut_off_completes_nothing_more() {
        let scratch = Scratch::new();
        let mut first = claim(&scratch, 1).await.unwrap();
        first.advance(CheckpointId(1)).await.unwrap();
        let mut second = claim(&scratch, 2).await.unwrap();
        assert!(matches!(first.advance(CheckpointId(2)).await, Err(CheckpointError::Superseded { .. })));
        assert!(matches!(claim(&scratch, 1).await, Err(CheckpointError::Superseded { .. })));
        second.advance(CheckpointId(2)).await.unwrap();
        assert!(matches!(first.advance(CheckpointId(2)).await, Err(CheckpointError::Superseded { .. })));
        assert_eq!(claim(&scratch, 2).await.unwrap().newest(), Some(CheckpointId(2)), "the same leader once more");
    }

    #[tokio::test]
    async fn a_step_whose_answer_was_lost_is_no_loss_of_leadership() {
        let scratch = Scratch::new();
        let mut leader = claim(&scratch, 1).await.unwrap();
        let head = |name: &str| scratch.path(&format!("job/head/{name}"));
        scratch.fs().rename(&head("1.0.0"), &head("1.1.1"), false).await.unwrap();
        leader.advance(CheckpointId(2)).await.unwrap();
        assert_eq!(scratch.names("job/head").await, ["1.1.2"]);
    }

    #[tokio::test]
    async fn of_leaders_that_race_the_one_with_the_highest_epoch_remains() {
        let scratch = Scratch::new();
        let results = futures::future::join_all((1..=6).map(|epoch| claim(&scratch, epoch))).await;
        for (index, result) in results.into_iter().enumerate() {
            match result {
                Ok(mut leader) => {
                    let advanced = leader.advance(CheckpointId(1)).await;
                    assert_eq!(advanced.is_ok(), index == 5, "{index}");
                }
                Err(error) => assert!(index < 5 && matches!(error, CheckpointError::Superseded { .. }), "{error}"),
            }
        }
        assert_eq!(scratch.names("job/head").await, ["6.6.1"]);
        assert!(scratch.names("job").await.iter().all(|name| !name.ends_with(".tmp")));
    }

    #[tokio::test]
    async fn what_is_no_head_is_named() {
        let scratch = Scratch::new();
        scratch.put("job/head/x", b"").await;
        let error = claim(&scratch, 1).await.err().unwrap().to_string();
        assert!(error.contains(&scratch.path("job/head").to_string()), "{error}");
    }
}
