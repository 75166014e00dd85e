//! What a node's iPXE is told to do next: one decision from the node's state and pins.

use crate::model::{Arch, Build, Image, ImageRef, Netboot, NextBoot, Node, Order, Purpose, State, World};

/// What a node does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Boot the image it is pinned to, and run it from memory.
    Boot(Boot),
    /// Boot the ramdisk, whose agent asks what to do.
    Agent(Boot, Purpose),
    /// Boot the memory test.
    Memtest,
    /// Boot from its disk.
    Local,
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
            Self::Agent(_, purpose) => purpose.name(),
            Self::Memtest => "memtest",
            Self::Local => "local",
            Self::Wait(_) => "wait",
            Self::Refuse(_) => "refuse",
        }
    }

    /// What is booted over the network, and for what.
    pub fn boot(&self) -> Option<(&Boot, Purpose)> {
        match self {
            Self::Boot(boot) => Some((boot, Purpose::Image)),
            Self::Agent(boot, purpose) => Some((boot, *purpose)),
            Self::Memtest | Self::Local | Self::Wait(_) | Self::Refuse(_) => None,
        }
    }
}

/// What `node` does next; `ramdisk` is the image with the agent, where there is one.
pub fn next_action(world: &World, node: &Node, ramdisk: Option<&ImageRef>) -> Action {
    // Firmware that told nothing is a PC.
    let arch = node.arch.unwrap_or(Arch::X86_64);
    let name = &node.name;
    let agent = |purpose: Purpose, otherwise: &str| match ramdisk.map(|image| netboot(world, image, arch)) {
        Some(Ok(boot)) => Action::Agent(boot, purpose),
        Some(Err(why)) => Action::Wait(format!("{otherwise} (no ramdisk: {why})")),
        None => Action::Wait(otherwise.to_owned()),
    };
    let needs = |what: &str| format!("{what} needs the ramdisk; set [ramdisk] in the configuration");
    match &node.state {
        State::Quarantined { reason, .. } => {
            return Action::Refuse(format!(
                "in quarantine: {reason}; an operator frees it with: firstlight node approve {name}"
            ));
        }
        State::Retired => {
            return Action::Refuse(format!(
                "retired; an operator takes it back with: firstlight node approve {name}"
            ));
        }
        _ => {}
    }
    match (node.next_boot, node.order) {
        (Some(NextBoot::Rescue), _) => return agent(Purpose::Rescue, &needs("a rescue shell")),
        (Some(NextBoot::Memtest), _) => return Action::Memtest,
        (Some(NextBoot::Local), _) => return Action::Local,
        (_, Some(Order::Wipe)) => return agent(Purpose::Wipe, &needs("a wipe")),
        _ => {}
    }
    if !node.state.is_trusted() {
        return agent(Purpose::Discover, &format!("waits for approval: firstlight node approve {name}"));
    }
    match world.pin_of(node).map(|image| (image, build(world, image, arch))) {
        Some((image, Ok(Build::Netboot(netboot)))) => {
            Action::Boot(Boot { image: image.clone(), arch, netboot: netboot.clone() })
        }
        Some((image, Ok(Build::Disk(_)))) => {
            if needs_install(node) {
                agent(Purpose::Install, &needs(&format!("installing {image}")))
            } else {
                Action::Local
            }
        }
        Some((_, Err(why))) => Action::Wait(why),
        None if node.installed.is_some() => Action::Local,
        // Its agent tells what it is made of, and does at once what it is pinned to.
        None => {
            agent(Purpose::Discover, &format!("has no image yet: firstlight node pin {name} NAME@VERSION"))
        }
    }
}

/// Whether the disk image that a node is pinned to has to be written to its disk.
pub(super) fn needs_install(node: &Node) -> bool {
    // A newer pin alone installs nothing over a system that runs: that needs the operator's order.
    node.installed.is_none() || node.order == Some(Order::Install) || node.next_boot == Some(NextBoot::Image)
}

/// An image's build for an architecture, or why there is none.
pub(super) fn build<'w>(world: &'w World, image: &ImageRef, arch: Arch) -> Result<&'w Build, String> {
    let found: &Image = world
        .image(image)
        .ok_or_else(|| format!("image {image} is not imported: firstlight image import"))?;
    found
        .builds
        .get(&arch)
        .ok_or_else(|| format!("image {image} has no build for {arch}; import one or pin another image"))
}

fn netboot(world: &World, image: &ImageRef, arch: Arch) -> Result<Boot, String> {
    match build(world, image, arch)? {
        Build::Netboot(netboot) => Ok(Boot { image: image.clone(), arch, netboot: netboot.clone() }),
        Build::Disk(_) => Err(format!("image {image} is a disk image")),
    }
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
                builds: BTreeMap::from([(arch, Build::Netboot(netboot.clone()))]),
            }));
        }
        let pin = Some("a@1".parse().expect("an image"));
        world.apply(&Change::PutGroup(Group {
            name: "web".parse().expect("a name"),
            pin,
            bundles: Vec::new(),
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
                Action::Boot(boot) | Action::Agent(boot, _) => boot.image.to_string(),
                Action::Memtest | Action::Local => String::new(),
                Action::Wait(why) | Action::Refuse(why) => why.clone(),
            };
            assert_eq!(decision.name(), action, "{name}: {text}");
            assert!(text.contains(detail), "{name}: {text}");
        }
    }
}
