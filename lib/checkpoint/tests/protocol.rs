//! The protocol of `docs/adr/0010-checkpoints-complete-by-rename.md` as a model: two leaders, each of which doesn't know
//! whether the other is alive, take their steps in every possible order, and each may stop for ever before any step. What
//! the file system does in one step is one step here.
//!
//! The invariants are checked in every state that can be reached. Each rule is also taken away in turn, to see that the model
//! then finds what the rule is for.

use std::collections::{BTreeSet, HashSet};

/// Checkpoints that a leader begins.
const BEGUN_MAX: u8 = 4;

type Epoch = u8;

/// A checkpoint: the epoch of the directory that it lies in, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Id {
    directory: Epoch,
    number: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Head {
    leader: Epoch,
    newest: Option<Id>,
}

/// A rule of the protocol that a test takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// CP-4: the head is set, not renamed from the name that is known.
    CompareOfHead,
    /// CP-5: what is not needed any more is removed only after the head has advanced.
    RemovalAfterAdvance,
    /// CP-2: each leader has its own directory.
    OwnDirectory,
    /// CP-6: a former leader's checkpoints count up to the one that was taken over.
    NoteOfTakeOver,
    /// CP-1: a checkpoint is completed when everything that it refers to is written.
    CompletionLast,
}

/// What the model is asked about.
#[derive(Debug, Clone, Copy)]
struct Question {
    without: Without,
    /// Checkpoints that a leader keeps.
    retained: usize,
}

/// Everything that outlives a leader, and what an observer knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    head: Head,
    /// By leader: up to where its predecessor's checkpoints count.
    notes: [Option<Id>; 3],
    metadata: BTreeSet<Id>,
    /// Private files, and who wrote them.
    files: BTreeSet<(Id, Epoch)>,
    /// Shared files, by the checkpoint that they were written for.
    shared: BTreeSet<Id>,
    leaders: [Leader; 2],
    /// The observer's: every checkpoint that ever counted, in order.
    counted: Vec<Id>,
    announced: BTreeSet<Id>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Leader {
    epoch: Epoch,
    at: Step,
    /// The head as it last knew it.
    known: Option<Head>,
    /// Completed ones that it keeps, oldest first.
    retained: Vec<Id>,
    number: u8,
    begun: u8,
}

/// What a leader does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Read,
    Claim,
    Note,
    Choose,
    WriteShared,
    WriteFiles,
    /// Complete, or give it up.
    Complete,
    Advance,
    Announce,
    RemoveMetadata,
    RemoveFiles,
    RemoveShared,
    RemoveAborted,
    Over,
}

/// Shared files that a checkpoint refers to: its own and that of the one before it in the same directory.
fn shared_of(id: Id) -> impl Iterator<Item = Id> {
    [Some(id), id.number.checked_sub(1).map(|number| Id { number, ..id })].into_iter().flatten()
}

impl World {
    fn new() -> Self {
        let leader = |epoch| Leader { epoch, at: Step::Read, known: None, retained: Vec::new(), number: 0, begun: 0 };
        Self {
            head: Head { leader: 0, newest: None },
            notes: [None; 3],
            metadata: BTreeSet::new(),
            files: BTreeSet::new(),
            shared: BTreeSet::new(),
            leaders: [leader(1), leader(2)],
            counted: Vec::new(),
            announced: BTreeSet::new(),
        }
    }

    /// Whether everything of a checkpoint is there. Its shared files are those that exist when it is written.
    fn whole(&self, id: Id) -> bool {
        let shared = self.shared.contains(&id);
        self.metadata.contains(&id) && self.files.iter().any(|(file, _)| *file == id) && shared
    }

    /// What a new leader would consider, newest first.
    fn counting(&self, without: Without) -> Vec<Id> {
        let mut part = self.head.newest;
        let mut found = Vec::new();
        while let Some(reached) = part {
            let here = self.metadata.iter().rev().filter(|id| id.directory == reached.directory);
            let bound = |id: &&Id| without == Without::NoteOfTakeOver || id.number <= reached.number;
            found.extend(here.filter(bound));
            part = self.notes[usize::from(reached.directory)].filter(|note| note.directory < reached.directory);
        }
        found
    }

