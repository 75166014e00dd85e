//! What a sign of life means for a node's state.

use crate::boot::Place;
use crate::model::{Node, Order, Signal, State};

use super::CheckIn;

/// Why an order is not carried out, where the firmware starts the disk.
const STRAYED: &str = "it restarted from its disk instead of the network, so the order was not carried out: \
    put the network first in its firmware's boot order and restart it";

/// What a sign of life means for the node's state; `None` when it is no news.
pub(super) fn signal(node: &Node, check_in: &CheckIn) -> Option<Signal> {
    let state = &node.state;
    match (check_in.place, check_in.phase.as_str()) {
        (_, "failed") if state.reason() != Some(check_in.message.as_str()) => {
            Some(Signal::Fail(check_in.message.clone()))
        }
        (Place::Ramdisk, "installing") if state.is_trusted() && *state != State::Installing => {
            Some(Signal::Install)
        }
        (Place::Ramdisk, "wiping") if node.order == Some(Order::Wipe) => match state {
            State::Retiring | State::Reloading => None,
            State::Failed { from, .. } if **from == State::Retiring => Some(Signal::Retire),
            _ => Some(Signal::Restart),
        },
        (Place::Host, _) if strayed(node, check_in) => {
            (state.reason() != Some(STRAYED)).then(|| Signal::Fail(STRAYED.into()))
        }
        (Place::Host, _) if check_in.drained && *state == State::Draining => Some(Signal::Restart),
        // Its disks stay, and what bundles brought is gone.
        (Place::Host, _) if check_in.drained && *state == State::Retiring && node.order.is_none() => {
            Some(Signal::Wiped)
        }
        (Place::Host, "configuring") => {
            let from = matches!(state, State::Booting | State::Installing | State::Reloading);
            let failed = matches!(state, State::Failed { from, .. } if from.is_trusted());
            ((from && has_restarted(node, check_in)) || failed).then_some(Signal::ReportConfiguring)
        }
        (Place::Host, "ready") => {
            let from = matches!(state, State::Booting | State::Configuring | State::Reloading);
            let failed = matches!(state, State::Failed { from, .. } if from.is_trusted());
            ((from && has_restarted(node, check_in)) || failed).then_some(Signal::ReportReady)
        }
        _ => None,
    }
}

/// Whether the system has started anew since it was last heard: before that, a restart that was ordered is still to come.
fn has_restarted(node: &Node, check_in: &CheckIn) -> bool {
    node.state != State::Reloading || node.observed.boot_id.as_deref() != Some(check_in.boot_id.as_str())
}

/// Whether the system has started anew from its disk, where it was to come to the ramdisk.
fn strayed(node: &Node, check_in: &CheckIn) -> bool {
    let ordered = matches!(node.order, Some(Order::Install | Order::Wipe));
    let known = node.observed.boot_id.as_deref().is_some_and(|known| known != check_in.boot_id);
    let on_its_way = matches!(node.state, State::Reloading | State::Retiring) && known;
    ordered && !check_in.drained && (on_its_way || node.state.reason() == Some(STRAYED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MacAddr, NodeId, Timestamp};

    fn node(state: State, order: Option<Order>) -> Node {
        let name = "n1".parse().expect("a name");
        let mut node = Node::discovered(NodeId(1), name, MacAddr([2, 0, 0, 0, 0, 1]), Timestamp(1));
        (node.state, node.order) = (state, order);
        node.observed.boot_id = Some("old".into());
        node
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn signs_of_life_move_a_node() {
        let failed = |reason: &str, from| State::Failed { reason: reason.into(), from: Box::new(from) };
        let (install, wipe, reload) = (Some(Order::Install), Some(Order::Wipe), Some(Order::Reload));
        let (host, ramdisk) = (Place::Host, Place::Ramdisk);
        for (name, state, order, place, boot_id, phase, drained, expected) in [
            ("up for the first time", State::Booting, None, host, "new", "configuring", false, "configuring"),
            ("ready", State::Configuring, None, host, "new", "ready", false, "ready"),
            ("no news", State::Ready, None, host, "old", "ready", false, ""),
            ("work given up", State::Draining, install, host, "old", "ready", true, "restart"),
            ("a restart still to come", State::Reloading, reload, host, "old", "ready", true, ""),
            ("restarted", State::Reloading, reload, host, "new", "ready", false, "ready"),
            (
                "in the ramdisk as ordered",
                State::Reloading,
                install,
                ramdisk,
                "new",
                "installing",
                false,
                "install",
            ),
            (
                "an upgrade strays to the disk",
                State::Reloading,
                install,
                host,
                "new",
                "configuring",
                false,
                "fail",
            ),
            ("a wipe strays to the disk", State::Retiring, wipe, host, "new", "ready", false, "fail"),
            ("a wipe is about to restart it", State::Retiring, wipe, host, "old", "ready", true, ""),
            (
                "a host whose disks stay gives up its work",
                State::Retiring,
                None,
                host,
                "old",
                "ready",
                false,
                "",
            ),
            ("it has given up all of it", State::Retiring, None, host, "old", "ready", true, "wiped"),
            (
                "it strayed, and that is known",
                failed(STRAYED, State::Reloading),
                install,
                host,
                "new",
                "ready",
                false,
                "",
            ),
            (
                "it strayed, and the order was taken back",
                failed(STRAYED, State::Ready),
                None,
                host,
                "new",
                "ready",
                false,
                "ready",
            ),
            (
                "it strayed, and then came to the ramdisk",
                failed(STRAYED, State::Reloading),
                install,
                ramdisk,
                "newer",
                "installing",
                false,
                "install",
            ),
            ("wiping begins", State::Ready, wipe, ramdisk, "new", "wiping", false, "restart"),
            ("wiping nobody ordered", State::Ready, None, ramdisk, "new", "wiping", false, ""),
            ("nobody approved the host", State::Discovered, None, host, "new", "ready", false, ""),
            (
                "nobody approved what installs",
                State::Discovered,
                None,
                ramdisk,
                "new",
                "installing",
                false,
                "",
            ),
        ] {
            let check_in = CheckIn {
                place,
                boot_id: boot_id.into(),
                kernel: String::new(),
                os: None,
                phase: phase.into(),
                message: String::new(),
                progress: None,
                drained,
                left: false,
                busy: None,
                image: None,
                disk: None,
                bundles: None,
                serf: None,
                evicted: Vec::new(),
            };
            let found = match signal(&node(state, order), &check_in) {
                None => "",
                Some(Signal::ReportConfiguring) => "configuring",
                Some(Signal::ReportReady) => "ready",
                Some(Signal::Restart) => "restart",
                Some(Signal::Install) => "install",
                Some(Signal::Fail(_)) => "fail",
                Some(Signal::Wiped) => "wiped",
                Some(other) => panic!("{name}: {other:?}"),
            };
            assert_eq!(found, expected, "{name}");
        }
    }
}
