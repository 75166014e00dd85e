//! Jobs whose end nobody tells: the agent was killed, the host restarted, or the appliance was away for too long.

use std::time::Duration;

use crate::boot::Place;
use crate::bundle::desired::{Applied, ApplyResult};
use crate::model::{Job, Node, NodeId, Timestamp, World};
use crate::store::Tx;

use super::super::agent::CheckIn;
use super::{End, REPAIR, end};

/// A job that began less than this ago may be younger than the sign of life that does not know of it.
const YOUNG: Duration = Duration::from_secs(10);
/// A host that cannot tell what it has is waited for so long.
const SPEECHLESS: Duration = Duration::from_secs(600);

/// The job that a node does not do any more, by its sign of life, and how it ended.
pub fn cut_off(world: &World, node: NodeId, check_in: &CheckIn, at: Timestamp) -> Option<(Job, End)> {
    // An agent that does not say is one of before this was asked.
    if check_in.busy != Some(false) {
        return None;
    }
    let job = world.jobs_of(node).rev().find(|job| job.ended.is_none())?;
    let age = at.since(job.started);
    if age < YOUNG {
        return None;
    }
    let end = match (check_in.place, &check_in.bundles) {
        (Place::Host, Some(applied)) => told(job, applied),
        (Place::Host, None) if age < SPEECHLESS => return None,
        (Place::Host, None) => lost("the host cannot tell what became of it: look at its agent's log"),
        (Place::Ramdisk, _) => lost("the node started its ramdisk in the middle of it"),
    };
    Some((job.clone(), end))
}

/// What a host remembers of it.
fn told(job: &Job, applied: &Applied) -> End {
    match &applied.last {
        Some(last) if last.generation == job.subject => {
            let well = matches!(last.result, ApplyResult::Applied | ApplyResult::Unchanged);
            End { elapsed_ms: None, cut_off: !well, ..End::of(last) }
        }
        _ if applied.generation == job.subject && job.kind != REPAIR => {
            End { result: "applied", reason: String::new(), elapsed_ms: None, cut_off: false }
        }
        _ => lost("its agent ended, or its host restarted, before anything was changed"),
    }
}

fn lost(reason: &str) -> End {
    End { result: "lost", reason: reason.into(), elapsed_ms: None, cut_off: true }
}

/// Ends what a node was at, for this reason.
pub fn end_running(tx: &mut Tx, node: &Node, reason: &str, at: Timestamp) {
    let running: Vec<Job> = tx.world().jobs_of(node.id).filter(|job| job.ended.is_none()).cloned().collect();
    for job in running {
        end(tx, node, job, lost(reason), at);
    }
}