    /// All worlds after one step of leader `index`.
    fn after(&self, index: usize, Question { without, retained }: Question) -> Vec<World> {
        let mut next = self.clone();
        let world = &mut next;
        let leader = &mut world.leaders[index];
        let directory = if without == Without::OwnDirectory { 1 } else { leader.epoch };
        let current = Id { directory, number: leader.number };
        match leader.at {
            Step::Over => return Vec::new(),
            Step::Read => {
                leader.known = Some(world.head);
                leader.at = if world.head.leader > leader.epoch { Step::Over } else { Step::Claim };
            }
            Step::Claim => {
                let known = leader.known.expect("read before");
                if known == world.head || without == Without::CompareOfHead {
                    world.head = Head { leader: leader.epoch, ..known };
                    leader.known = Some(world.head);
                    leader.at = Step::Note;
                } else {
                    leader.at = Step::Read;
                }
            }
            Step::Note => {
                let newest = leader.known.and_then(|head| head.newest);
                world.notes[usize::from(leader.epoch)] = newest.filter(|newest| newest.directory != directory);
                leader.at = Step::Choose;
            }
            Step::Choose => {
                leader.retained = leader.known.and_then(|head| head.newest).into_iter().collect();
                // A number that nothing in sight has.
                let taken =
                    world.files.iter().map(|(id, _)| id.number).chain(world.metadata.iter().map(|id| id.number));
                leader.number = taken.max().unwrap_or(0) + 1;
                leader.at = Step::WriteShared;
            }
            Step::WriteShared => {
                leader.begun += 1;
                world.shared.insert(current);
                leader.at = if without == Without::CompletionLast { Step::Complete } else { Step::WriteFiles };
            }
            Step::WriteFiles => {
                let by = leader.epoch;
                world.files.insert((current, by));
                leader.at = if without == Without::CompletionLast { Step::Announce } else { Step::Complete };
            }
            Step::Complete => {
                let mut aborted = self.clone();
                aborted.leaders[index].at = Step::RemoveAborted;
                // Exclusive: who finds it there gives its own up.
                if !world.metadata.insert(current) {
                    return vec![aborted];
                }
                leader.at = match without {
                    Without::RemovalAfterAdvance => Step::RemoveMetadata,
                    _ => Step::Advance,
                };
                return vec![next, aborted];
            }
            Step::Advance => {
                if leader.known == Some(world.head) || without == Without::CompareOfHead {
                    world.head = Head { leader: leader.epoch, newest: Some(current) };
                    leader.known = Some(world.head);
                    leader.retained.push(current);
                    world.counted.push(current);
                    leader.at = if without == Without::CompletionLast { Step::WriteFiles } else { Step::Announce };
                } else {
                    leader.at = Step::Over;
                }
            }
            Step::Announce => {
                world.announced.insert(current);
                leader.at = Step::RemoveMetadata;
            }
            Step::RemoveMetadata | Step::RemoveFiles | Step::RemoveShared => {
                let early = without == Without::RemovalAfterAdvance && leader.retained.last() != Some(&current);
                let keep = if early { 0 } else { retained };
                if leader.retained.len() > keep {
                    let old = leader.retained[0];
                    let last = leader.at == Step::RemoveShared;
                    match leader.at {
                        Step::RemoveMetadata => drop(world.metadata.remove(&old)),
                        Step::RemoveFiles => world.files.retain(|(id, _)| *id != old),
                        _ => {
                            leader.retained.remove(0);
                            let kept: BTreeSet<Id> = leader.retained.iter().copied().flat_map(shared_of).collect();
                            for file in shared_of(old).filter(|file| !kept.contains(file)) {
                                world.shared.remove(&file);
                            }
                        }
                    }
                    if !last {
                        leader.at =
                            if leader.at == Step::RemoveMetadata { Step::RemoveFiles } else { Step::RemoveShared };
                        return vec![next];
                    }
                }
                if early {
                    leader.at = Step::Advance;
                } else {
                    leader.again();
                }
            }
            Step::RemoveAborted => {
                // As a whole: files of subtasks that did not answer are in it, too.
                world.files.retain(|(id, _)| *id != current);
                world.shared.remove(&current);
                leader.again();
            }
        }
        vec![next]
    }

