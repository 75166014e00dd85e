//! Which jobs are kept: enough to look back, and always what the next decision about a node stands on.

use std::collections::BTreeMap;

use crate::model::{Change, Job, Node, NodeId, Timestamp, World};
use crate::store::Tx;

use super::super::fleet::change_of;
use super::APPLY;

/// Jobs of one node that are kept.
const OF_NODE: usize = 50;
/// Jobs of all nodes that are kept, beside what decisions stand on.
const OF_ALL: usize = 20_000;
/// Most that are taken away with one new job.
const AT_ONCE: usize = 64;

/// What decisions about a node stand on.
#[derive(Debug, Default, Clone, Copy)]
pub struct Last<'w> {
    /// What it is at.
    pub running: Option<&'w Job>,
    /// The last apply that ended.
    pub ended: Option<&'w Job>,
    /// The one before that.
    pub before: Option<&'w Job>,
}

impl Last<'_> {
    /// Whether the last apply failed by what it brought. One that was cut off, by no fault that is known, is tried once more.
    pub fn failed(&self) -> bool {
        let again = |ended: &Job| {
            let twice = self.before.is_some_and(|before| before.cut_off && before.bundles == ended.bundles);
            ended.cut_off && ended.result != "broken" && !twice
        };
        self.ended.is_some_and(|ended| ended.failed() && !again(ended))
    }
}

/// The jobs of a node that count.
pub fn last(world: &World, node: NodeId) -> Last<'_> {
    let mut found = Last::default();
    for job in world.jobs_of(node).rev() {
        match (job.ended.is_some(), found.ended) {
            (false, _) => found.running = found.running.or(Some(job)),
            // A repair brings nothing that was not there, and a removal nothing at all.
            (true, _) if job.kind != APPLY => {}
            (true, None) => found.ended = Some(job),
            (true, Some(_)) => {
                found.before = Some(job);
                break;
            }
        }
    }
    found
}

/// When an operator last said of a change that it may be tried again, milliseconds since 1970.
pub fn retries(world: &World) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for (job, at) in world.jobs().filter_map(|job| Some((job, job.forgiven?))) {
        let Last { running, ended, .. } = last(world, job.node);
        let counts = running.into_iter().chain(ended).any(|one| one.id == job.id);
        if counts && world.node(job.node).is_some() {
            let newest: &mut u64 = found.entry(change_of(&job.bundles)).or_default();
            *newest = at.0.max(*newest);
        }
    }
    found
}

/// Writes down that the change which `node` is to get may be tried again everywhere, and what it failed at itself. It stands
/// on the jobs that failed, so that it is known for as long as they are.
pub fn forgive(tx: &mut Tx, node: &Node, at: Timestamp) {
    let world = tx.world();
    let pinned: Vec<String> = world.bundles_of(node).iter().map(ToString::to_string).collect();
    let own = last(world, node.id).ended.map(|job| change_of(&job.bundles));
    let changes: Vec<String> = std::iter::once(change_of(&pinned)).chain(own).collect();
    let mut forgiven = Vec::new();
    for node in world.nodes() {
        let Last { running, ended, .. } = last(world, node.id);
        let stops = running.into_iter().chain(ended.filter(|job| job.failed()));
        let stops = stops.filter(|job| changes.contains(&change_of(&job.bundles)));
        forgiven.extend(stops.map(|job| Job { forgiven: Some(at), ..job.clone() }));
    }
    for job in forgiven {
        tx.put(Change::PutJob(job));
    }
}

/// The jobs that go, now that `node` has a new one.
pub fn outdated(world: &World, node: NodeId) -> Vec<u64> {
    let spare = |job: &&Job| !is_needed(world, job);
    let of_node = world.jobs_of(node).rev().skip(OF_NODE).filter(spare).take(AT_ONCE);
    let mut gone: Vec<u64> = of_node.map(|job| job.id).collect();
    let over = world.count_jobs().saturating_sub(gone.len()).saturating_sub(OF_ALL);
    let of_all = world.jobs().filter(spare).filter(|job| !gone.contains(&job.id)).take(over.min(AT_ONCE));
    let of_all: Vec<u64> = of_all.map(|job| job.id).collect();
    gone.extend(of_all);
    gone
}

fn is_needed(world: &World, job: &Job) -> bool {
    let last = last(world, job.node);
    let one = |of: Option<&Job>| of.is_some_and(|of| of.id == job.id);
    job.ended.is_none() || (world.node(job.node).is_some() && (one(last.ended) || one(last.before)))
}

