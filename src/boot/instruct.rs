//! What a node's agent is told to do: one decision from the node's state, pins and orders.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::next::{build, needs_install};
use crate::model::{
    Arch, Artifact, Build, DiskBuild, DiskPlan, ImageRef, MacAddr, Network, Node, NodeName, Order, Purpose,
    State, World,
};

/// What an agent does next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Instruction {
    /// Nothing; ask again.
    Continue,
    /// Nothing yet, for this reason; ask again.
    Wait {
        /// What it waits for, for the person in front of it.
        reason: String,
    },
    /// Trade the token of this boot for a certificate.
    Enrol,
    /// Write an image to a disk.
    Install(Box<InstallOrder>),
    /// Erase every disk.
    Wipe,
    /// Give the operator a shell.
    Rescue {
        /// Whose SSH keys open it.
        ssh_keys: Vec<String>,
    },
    /// Run the drain hook, then say so.
    Drain,
    /// Restart the machine.
    Reboot {
        /// Why.
        reason: String,
    },
}

/// What is to be on a node's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallOrder {
    /// The image.
    pub image: ImageRef,
    /// The architecture it was built for.
    pub arch: Arch,
    /// The index of its chunks.
    pub index: Artifact,
    /// Their bytes.
    pub data: Artifact,
    /// Bytes of the disk that it was made of.
    pub raw_size: u64,
    /// How it is laid out.
    pub plan: DiskPlan,
    /// Which disk.
    pub disk: String,
    /// Whether a disk that holds data may be overwritten.
    pub allow_wipe: bool,
    /// Disks that earlier installations of ours are on, or were to be; they may be overwritten.
    pub own_disks: Vec<String>,
    /// Who the host will be.
    pub host: HostIdentity,
    /// SSH keys that may log in as root.
    pub ssh_keys: Vec<String>,
}

/// Who an installed host is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostIdentity {
    /// Its name.
    pub hostname: NodeName,
    /// Its DNS domain.
    pub domain: Option<String>,
    /// The interface on the management network.
    pub mac: MacAddr,
    /// Its address there.
    pub ip: Ipv4Addr,
    /// The network's prefix length.
    pub prefix: u8,
    /// Its default router.
    pub gateway: Option<Ipv4Addr>,
    /// Its name servers.
    pub dns: Vec<Ipv4Addr>,
}

/// Where an agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// As the first process of the ramdisk.
    Ramdisk,
    /// As a service of an installed host.
    Host,
}

/// What the decision needs beside the node.
#[derive(Debug, Clone)]
pub struct InstructContext<'a> {
    /// The state.
    pub world: &'a World,
    /// Where the agent runs.
    pub place: Place,
    /// Whether it spoke with a certificate.
    pub certified: bool,
    /// Whether the host has given up its work.
    pub drained: bool,
    /// The network it is on, and its address there.
    pub network: Option<(&'a Network, Ipv4Addr)>,
    /// DNS domain of the nodes.
    pub domain: Option<&'a str>,
    /// SSH keys of the operators.
    pub ssh_keys: &'a [String],
}

/// What the agent of `node` does next.
pub fn instruct(node: &Node, about: &InstructContext<'_>) -> Instruction {
    let name = &node.name;
    if let State::Quarantined { reason, .. } = &node.state {
        return Instruction::Wait {
            reason: format!("in quarantine: {reason}; firstlight node approve {name}"),
        };
    }
    match about.place {
        Place::Host => on_host(node, about.drained),
        Place::Ramdisk => in_ramdisk(node, about),
    }
}

fn on_host(node: &Node, drained: bool) -> Instruction {
    match node.order {
        // Its disks stay: it gives up its work, takes away what bundles brought, and is done.
        None if !drained && node.state == State::Retiring => Instruction::Drain,
        Some(_) if !drained && matches!(node.state, State::Draining | State::Retiring) => Instruction::Drain,
        Some(order) if matches!(node.state, State::Draining | State::Retiring | State::Reloading) => {
            Instruction::Reboot { reason: format!("an operator ordered: {order}") }
        }
        _ => Instruction::Continue,
    }
}

fn in_ramdisk(node: &Node, about: &InstructContext<'_>) -> Instruction {
    let (name, wait) = (&node.name, |reason: String| Instruction::Wait { reason });
    let reboot = |reason: &str| Instruction::Reboot { reason: reason.to_owned() };
    if node.boot.as_ref().is_some_and(|boot| boot.purpose == Purpose::Rescue) {
        return Instruction::Rescue { ssh_keys: about.ssh_keys.to_vec() };
    }
    match &node.state {
        State::Retired => return wait("retired; it may be switched off".into()),
        State::Retiring | State::Reloading | State::Failed { .. } if node.order == Some(Order::Wipe) => {
            return Instruction::Wipe;
        }
        State::Retiring => {
            return wait(format!(
                "is being retired, and its disks stay as they are; to be done with it: \
                 firstlight node retire {name} --no-wipe --force"
            ));
        }
        state if !state.is_trusted() => {
            return wait(format!("waits for approval: firstlight node approve {name}"));
        }
        _ if !about.certified => return Instruction::Enrol,
        _ => {}
    }
    let arch = node.arch.unwrap_or(Arch::X86_64);
    match about.world.pin_of(node).map(|image| (image, build(about.world, image, arch))) {
        None if node.installed.is_some() => reboot("it boots from its disk"),
        None => wait(format!("has no image yet: firstlight node pin {name} NAME@VERSION")),
        Some((_, Err(why))) => wait(why),
        Some((image, Ok(Build::Netboot(_)))) => reboot(&format!("it boots {image}")),
        Some((_, Ok(Build::Disk(_)))) if !needs_install(node) => reboot("it boots from its disk"),
        Some((image, Ok(Build::Disk(disk)))) => install(node, image, arch, disk, about),
    }
}

fn install(
    node: &Node,
    image: &ImageRef,
    arch: Arch,
    disk: &DiskBuild,
    about: &InstructContext<'_>,
) -> Instruction {
    let (Some((network, ip)), Some(mac)) = (about.network, node.macs.first()) else {
        return Instruction::Wait { reason: "its address is in no configured network".into() };
    };
    let rule = node.install.disk.as_ref().or(disk.plan.disk.as_ref());
    Instruction::Install(Box::new(InstallOrder {
        image: image.clone(),
        arch,
        index: disk.index.clone(),
        data: disk.data.clone(),
        raw_size: disk.raw_size,
        plan: disk.plan.clone(),
        disk: rule.cloned().unwrap_or_else(|| "only".into()),
        allow_wipe: node.install.allow_wipe,
        own_disks: (node.installed.iter().map(|installed| installed.disk.clone()))
            .chain(node.installing_on.clone())
            .collect(),
        host: HostIdentity {
            hostname: node.name.clone(),
            domain: about.domain.map(str::to_owned),
            mac: *mac,
            ip,
            prefix: network.subnet.prefix,
            gateway: network.gateway,
            dns: network.dns.clone(),
        },
        ssh_keys: about.ssh_keys.to_vec(),
    }))
}
