//! Groups of subtasks whose watermarks are aligned: who is ahead waits for the slowest, on whatever worker that is.

use std::collections::{BTreeMap, BTreeSet};

use flumen_model::ids::{ExecutionAttempt, SubtaskId};

/// What the members of all groups have said and were told.
#[derive(Debug, Default)]
pub(crate) struct WatermarkGroups {
    groups: BTreeMap<String, BTreeMap<SubtaskId, Member>>,
}

#[derive(Debug)]
struct Member {
    attempt: ExecutionAttempt,
    /// `None`: it is idle or at its end, and nobody waits for it.
    watermark: Option<i64>,
    /// The last least watermark that it heard of.
    told: Option<i64>,
}

/// Something to tell some members of a group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) group: String,
    /// The least watermark of the group; `None` when nobody has one.
    pub(crate) least: Option<i64>,
    pub(crate) members: BTreeSet<SubtaskId>,
}

impl WatermarkGroups {
    /// A subtask says how far it is.
    pub(crate) fn report(&mut self, group: String, id: SubtaskId, attempt: ExecutionAttempt, watermark: Option<i64>) {
        let members = self.groups.entry(group).or_default();
        // A new execution knows nothing of what the former one was told.
        let member = members.entry(id).or_insert(Member { attempt, watermark, told: None });
        if member.attempt != attempt {
            *member = Member { attempt, watermark, told: None };
        }
        member.watermark = watermark;
    }

    /// Forgets members that do not run any more, and says who has to hear what. `runs` knows the running executions.
    pub(crate) fn announcements(&mut self, runs: impl Fn(SubtaskId, ExecutionAttempt) -> bool) -> Vec<Announcement> {
        let mut announcements = Vec::new();
        for (group, members) in &mut self.groups {
            members.retain(|id, member| runs(*id, member.attempt));
            let least = members.values().filter_map(|member| member.watermark).min();
            let mut unaware = BTreeSet::new();
            for (id, member) in members.iter_mut().filter(|(_, member)| member.told != least) {
                member.told = least;
                unaware.insert(*id);
            }
            if !unaware.is_empty() {
                announcements.push(Announcement { group: group.clone(), least, members: unaware });
            }
        }
        self.groups.retain(|_, members| !members.is_empty());
        announcements
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_model::ids::VertexId;

    const FIRST: ExecutionAttempt = ExecutionAttempt(0);

    fn id(index: u32) -> SubtaskId {
        SubtaskId { vertex: VertexId(1), index }
    }

    fn told(groups: &mut WatermarkGroups, running: &[u32]) -> Vec<(String, Option<i64>, Vec<u32>)> {
        let announcements = groups.announcements(|id, attempt| attempt == FIRST && running.contains(&id.index));
        let plain = |a: Announcement| (a.group, a.least, a.members.iter().map(|id| id.index).collect());
        announcements.into_iter().map(plain).collect()
    }

    #[test]
    fn all_members_hear_of_a_new_least_watermark_and_nobody_of_what_it_knows() {
        let mut groups = WatermarkGroups::default();
        groups.report("a".into(), id(0), FIRST, Some(500));
        assert_eq!(told(&mut groups, &[0, 1]), [("a".into(), Some(500), vec![0])]);
        groups.report("a".into(), id(1), FIRST, Some(300));
        assert_eq!(told(&mut groups, &[0, 1]), [("a".into(), Some(300), vec![0, 1])]);
        groups.report("a".into(), id(0), FIRST, Some(600));
        assert!(told(&mut groups, &[0, 1]).is_empty(), "the slowest is where it was");
        groups.report("a".into(), id(1), FIRST, Some(700));
        assert_eq!(told(&mut groups, &[0, 1]), [("a".into(), Some(600), vec![0, 1])]);
    }

    #[test]
    fn nobody_waits_for_the_idle_the_ended_the_restarted_and_other_groups() {
        let mut groups = WatermarkGroups::default();
        for (index, watermark) in [(0, 900), (1, 100), (2, 200), (3, 300)] {
            groups.report("a".into(), id(index), FIRST, Some(watermark));
        }
        groups.report("b".into(), id(7), FIRST, Some(5));
        assert_eq!(told(&mut groups, &[0, 1, 2, 3, 7])[0], ("a".into(), Some(100), vec![0, 1, 2, 3]));
        groups.report("a".into(), id(1), FIRST, None);
        assert_eq!(told(&mut groups, &[0, 1, 2, 3, 7]), [("a".into(), Some(200), vec![0, 1, 2, 3])]);
        assert_eq!(told(&mut groups, &[0, 1, 3, 7]), [("a".into(), Some(300), vec![0, 1, 3])], "2 has ended");
        groups.report("a".into(), id(3), ExecutionAttempt(1), Some(0));
        let restarted = groups.announcements(|id, attempt| id.index != 3 || attempt == ExecutionAttempt(1));
        assert_eq!(
            (restarted[0].least, restarted[0].members.len()),
            (Some(0), 3),
            "it hears of it, having been told nothing"
        );
        assert_eq!(told(&mut groups, &[0, 1]), [("a".into(), Some(900), vec![0, 1])]);
        assert!(told(&mut groups, &[]).is_empty() && groups.groups.is_empty());
    }
}
