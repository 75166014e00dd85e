//! What is kept of a sign of life beside the node, cut to a bearable size.

use crate::boot::Place;
use crate::bundle::desired::Applied;
use crate::model::{EventKind, Node, Order, OsRelease, State, Timestamp};
use crate::store::Tx;

use super::super::jobs;
use super::{CheckIn, reason, text};

/// Paths and checks that are kept of what a node tells.
const SHOWN: usize = 64;

/// A sign of life, its texts kept short.
pub(super) fn cut(check_in: CheckIn) -> CheckIn {
    CheckIn {
        boot_id: text(&check_in.boot_id),
        kernel: text(&check_in.kernel),
        os: check_in.os.map(OsRelease::bounded),
        phase: text(&check_in.phase),
        message: text(&check_in.message),
        disk: check_in.disk.as_deref().map(text),
        ..check_in
    }
}

/// What a node says of its bundles, kept short.
fn bounded(mut applied: Applied) -> Applied {
    let lists =
        [(&mut applied.bundles, jobs::BUNDLES), (&mut applied.drift, SHOWN), (&mut applied.unhealthy, SHOWN)];
    for (list, most) in lists {
        list.truncate(most);
        for one in list.iter_mut() {
            *one = text(one);
        }
    }
    applied.generation = text(&applied.generation);
    if let Some(last) = &mut applied.last {
        (last.generation, last.reason) = (text(&last.generation), reason(&last.reason));
        last.bundle = last.bundle.as_deref().map(text);
        last.changes.clear();
    }
    applied
}

/// Tells of drift and health when they are others than before.
pub(super) fn tell_differences(tx: &mut Tx, before: &Node, node: &Node, at: Timestamp) {
    let list = |node: &Node, which: fn(&Applied) -> &Vec<String>| {
        node.observed.bundles.as_ref().map(which).cloned().unwrap_or_default()
    };
    let (old, new) = (list(before, |applied| &applied.drift), list(node, |applied| &applied.drift));
    if old != new {
        tx.append(at, Some(node), None, EventKind::Drifted { paths: new });
    }
    let (old, new) = (list(before, |applied| &applied.unhealthy), list(node, |applied| &applied.unhealthy));
    if old != new {
        tx.append(at, Some(node), None, EventKind::Unhealthy { checks: new });
    }
}

/// Writes down beside the node what it tells of itself.
pub(super) fn observe(node: &mut Node, check_in: &CheckIn, at: Timestamp) {
    if check_in.place == Place::Ramdisk && check_in.phase == "installing" && check_in.disk.is_some() {
        node.installing_on.clone_from(&check_in.disk);
    }
    if check_in.place != Place::Host {
        return;
    }
    if node.order == Some(Order::Reload) && node.state == State::Ready {
        node.order = None;
    }
    // While it is about to restart, the boot that counts is the next one.
    if matches!(node.state, State::Draining | State::Reloading | State::Retiring) {
        return;
    }
    let observed = &mut node.observed;
    if let Some(bundles) = &check_in.bundles {
        observed.bundles = Some(bounded(bundles.clone()));
    }
    observed.image = check_in.image.clone().or(observed.image.take());
    observed.kernel = Some(check_in.kernel.clone());
    // An agent that does not tell is older than this: what another one told holds.
    observed.os = check_in.os.clone().map(Box::new).or(observed.os.take());
    let new_boot = observed.boot_id.as_deref() != Some(check_in.boot_id.as_str());
    observed.boot_id = Some(check_in.boot_id.clone());
    if node.state == State::Ready && (new_boot || observed.ready_at.is_none()) {
        observed.ready_at = Some(at);
    }
}
