//! Events: immutable lines of what happened, to which node, when. The boot timeline and the audit log are
//! views of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::hardware::Firmware;
use super::ids::{
    BundleRef, ClusterName, GroupName, ImageRef, MacAddr, NodeId, NodeName, RoleName, Sha256Digest,
};
use super::time::Timestamp;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the appliance's history; grows by one with each event.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The node it happened to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// That node's name then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<NodeName>,
    /// Who did it, for what an administrator did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened. `Display` gives the line that a person reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EventKind {
    /// A MAC address that nobody knew asked for an address.
    Discovered {
        /// The address.
        mac: MacAddr,
    },
    /// A node that nobody approved and that was silent for the longest made room for another.
    Forgotten {
        /// Its address.
        mac: MacAddr,
    },
    /// A DHCP exchange that ended with an answer.
    Dhcp {
        /// The answer's message type: `offer`, `ack` or `nak`; `v6 reply`.
        message: String,
        /// The address given; unspecified with a `nak`.
        ip: IpAddr,
        /// Who asked: the firmware's architecture, `ipxe`, or the client's vendor class.
        client: String,
        /// The boot file or script that was named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot_file: Option<String>,
        /// Why, for a `nak`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The client gave its address back, or found it in use.
    LeaseEnded {
        /// The address.
        ip: IpAddr,
        /// `released` or `declined`.
        how: String,
    },
    /// Leases of another server were taken over.
    LeasesImported {
        /// How many.
        count: u64,
    },
    /// An address that was to be given is in use by somebody whom nobody knows.
    AddressInUse {
        /// The address.
        ip: Ipv4Addr,
        /// Who answered, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<MacAddr>,
    },
    /// Another DHCP server answers on one of our networks.
    RogueServer {
        /// What it calls itself.
        server: IpAddr,
        /// Where.
        interface: String,
    },
    /// Another router's advertisements contradict ours.
    RogueRouter {
        /// Its address on the link.
        router: Ipv6Addr,
        /// Where.
        interface: String,
    },
    /// A file was sent over TFTP or HTTP.
    Sent {
        /// `tftp` or `http`.
        protocol: String,
        /// What was asked for.
        file: String,
        /// Bytes sent.
        bytes: u64,
        /// Milliseconds from the request to the last byte.
        elapsed_ms: u64,
        /// Whether all of it was sent.
        complete: bool,
    },
    /// A file was asked for and not given.
    NotSent {
        /// `tftp` or `http`.
        protocol: String,
        /// What was asked for.
        file: String,
        /// Why not.
        reason: String,
    },
    /// An iPXE script was served.
    Script {
        /// What it does: `boot`, `discover`, `wait` or `refuse`.
        action: String,
        /// The image it boots.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<ImageRef>,
        /// What the person in front of the machine is told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// The node reported a phase of its boot.
    Report {
        /// The phase.
        phase: String,
        /// What it said.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// The node went from one state of its life to another.
    State {
        /// The state it left.
        from: String,
        /// The state it is in now.
        to: String,
        /// Milliseconds it had been in the state it left.
        after_ms: u64,
        /// Why, for `failed` and `quarantined`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// An operator renamed the node.
    Renamed {
        /// Its former name.
        from: NodeName,
        /// Its name now.
        to: NodeName,
    },
    /// An operator moved the node into a group, or out of one.
    Grouped {
        /// The group, `None` when it left one.
        group: Option<GroupName>,
    },
    /// A node was pinned to an image, or unpinned.
    NodePinned {
        /// The image, `None` when it was unpinned.
        image: Option<ImageRef>,
    },
    /// A group was made.
    GroupCreated {
        /// Its name.
        group: GroupName,
    },
    /// A group was removed.
    GroupDeleted {
        /// Its name.
        group: GroupName,
    },
    /// A group was pinned to an image, or unpinned.
    GroupPinned {
        /// The group.
        group: GroupName,
        /// The image, `None` when it was unpinned.
        image: Option<ImageRef>,
    },
    /// An image, or a build of one for another architecture, was imported.
    ImageImported {
        /// The image.
        image: ImageRef,
        /// Bytes of its artifacts.
        bytes: u64,
    },
    /// An image was removed.
    ImageRemoved {
        /// The image.
        image: ImageRef,
    },
    /// An operator released an address.
    LeaseReleased {
        /// The address.
        ip: IpAddr,
        /// Who held it.
        mac: Option<MacAddr>,
    },
    /// The firmware told of itself.
    Firmware {
        /// What it is.
        firmware: Firmware,
        /// SMBIOS UUID.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uuid: Option<String>,
    },
    /// What the machine is made of is not what it was.
    Hardware {
        /// A line each.
        changes: Vec<String>,
    },
    /// The node traded its token, or its old certificate, for a certificate.
    Certified {
        /// SHA-256 of the certificate.
        fingerprint: Sha256Digest,
        /// When it ends.
        expires: Timestamp,
    },
    /// Somebody tried to speak for the node, and was refused.
    Refused {
        /// Where it came from.
        ip: Ipv4Addr,
        /// Why.
        reason: String,
    },
    /// An operator ordered something, or took it back.
    Ordered {
        /// What: `reload`, `install`, `wipe`, `boot rescue`, …
        order: String,
    },
    /// How the node's image is installed was set.
    InstallRuleSet {
        /// Which disk.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disk: Option<String>,
        /// Whether a disk that holds data may be overwritten.
        allow_wipe: bool,
    },
    /// Its agent began to write an image to a disk.
    Installing {
        /// The image.
        image: ImageRef,
    },
    /// An image was written to a disk, and read back there.
    Installed {
        /// The image.
        image: ImageRef,
        /// The disk.
        disk: String,
        /// Bytes fetched; less than the image has when an earlier attempt was continued.
        bytes: u64,
        /// Milliseconds from the order to the verified disk.
        elapsed_ms: u64,
    },
    /// A disk was erased.
    Erased {
        /// The certificate of erasure.
        certificate: serde_json::Value,
    },
    /// The node's agent was not heard for a while, or is heard again.
    Reachable {
        /// Whether it is.
        reachable: bool,
    },
    /// A line that firmware, installer or kernel logged.
    Console {
        /// Which program.
        app: String,
        /// The line.
        line: String,
    },
    /// A bundle was pushed.
    BundlePushed {
        /// The bundle.
        bundle: BundleRef,
        /// Its bytes.
        bytes: u64,
    },
    /// A bundle was removed.
    BundleRemoved {
        /// The bundle.
        bundle: BundleRef,
    },
    /// A node or a group should have other bundles.
    BundlesPinned {
        /// The group; the event's own node otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<GroupName>,
        /// All that it should have.
        bundles: Vec<BundleRef>,
    },
    /// Variables were set or taken away.
    VariablesSet {
        /// For whom.
        scope: String,
        /// Their names; never their values.
        names: Vec<String>,
    },
    /// A node has another role.
    RoleSet {
        /// The role; none any more.
        role: Option<RoleName>,
    },
    /// A node put its bundles in place, or could not.
    Configured {
        /// `applied`, `unchanged`, `rolled-back` or `broken`.
        result: String,
        /// Why, for a person.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// What it has now.
        bundles: Vec<String>,
        /// The job with its output.
        job: u64,
        /// Milliseconds.
        elapsed_ms: u64,
    },
    /// Files of bundles were changed by hand, or are as they should be again.
    Drifted {
        /// Their paths; none any more.
        paths: Vec<String>,
    },
    /// Checks of bundles do not hold, or all do again.
    Unhealthy {
        /// Their names; none any more.
        checks: Vec<String>,
    },
    /// A cluster was made, changed or removed.
    Cluster {
        /// The cluster.
        cluster: ClusterName,
        /// What happened to it.
        what: String,
    },
    /// A package was pushed or removed.
    Package {
        /// Name, version and architecture.
        package: String,
        /// What happened to it.
        what: String,
    },
    /// A host may enrol by itself.
    Invited {
        /// What it will be called.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        as_node: Option<NodeName>,
        /// Until when.
        expires: Timestamp,
    },
    /// The appliance began to serve.
    Started {
        /// Its version.
        version: String,
    },
    /// The appliance was asked to stop and did.
    Stopped,
}

impl fmt::Display for EventKind {
    #[expect(clippy::too_many_lines, reason = "a line for each kind of event, where a reader looks for it")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovered { mac } => write!(f, "discovered {mac}"),
            Self::Forgotten { mac } => {
                write!(f, "forgotten: {mac} was silent for the longest, and room was needed")
            }
            Self::Dhcp { message, ip, client, boot_file, reason } => {
                write!(f, "dhcp {message}")?;
                if !ip.is_unspecified() {
                    write!(f, " {ip}")?;
                }
                write!(f, " to {client}")?;
                if let Some(file) = boot_file {
                    write!(f, ", boot file {file}")?;
                }
                reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
            }
            Self::LeaseEnded { ip, how } => write!(f, "lease of {ip} {how} by the client"),
            Self::LeasesImported { count } => write!(f, "{count} leases of another server taken over"),
            Self::AddressInUse { ip, holder } => {
                write!(f, "{ip} is in use")?;
                holder.iter().try_for_each(|holder| write!(f, " by {holder}"))?;
                f.write_str(" already; another one is given")
            }
            Self::RogueServer { server, interface } => {
                write!(f, "another DHCP server, {server}, answers on {interface}")
            }
            Self::RogueRouter { router, interface } => {
                write!(f, "a router, {router}, contradicts our advertisements on {interface}")
            }
            Self::Sent { protocol, file, bytes, elapsed_ms, complete } => {
                let end = if *complete { "" } else { ", broken off" };
                write!(f, "{protocol} {file}: {bytes} bytes in {elapsed_ms} ms{end}")
            }
            Self::NotSent { protocol, file, reason } => write!(f, "{protocol} {file} refused: {reason}"),
            Self::Script { action, image, message } => {
                write!(f, "script: {action}")?;
                image.iter().try_for_each(|image| write!(f, " {image}"))?;
                message.iter().try_for_each(|message| write!(f, " ({message})"))
            }
            Self::Report { phase, message } if message.is_empty() => write!(f, "reports {phase}"),
            Self::Report { phase, message } => write!(f, "reports {phase}: {message}"),
            Self::State { from, to, after_ms, reason } => {
                write!(f, "{from} → {to} after {}", seconds(*after_ms))?;
                reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
            }
            Self::Renamed { from, to } => write!(f, "renamed from {from} to {to}"),
            Self::Grouped { group: Some(group) } => write!(f, "joined group {group}"),
            Self::Grouped { group: None } => f.write_str("left its group"),
            Self::NodePinned { image: Some(image) } => write!(f, "pinned to {image}"),
            Self::NodePinned { image: None } => f.write_str("unpinned"),
            Self::GroupCreated { group } => write!(f, "group {group} created"),
            Self::GroupDeleted { group } => write!(f, "group {group} deleted"),
            Self::GroupPinned { group, image: Some(image) } => write!(f, "group {group} pinned to {image}"),
            Self::GroupPinned { group, image: None } => write!(f, "group {group} unpinned"),
            Self::ImageImported { image, bytes } => write!(f, "image {image} imported, {bytes} bytes"),
            Self::ImageRemoved { image } => write!(f, "image {image} removed"),
            Self::LeaseReleased { ip, mac: Some(mac) } => write!(f, "address {ip} of {mac} released by hand"),
            Self::LeaseReleased { ip, mac: None } => write!(f, "address {ip} released by hand"),
            Self::Firmware { firmware, uuid } => {
                write!(f, "firmware is {firmware}")?;
                uuid.iter().try_for_each(|uuid| write!(f, ", uuid {uuid}"))
            }
            Self::Hardware { changes } => write!(f, "hardware: {}", changes.join("; ")),
            Self::Certified { fingerprint, expires } => {
                let digest = fingerprint.to_string();
                write!(f, "has certificate {} until {expires}", digest.get(..16).unwrap_or(&digest))
            }
            Self::Refused { ip, reason } => write!(f, "refused {ip}: {reason}"),
            Self::Ordered { order } => write!(f, "ordered: {order}"),
            Self::InstallRuleSet { disk, allow_wipe } => {
                let disk = disk.as_deref().unwrap_or("as its image says");
                let wipe = if *allow_wipe { "; what is on it may be overwritten" } else { "" };
                write!(f, "install disk: {disk}{wipe}")
            }
            Self::Installing { image } => write!(f, "installs {image}"),
            Self::Installed { image, disk, bytes, elapsed_ms } => {
                write!(
                    f,
                    "{image} is on disk {disk}, verified: {bytes} bytes fetched, {}",
                    seconds(*elapsed_ms)
                )
            }
            Self::Erased { certificate } => {
                let text = |key| certificate.get(key).and_then(serde_json::Value::as_str).unwrap_or("?");
                write!(f, "disk {} erased by {}", text("disk"), text("method"))
            }
            Self::Reachable { reachable: true } => f.write_str("its agent is heard again"),
            Self::Reachable { reachable: false } => f.write_str("its agent is not heard"),
            Self::Console { app, line } => write!(f, "{app}: {line}"),
            Self::BundlePushed { bundle, bytes } => write!(f, "bundle {bundle} pushed, {bytes} bytes"),
            Self::BundleRemoved { bundle } => write!(f, "bundle {bundle} removed"),
            Self::BundlesPinned { group, bundles } => {
                group.iter().try_for_each(|group| write!(f, "group {group}: "))?;
                let names: Vec<String> = bundles.iter().map(ToString::to_string).collect();
                write!(f, "bundles: {}", if names.is_empty() { "none".into() } else { names.join(", ") })
            }
            Self::VariablesSet { scope, names } => {
                write!(f, "variables of {scope} set: {}", names.join(", "))
            }
            Self::RoleSet { role: Some(role) } => write!(f, "has role {role}"),
            Self::RoleSet { role: None } => f.write_str("has no role any more"),
            Self::Configured { result, reason, bundles, job, elapsed_ms } => {
                write!(f, "bundles {result} in {} (job {job})", seconds(*elapsed_ms))?;
                if reason.is_empty() {
                    write!(f, ": {}", bundles.join(", "))
                } else {
                    write!(f, ": {reason}")
                }
            }
            Self::Drifted { paths } if paths.is_empty() => {
                f.write_str("its files are as its bundles say again")
            }
            Self::Drifted { paths } => write!(f, "changed by hand: {}", paths.join(", ")),
            Self::Unhealthy { checks } if checks.is_empty() => f.write_str("its bundles are healthy again"),
            Self::Unhealthy { checks } => write!(f, "unhealthy: {}", checks.join(", ")),
            Self::Cluster { cluster, what } => write!(f, "cluster {cluster}: {what}"),
            Self::Package { package, what } => write!(f, "package {package} {what}"),
            Self::Invited { as_node, expires } => {
                f.write_str("a host may enrol")?;
                as_node.iter().try_for_each(|name| write!(f, " as {name}"))?;
                write!(f, " until {expires}")
            }
            Self::Started { version } => write!(f, "appliance {version} started"),
            Self::Stopped => f.write_str("appliance stopped"),
        }
    }
}

/// Milliseconds as a person reads them: `0.4 s`, `72 s`, `3h 5m`.
fn seconds(millis: u64) -> String {
    if millis < 100_000 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let seconds = millis as f64 / 1000.0;
        format!("{seconds:.1} s")
    } else {
        humantime::format_duration(std::time::Duration::from_secs(millis / 1000)).to_string()
    }
}