    /// What is wrong in this world.
    fn broken(&self, without: Without) -> Option<String> {
        if let Some(newest) = self.head.newest
            && !self.whole(newest)
        {
            return Some(format!("CP-5: {newest:?} counts and is not whole"));
        }
        if let Some(id) = self.counting(without).into_iter().find(|id| !self.counted.contains(id)) {
            return Some(format!("CP-6: {id:?} is considered and never counted"));
        }
        if let Some(id) = self.announced.iter().find(|id| !self.counted.contains(id)) {
            return Some(format!("CP-4: {id:?} is announced and never counted"));
        }
        let mut later_leader = 0;
        for id in &self.counted {
            if id.directory < later_leader {
                return Some(format!("CP-4: {id:?} counts after one of leader {later_leader}"));
            }
            later_leader = id.directory;
        }
        self.files.iter().find_map(|(id, by)| {
            let other = self.files.iter().find(|(other, writer)| other == id && writer != by);
            other.map(|_| format!("CP-2: two leaders write {id:?}"))
        })
    }
}

impl Leader {
    /// On to the next checkpoint.
    fn again(&mut self) {
        self.number += 1;
        self.at = if self.begun < BEGUN_MAX { Step::WriteShared } else { Step::Over };
    }
}

/// Goes through every world that can be reached. Returns how many there are and the longest order of checkpoints that counted,
/// or the first world that is broken.
fn explore(question: Question) -> Result<(usize, Vec<Id>), String> {
    let mut seen: HashSet<World> = HashSet::new();
    let mut longest = Vec::new();
    let mut open = vec![World::new()];
    while let Some(world) = open.pop() {
        if let Some(broken) = world.broken(question.without) {
            return Err(format!("{broken}\n{world:#?}"));
        }
        if world.counted.len() > longest.len() {
            longest.clone_from(&world.counted);
        }
        for index in 0..world.leaders.len() {
            if world.leaders[index].at == Step::Over {
                continue;
            }
            let mut crashed = world.clone();
            crashed.leaders[index].at = Step::Over;
            open.extend(
                world.after(index, question).into_iter().chain([crashed]).filter(|world| !seen.contains(world)),
            );
        }
        seen.insert(world);
    }
    Ok((seen.len(), longest))
}

#[test]
fn two_leaders_in_every_order_with_a_crash_anywhere_break_no_invariant() {
    for retained in [1, 2] {
        let explored = explore(Question { without: Without::Nothing, retained });
        let (worlds, longest) = explored.unwrap_or_else(|broken| panic!("{broken}"));
        assert!(worlds > 10_000, "only {worlds} worlds: the model does not do what it should");
        assert_eq!(longest.len(), 2 * usize::from(BEGUN_MAX), "all that were begun can count: {longest:?}");
    }
}

#[test]
fn each_rule_is_needed() {
    let rules = [
        (Without::CompareOfHead, "CP-"),
        (Without::RemovalAfterAdvance, "CP-5"),
        (Without::OwnDirectory, "CP-"),
        (Without::NoteOfTakeOver, "CP-6"),
        (Without::CompletionLast, "CP-5"),
    ];
    for (without, expected) in rules {
        match explore(Question { without, retained: 1 }) {
            Ok((worlds, _)) => panic!("{without:?}: nothing is broken in {worlds} worlds"),
            Err(broken) => assert!(broken.starts_with(expected), "{without:?}: {broken}"),
        }
    }
}