#[cfg(test)]
mod tests {
    use super::super::REPAIR;
    use super::*;

    fn job(id: u64, node: u64, kind: &str, result: &str) -> Job {
        Job {
            id,
            node: NodeId(node),
            name: "n1".parse().expect("a name"),
            kind: kind.into(),
            subject: "g".into(),
            bundles: Vec::new(),
            run: String::new(),
            started: Timestamp(id),
            ended: (!result.is_empty()).then_some(Timestamp(id)),
            result: result.into(),
            reason: String::new(),
            cut_off: false,
            forgiven: None,
        }
    }

    fn world(jobs: impl IntoIterator<Item = Job>) -> World {
        let mut world = World::default();
        for id in 1..=2_u64 {
            let mac = crate::model::MacAddr([2, 0, 0, 0, 0, u8::try_from(id).expect("small")]);
            let name = format!("n{id}").parse().expect("a name");
            world.apply(&Change::put_node(Node::discovered(NodeId(id), name, mac, Timestamp(1))));
        }
        jobs.into_iter().for_each(|job| world.apply(&Change::PutJob(job)));
        world
    }

    #[test]
    fn one_busy_node_does_not_flush_what_others_failed_at() {
        let failed = job(1, 1, "apply", "rolled-back");
        let mut jobs = vec![failed];
        jobs.push(job(2, 2, "apply", "broken"));
        jobs.extend((3..60).map(|id| job(id, 2, REPAIR, "applied")));
        let world = world(jobs);
        let gone = outdated(&world, NodeId(2));
        assert_eq!(gone.len(), 58 - OF_NODE - 1, "{gone:?}");
        assert!(!gone.contains(&1) && !gone.contains(&2), "{gone:?}");
        assert_eq!(last(&world, NodeId(2)).ended.map(|job| job.id), Some(2), "repairs do not count");
    }

    #[test]
    fn the_oldest_go_when_all_are_too_many_but_not_what_counts() {
        let all = u64::try_from(OF_ALL).expect("small");
        let jobs =
            (1..=all + 10).map(|id| job(id, if id <= 3 { 1 } else { 100 + id / 20 }, "apply", "broken"));
        let gone = outdated(&world(jobs), NodeId(7));
        // 2 and 3 are the last two of a node that is there.
        assert_eq!(gone, [1, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn what_may_be_tried_again_stands_on_the_jobs_that_count() {
        let forgiven = |at, job| Job { forgiven: Some(Timestamp(at)), bundles: vec!["a@1".into()], ..job };
        let apply = |id, node, result| job(id, node, "apply", result);
        for (rule, jobs, expected) in [
            ("nobody said anything", vec![apply(1, 1, "broken")], None),
            ("of the last that ended", vec![forgiven(5, apply(1, 1, "broken"))], Some(5)),
            ("of what is running", vec![apply(1, 1, "broken"), forgiven(5, apply(2, 1, ""))], Some(5)),
            ("of one before", vec![forgiven(5, apply(1, 1, "broken")), apply(2, 1, "applied")], None),
            (
                "the newest of two nodes",
                vec![forgiven(5, apply(1, 1, "broken")), forgiven(7, apply(2, 2, "broken"))],
                Some(7),
            ),
            ("of a node that is gone", vec![forgiven(5, apply(1, 3, "broken"))], None),
        ] {
            assert_eq!(retries(&world(jobs)).get("a@1").copied(), expected, "{rule}");
        }
    }

    #[test]
    fn what_was_cut_off_is_tried_once_more() {
        let cut = |id, result: &str| Job { cut_off: true, ..job(id, 1, "apply", result) };
        for (name, jobs, failed) in [
            ("cut off once", vec![cut(1, "rolled-back")], false),
            ("lost once", vec![job(1, 1, "apply", "applied"), cut(2, "lost")], false),
            ("twice in a row", vec![cut(1, "lost"), cut(2, "rolled-back")], true),
            ("it could not be brought back", vec![cut(1, "broken")], true),
            ("failed by itself", vec![cut(1, "lost"), job(2, 1, "apply", "rolled-back")], true),
            ("well", vec![cut(1, "lost"), job(2, 1, "apply", "applied")], false),
            ("a failed repair", vec![job(1, 1, "apply", "applied"), job(2, 1, REPAIR, "broken")], false),
        ] {
            assert_eq!(last(&world(jobs), NodeId(1)).failed(), failed, "{name}");
        }
    }
}
