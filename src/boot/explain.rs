//! Where a boot stopped, and why: read from the node's timeline.

use serde::{Deserialize, Serialize};

use crate::model::{Event, EventKind, Node, State, Timestamp};

/// Where a node's last boot stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// How far it came.
    pub reached: String,
    /// Since when nothing further happened.
    pub since: Option<Timestamp>,
    /// What that means.
    pub meaning: String,
    /// What to look at, or to do.
    pub hint: String,
}

/// Explains from `events`, the node's, oldest first.
pub fn explain(node: &Node, events: &[Event]) -> Explanation {
    let last = events.iter().rev().find(|event| is_step(&event.kind));
    let (reached, meaning, hint) = match (&node.state, last.map(|event| &event.kind)) {
        (State::Quarantined { reason, .. }, _) => (
            "quarantined".to_owned(),
            reason.clone(),
            format!("look at it, then: firstlight node approve {}", node.name),
        ),
        (State::Ready, _) => ("ready".into(), "it runs what it should".into(), "nothing to do".into()),
        (_, None) => (
            "nothing".into(),
            "no packet of it is on record".into(),
            "check its power, its cable, and that network boot is on and first in its firmware".into(),
        ),
        (state, Some(step)) => {
            let (meaning, hint) = of_step(step);
            let meaning = state.reason().map_or(meaning, |reason| format!("it failed: {reason}"));
            (step.to_string(), meaning, hint)
        }
    };
    Explanation { reached, since: last.map(|event| event.at), meaning, hint }
}

/// Whether an event is a step of a boot; what administrators do is not.
fn is_step(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Discovered { .. }
            | EventKind::Dhcp { .. }
            | EventKind::LeaseEnded { .. }
            | EventKind::Sent { .. }
            | EventKind::NotSent { .. }
            | EventKind::Script { .. }
            | EventKind::Report { .. }
            | EventKind::Installing { .. }
            | EventKind::Installed { .. }
    )
}

