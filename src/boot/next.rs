//! What a node's iPXE is told to do next: one decision from the node's state and pins.

use crate::model::{Arch, Image, ImageRef, Netboot, Node, State, World};

/// What a node does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Boot the image it is pinned to.
    Boot(Boot),
    /// Boot the discovery image, which asks again until the node is approved.
    Discover(Boot),
    /// Stay in iPXE and ask again, telling the person in front of it why.
    Wait(String),
    /// Stay in iPXE: an operator has to look at it.
    Refuse(String),
}

/// An image's build for one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The image.
    pub image: ImageRef,
    /// The architecture it was built for.
    pub arch: Arch,
    /// Its artifacts.
    pub netboot: Netboot,
}

impl Action {
    /// The action's name on the timeline.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Boot(_) => "boot",
            Self::Discover(_) => "discover",
            Self::Wait(_) => "wait",
            Self::Refuse(_) => "refuse",
        }
    }
}

/// What `node` does next; `discovery` is the image for nodes that nobody approved, where there is one.
pub fn next_action(world: &World, node: &Node, discovery: Option<&ImageRef>) -> Action {
    // Firmware that told nothing is a PC.
    let arch = node.arch.unwrap_or(Arch::X86_64);
    let name = &node.name;
    match &node.state {
        State::Quarantined { reason, .. } => Action::Refuse(format!(
            "in quarantine: {reason}; an operator frees it with: firstlight node approve {name}"
        )),
        State::Retired | State::Retiring => {
            Action::Refuse(format!("retired; an operator takes it back with: firstlight node approve {name}"))
        }
        state if !state.is_trusted() => match discovery.map(|image| build(world, image, arch)) {
            Some(Ok(boot)) => Action::Discover(boot),
            Some(Err(why)) => Action::Wait(format!("waits for approval (no discovery: {why})")),
            None => Action::Wait(format!("waits for approval: firstlight node approve {name}")),
        },
        _ => match world.pin_of(node).map(|image| build(world, image, arch)) {
            Some(Ok(boot)) => Action::Boot(boot),
            Some(Err(why)) => Action::Wait(why),
            None => Action::Wait(format!("has no image yet: firstlight node pin {name} NAME@VERSION")),
        },
    }
}

fn build(world: &World, image: &ImageRef, arch: Arch) -> Result<Boot, String> {
    let found: &Image = world
        .image(image)
        .ok_or_else(|| format!("image {image} is not imported: firstlight image import"))?;
    let netboot = found
        .builds
        .get(&arch)
        .ok_or_else(|| format!("image {image} has no build for {arch}; import one or pin another image"))?;
    Ok(Boot { image: image.clone(), arch, netboot: netboot.clone() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Artifact, Change, Group, MacAddr, NodeId, Sha256Digest, Timestamp};

    fn node(state: State, group: Option<&str>, pin: Option<&str>) -> Node {
        Node {
            state,
            group: group.map(|name| name.parse().expect("a group name")),
            pin: pin.map(|image| image.parse().expect("an image")),
            ..Node::discovered(
                NodeId(1),
                "n1".parse().expect("a name"),
                MacAddr([2, 0, 0, 0, 0, 1]),
                Timestamp(0),
            )
        }
    }

    fn world() -> World {
        let mut world = World::default();
        let artifact = Artifact { name: "vmlinuz".into(), sha256: Sha256Digest([0; 32]), size: 1 };
        let netboot = Netboot { kernel: artifact, initrd: vec![], cmdline: String::new() };
        for (image, arch) in
            [("a@1", Arch::X86_64), ("b@1", Arch::X86_64), ("arm@1", Arch::Aarch64), ("find@1", Arch::X86_64)]
        {
            world.apply(&Change::PutImage(Image {
                image: image.parse().expect("an image"),
                imported: Timestamp(0),
                builds: BTreeMap::from([(arch, netboot.clone())]),
            }));
        }
        let pin = Some("a@1".parse().expect("an image"));
        world.apply(&Change::PutGroup(Group {
            name: "web".parse().expect("a name"),
            pin,
            created: Timestamp(0),
        }));
        world
    }

    #[test]
    fn decisions() {
        let world = world();
        let failed = |from| State::Failed { reason: "x".into(), from: Box::new(from) };
        let quarantined = State::Quarantined { reason: "other serial".into(), from: Box::new(State::Ready) };
        for (name, node, discovery, action, detail) in [
            ("unknown", node(State::Discovered, None, None), None, "wait", "firstlight node approve n1"),
            (
                "unknown, though pinned",
                node(State::Discovered, Some("web"), Some("a@1")),
                None,
                "wait",
                "approve",
            ),
            (
                "unknown with discovery",
                node(State::Discovered, None, None),
                Some("find@1"),
                "discover",
                "find@1",
            ),
            (
                "discovery image missing",
                node(State::Discovered, None, None),
                Some("gone@1"),
                "wait",
                "gone@1 is not imported",
            ),
            ("approved, no pin", node(State::Enrolled, None, None), None, "wait", "firstlight node pin n1"),
            ("group's pin", node(State::Enrolled, Some("web"), None), None, "boot", "a@1"),
            (
                "own pin beats the group's",
                node(State::Enrolled, Some("web"), Some("b@1")),
                None,
                "boot",
                "b@1",
            ),
            (
                "no build for it",
                node(State::Enrolled, None, Some("arm@1")),
                None,
                "wait",
                "no build for x86_64",
            ),
            ("power cycle when ready", node(State::Ready, Some("web"), None), None, "boot", "a@1"),
            ("failed, tries again", node(failed(State::Booting), Some("web"), None), None, "boot", "a@1"),
            (
                "failed before approval",
                node(failed(State::Discovered), Some("web"), None),
                None,
                "wait",
                "approve",
            ),
            ("quarantined", node(quarantined, Some("web"), None), Some("find@1"), "refuse", "other serial"),
            ("retired", node(State::Retired, Some("web"), None), Some("find@1"), "refuse", "retired"),
        ] {
            let discovery: Option<ImageRef> = discovery.map(|text: &str| text.parse().expect("an image"));
            let decision = next_action(&world, &node, discovery.as_ref());
            let text = match &decision {
                Action::Boot(boot) | Action::Discover(boot) => boot.image.to_string(),
                Action::Wait(why) | Action::Refuse(why) => why.clone(),
            };
            assert_eq!(decision.name(), action, "{name}: {text}");
            assert!(text.contains(detail), "{name}: {text}");
        }
    }
}