/// What it means when a boot stops behind this step, and what to look at.
fn of_step(step: &EventKind) -> (String, String) {
    let (meaning, hint): (&str, &str) = match step {
        EventKind::Dhcp { message, reason, .. } if message == "nak" => {
            let why = reason.as_deref().unwrap_or("the address it asked for is not its own");
            return (
                format!("it was refused an address: {why}"),
                "it should ask again by itself; if not, release its lease".into(),
            );
        }
        EventKind::Discovered { .. } => {
            ("it asked for an address and got none", "look for free addresses: firstlight lease list")
        }
        EventKind::Dhcp { message, .. } if message == "offer" => (
            "it was offered an address and never took it",
            "another DHCP server may have answered first, or our answer is lost: VLAN, port security, spanning tree",
        ),
        EventKind::Dhcp { boot_file: None, .. } => (
            "it has an address and was given no boot file",
            "an operating system asked, or firmware-cfg has no row for its architecture",
        ),
        EventKind::Dhcp { boot_file: Some(file), .. } if file.starts_with("http") => (
            "it has an address and never asked for the file it was named",
            "look for a firewall on the HTTP port between it and the appliance",
        ),
        EventKind::Dhcp { .. } => (
            "it has an address and never asked for its boot file",
            "look for a firewall on UDP port 69, and on the high ports that TFTP answers from",
        ),
        EventKind::Sent { complete: false, .. } => (
            "a transfer to it broke off",
            "look for loss on its link: duplex, cable, MTU (TFTP blocks larger than the path's MTU)",
        ),
        EventKind::Sent { protocol, .. } if protocol == "tftp" => (
            "it has its boot file, and iPXE has not asked for an address",
            "iPXE may not drive its network card; look at its console, try snponly.efi, or switch Secure Boot off",
        ),
        EventKind::Sent { .. } => (
            "it fetched this file and nothing came after it",
            "the kernel may hang or lack a driver for the network card; look at its console",
        ),
        EventKind::NotSent { .. } => {
            ("a file it asked for was refused", "the line above says which, and why")
        }
        EventKind::Installing { .. } => (
            "its agent began to write the image and has not said that it is done",
            "look at its console, and at `node show` for how far it is; a power cycle goes on where it stopped",
        ),
        EventKind::Installed { .. } => (
            "its image is on the disk, and the system there has not said anything",
            "look at its console: the firmware may not boot from that disk, or the system lacks a network driver",
        ),
        EventKind::Script { action, message, .. } => match (action.as_str(), message) {
            ("local", _) => (
                "it was sent to its disk, and the system there has not said anything",
                "look at its console: the firmware may not boot from that disk",
            ),
            ("boot" | "discover" | "install" | "wipe" | "rescue", _) => (
                "it has its script and has not fetched its kernel",
                "look at its console: iPXE says there what it could not do",
            ),
            (_, Some(message)) => return (message.clone(), "it goes on by itself when that is done".into()),
            (_, None) => ("it waits", "firstlight node show tells its state"),
        },
        EventKind::Report { phase, .. } if phase == "discovered" => (
            "it told what it is and waits for approval and a pin",
            "firstlight node approve, firstlight node pin",
        ),
        EventKind::Report { phase, .. } if phase == "failed" => {
            ("it says that it failed", "look at its console")
        }
        EventKind::Report { .. } => {
            ("its system runs and has not said that it is ready", "look at its console: a service may hang")
        }
        _ => ("nothing more is known", "firstlight node timeline tells what came before"),
    };
    (meaning.into(), hint.into())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::model::{MacAddr, NodeId};

    fn node(state: State) -> Node {
        Node {
            state,
            ..Node::discovered(
                NodeId(1),
                "n1".parse().expect("a name"),
                MacAddr([2, 0, 0, 0, 0, 1]),
                Timestamp(0),
            )
        }
    }

    fn dhcp(message: &str, boot_file: Option<&str>) -> EventKind {
        EventKind::Dhcp {
            message: message.into(),
            ip: Ipv4Addr::new(10, 77, 0, 100).into(),
            client: "PXE firmware".into(),
            boot_file: boot_file.map(str::to_owned),
            reason: None,
        }
    }

    fn sent(protocol: &str, file: &str, complete: bool) -> EventKind {
        EventKind::Sent { protocol: protocol.into(), file: file.into(), bytes: 1, elapsed_ms: 1, complete }
    }

    #[test]
    fn each_place_where_a_boot_stops_has_its_reason() {
        let failed = State::Failed { reason: "no disk".into(), from: Box::new(State::Booting) };
        let quarantined = State::Quarantined { reason: "other serial".into(), from: Box::new(State::Ready) };
        let waits = EventKind::Script {
            action: "wait".into(),
            image: None,
            message: Some("waits for approval".into()),
        };
        let boots = EventKind::Script { action: "boot".into(), image: None, message: None };
        let report = |phase: &str| EventKind::Report { phase: phase.into(), message: String::new() };
        for (name, state, step, meaning, hint) in [
            ("never seen", State::Discovered, None, "no packet", "cable"),
            (
                "offer not taken",
                State::Discovered,
                Some(dhcp("offer", None)),
                "never took it",
                "another DHCP server",
            ),
            ("no boot file", State::Discovered, Some(dhcp("ack", None)), "no boot file", "firmware-cfg"),
            (
                "TFTP blocked",
                State::Enrolled,
                Some(dhcp("ack", Some("ipxe.efi"))),
                "never asked for its boot file",
                "UDP port 69",
            ),
            (
                "HTTP blocked",
                State::Enrolled,
                Some(dhcp("ack", Some("http://10.77.0.1/x"))),
                "never asked",
                "HTTP port",
            ),
            ("TFTP broken off", State::Enrolled, Some(sent("tftp", "ipxe.efi", false)), "broke off", "MTU"),
            (
                "iPXE has no driver",
                State::Enrolled,
                Some(sent("tftp", "ipxe.efi", true)),
                "iPXE has not asked",
                "snponly",
            ),
            ("waits for approval", State::Discovered, Some(waits), "waits for approval", "by itself"),
            ("script, no kernel", State::Booting, Some(boots), "has not fetched its kernel", "console"),
            (
                "kernel hangs",
                State::Booting,
                Some(sent("http", "initrd0", true)),
                "nothing came after",
                "driver",
            ),
            (
                "configuring for ever",
                State::Configuring,
                Some(report("configuring")),
                "not said that it is ready",
                "console",
            ),
            ("failed", failed, Some(report("failed")), "it failed: no disk", "console"),
            ("quarantined", quarantined, Some(report("ready")), "other serial", "node approve n1"),
            ("ready", State::Ready, Some(report("ready")), "runs what it should", "nothing to do"),
        ] {
            let events: Vec<Event> = step
                .map(|kind| Event {
                    seq: 1,
                    at: Timestamp(7),
                    node: Some(NodeId(1)),
                    name: None,
                    actor: None,
                    kind,
                })
                .into_iter()
                .collect();
            let told = explain(&node(state), &events);
            assert!(told.meaning.contains(meaning), "{name}: {told:?}");
            assert!(told.hint.contains(hint), "{name}: {told:?}");
            assert_eq!(told.since.is_some(), !events.is_empty(), "{name}");
        }
    }
}
