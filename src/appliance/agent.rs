//! What a node's agent says and asks: what the machine is, a certificate, and what to do next.
//!
//! In the ramdisk an agent first speaks with the one-time token of its boot, which is bound to the node's MAC and address.
//! Once the node is approved it trades the token for a certificate, and speaks with that from then on.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::boot::{InstructContext, Instruction, Place, instruct};
use crate::model::inventory::{Inventory, diff};
use crate::model::node::Identity;
use crate::model::{
    Certificate, Change, EventKind, Facts, ImageRef, Installed, Node, NodeId, NodeName, Order, Sha256Digest,
    Signal, State, Timestamp, World,
};
use crate::store::Tx;
use crate::trust::Issued;

use super::boot::node_of_boot;
use super::presence::{Heard, Progress};
use super::transition::transition;
use super::views::address_of;
use super::{AppError, Appliance, now};

/// Seconds between two signs of life of an installed host.
pub const HEARTBEAT_SECONDS: u32 = 30;
/// Seconds between two questions of an agent in the ramdisk, in front of which somebody may stand.
const RAMDISK_SECONDS: u32 = 2;
/// Longest text that is kept, in characters.
const TEXT: usize = 256;
/// A certificate is renewed when less than this is left of it: a third of its life.
const RENEW_WITHIN_MS: u64 = 30 * 86_400_000;
/// Certificates that speak for a node at once: the one it has, and the one it changes to.
const CERTIFICATES: usize = 2;
/// Vendors' placeholders: two machines may well have the same.
const NO_SERIAL: [&str; 10] = [
    "",
    "0",
    "none",
    "n/a",
    "not specified",
    "default string",
    "system serial number",
    "to be filled by o.e.m.",
    "0123456789",
    "unknown",
];

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Whoever booted with this token, from this address.
    Token {
        /// SHA-256 of the token.
        token: Sha256Digest,
        /// Where it comes from.
        ip: Ipv4Addr,
    },
    /// Whoever holds the key of this certificate.
    Certificate {
        /// SHA-256 of its DER.
        fingerprint: Sha256Digest,
        /// Where it comes from.
        ip: Ipv4Addr,
    },
}

impl Caller {
    /// The node that is spoken for.
    fn node<'w>(&self, world: &'w World) -> Result<&'w Node, AppError> {
        match self {
            Self::Token { token, ip } => node_of_boot(world, *ip, *token),
            Self::Certificate { fingerprint, .. } => world.node_certified(*fingerprint).ok_or_else(|| {
                AppError::Forbidden(
                    "this certificate speaks for no node any more; boot the node over the network again"
                        .into(),
                )
            }),
        }
    }

    fn ip(&self) -> Ipv4Addr {
        match self {
            Self::Token { ip, .. } | Self::Certificate { ip, .. } => *ip,
        }
    }

    fn is_certified(&self) -> bool {
        matches!(self, Self::Certificate { .. })
    }
}

/// What the machine is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Hello {
    /// Its clock, as it was before anybody set it.
    pub clock: Timestamp,
    /// What it is made of.
    pub inventory: Inventory,
}

/// A token, or a certificate that runs out, for a new certificate.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Enrol {
    /// The certificate request, PEM.
    pub request: String,
    /// Answers to challenges, by their kind; none is asked so far.
    #[serde(default)]
    pub answers: BTreeMap<String, String>,
}

/// What comes next in an enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum EnrolStep {
    /// Done.
    Certificate {
        /// The certificate, PEM.
        certificate: String,
        /// When it ends.
        expires: Timestamp,
        /// What the node is called.
        node: NodeName,
    },
    /// Something has to be proved first, as the attestation of a TPM will ask; the request comes again with the answer.
    Challenge {
        /// Of what kind.
        kind: String,
        /// What the answer is made of.
        data: String,
    },
}

/// A sign of life.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckIn {
    /// Where the agent runs.
    pub place: Place,
    /// The kernel's random id of this boot.
    pub boot_id: String,
    /// Kernel release.
    pub kernel: String,
    /// `waiting`, `installing`, `wiping`, `rescue`, `configuring`, `ready`, `draining` or `failed`.
    pub phase: String,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// How far it is.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Whether the host has given up its work.
    #[serde(default)]
    pub drained: bool,
    /// The image that is on its disk.
    #[serde(default)]
    pub image: Option<ImageRef>,
    /// The disk that is being written: its serial, else its WWN, else its name.
    #[serde(default)]
    pub disk: Option<String>,
}

/// The answer to a sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// What the node is called.
    pub node: NodeName,
    /// Where in its life it is.
    pub state: String,
    /// What to do.
    pub instruction: Instruction,
    /// Seconds until the next sign of life.
    pub again_seconds: u32,
    /// Whether the certificate is to be renewed.
    pub renew: bool,
    /// The appliance's clock.
    pub time: Timestamp,
}

/// What an installation did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstallReport {
    /// The image.
    pub image: ImageRef,
    /// The disk: its serial, else its WWN, else its name.
    pub disk: String,
    /// Bytes fetched.
    pub bytes: u64,
    /// Milliseconds it took.
    pub elapsed_ms: u64,
}

impl Appliance {
    /// Takes in what a machine is; a machine that is not the one it says is put into quarantine.
    ///
    /// # Errors
    /// When the caller speaks for no node.
    pub async fn hello(&self, caller: Caller, hello: Hello) -> Result<(), AppError> {
        let at = now();
        let mut inventory = hello.inventory.bounded();
        let skew = i128::from(hello.clock.0) - i128::from(at.0);
        inventory.clock_skew_ms = i64::try_from(skew).ok();
        let (config, allowlist) = (std::sync::Arc::clone(&self.config), self.allowlist());
        self.store
            .transact(move |tx| {
                let before = caller.node(tx.world())?.clone();
                let mut node = before.clone();
                tx.append(
                    at,
                    Some(&node),
                    None,
                    EventKind::Report { phase: "discovered".into(), message: summary(&inventory) },
                );
                let told = identity(&inventory);
                let impostor = identify(tx.world(), &node, &told);
                node.observed.facts = Some(facts(&inventory));
                if let Some(old) = tx.world().inventory(node.id) {
                    let changes: Vec<String> =
                        diff(old, &inventory).iter().map(ToString::to_string).collect();
                    if !changes.is_empty() && impostor.is_none() {
                        tx.append(at, Some(&node), None, EventKind::Hardware { changes });
                    }
                }
                match impostor {
                    Some(reason) if !matches!(node.state, State::Quarantined { .. } | State::Retired) => {
                        transition(tx, &mut node, &Signal::Quarantine(reason), at, None)?;
                    }
                    // What an impostor is made of does not stand in for what the node is made of.
                    Some(_) => {}
                    None => {
                        tx.put_inventory(node.id, at, inventory.clone());
                        super::policy::admit(
                            tx,
                            &mut node,
                            &config,
                            allowlist.as_deref(),
                            Some(&inventory),
                            at,
                        )?;
                        if node.state.is_trusted() {
                            complete(&mut node.identity, told);
                        }
                    }
                }
                if node != before {
                    tx.put(Change::PutNode(node));
                }
                Ok(())
            })
            .await
    }

    /// Trades the token of a boot for a certificate.
    ///
    /// # Errors
    /// When the node is not approved, the token was traded before by another key, or the request is none.
    pub async fn enrol(
        &self,
        token: Sha256Digest,
        ip: Ipv4Addr,
        enrol: Enrol,
    ) -> Result<EnrolStep, AppError> {
        let at = now();
        let id = {
            let world = self.view();
            node_of_boot(&world, ip, token)?.id
        };
        let issued = self.authority.sign_node(&enrol.request, id, at)?;
        let request = Sha256Digest::of(enrol.request.as_bytes());
        let stolen = self
            .store
            .transact(move |tx| {
                let mut node = node_of_boot(tx.world(), ip, token)?.clone();
                if !node.state.is_trusted() {
                    let name = &node.name;
                    return Err(AppError::Refused(format!(
                        "{name} is {}; approve it with: firstlight node approve {name}",
                        node.state
                    )));
                }
                let Some(boot) = node.boot.as_mut() else {
                    return Err(AppError::Forbidden("this boot is not known any more".into()));
                };
                if boot.traded.is_some_and(|first| first != request) {
                    // One boot has one agent with one key: whoever comes second, or came first, is not it.
                    let reason = "the token of its boot was traded in twice, by two keys".to_owned();
                    tx.append(at, Some(&node), None, EventKind::Refused { ip, reason: reason.clone() });
                    transition(tx, &mut node, &Signal::Quarantine(reason), at, None)?;
                    tx.put(Change::PutNode(node));
                    return Ok(None);
                }
                boot.traded = Some(request);
                Ok(Some(certify(tx, node, issued, at)))
            })
            .await?;
        stolen.ok_or_else(|| {
            AppError::Forbidden("the token was traded in before; the node is in quarantine now".into())
        })
    }

    /// A new certificate for a node that has one.
    ///
    /// # Errors
    /// When the certificate speaks for no node, or the request is none.
    pub async fn renew(&self, caller: Caller, enrol: Enrol) -> Result<EnrolStep, AppError> {
        let at = now();
        let id = caller.node(&self.view())?.id;
        if !caller.is_certified() {
            return Err(AppError::Forbidden("only a certificate can be renewed".into()));
        }
        let issued = self.authority.sign_node(&enrol.request, id, at)?;
        self.store
            .transact(move |tx| {
                let node = caller.node(tx.world())?.clone();
                Ok(certify(tx, node, issued, at))
            })
            .await
    }

    /// Takes a sign of life, and says what to do. Writes nothing when nothing is new.
    ///
    /// # Errors
    /// When the caller speaks for no node.
    pub async fn check_in(&self, caller: Caller, check_in: CheckIn) -> Result<Orders, AppError> {
        let (at, check_in) = (now(), cut(check_in));
        let id = caller.node(&self.view())?.id;
        let heard = Heard {
            at,
            moved: at,
            place: check_in.place,
            phase: check_in.phase.clone(),
            message: check_in.message.clone(),
            progress: check_in.progress,
            missed: false,
        };
        let missed = self.presence.hear(id, heard);
        let (signal, changes) = {
            let world = self.view();
            let node = caller.node(&world)?;
            let signal = signal(node, &check_in);
            let mut observed = node.clone();
            observe(&mut observed, &check_in, at);
            (signal, observed != *node)
        };
        if signal.is_some() || changes || missed {
            let drained = check_in.drained;
            let check_in = check_in.clone();
            self.store
                .transact(move |tx| {
                    let mut node = caller.node(tx.world())?.clone();
                    if missed {
                        tx.append(at, Some(&node), None, EventKind::Reachable { reachable: true });
                    }
                    // Decided anew: the state may be another by now.
                    if let Some(signal) = self::signal(&node, &check_in) {
                        if signal == Signal::Install {
                            if let Some(image) = tx.world().pin_of(&node).cloned() {
                                tx.append(at, Some(&node), None, EventKind::Installing { image });
                            }
                        } else if !drained {
                            let (phase, message) = (check_in.phase.clone(), check_in.message.clone());
                            tx.append(at, Some(&node), None, EventKind::Report { phase, message });
                        }
                        transition(tx, &mut node, &signal, at, None)?;
                    }
                    observe(&mut node, &check_in, at);
                    tx.put(Change::PutNode(node));
                    Ok::<_, AppError>(())
                })
                .await?;
        }
        self.orders(caller, &check_in, at)
    }

    fn orders(&self, caller: Caller, check_in: &CheckIn, at: Timestamp) -> Result<Orders, AppError> {
        let world = self.view();
        let node = caller.node(&world)?;
        let ip = address_of(&world, node).unwrap_or(caller.ip());
        let network = self.config.networks.iter().find(|network| network.subnet.contains(ip));
        let instruction = instruct(
            node,
            &InstructContext {
                world: &world,
                place: check_in.place,
                certified: caller.is_certified(),
                drained: check_in.drained,
                network: network.map(|network| (network, ip)),
                domain: self.config.domain.as_deref(),
                ssh_keys: &self.config.ssh_keys,
            },
        );
        let last = node.certificates.last();
        Ok(Orders {
            node: node.name.clone(),
            state: node.state.name().into(),
            instruction,
            again_seconds: if check_in.place == Place::Host { HEARTBEAT_SECONDS } else { RAMDISK_SECONDS },
            renew: caller.is_certified()
                && last.is_some_and(|last| last.expires.0.saturating_sub(at.0) < RENEW_WITHIN_MS),
            time: at,
        })
    }

    /// An image is on a node's disk, and was read back there.
    ///
    /// # Errors
    /// When the caller speaks for no node, or nothing was being installed.
    pub async fn installed(&self, caller: Caller, report: InstallReport) -> Result<(), AppError> {
        let at = now();
        if !caller.is_certified() {
            return Err(AppError::Forbidden("only a certificate can speak for an installed disk".into()));
        }
        let InstallReport { image, disk, bytes, elapsed_ms } = report;
        let disk = text(&disk);
        self.store
            .transact(move |tx| {
                let mut node = caller.node(tx.world())?.clone();
                transition(tx, &mut node, &Signal::Installed, at, None)?;
                let kind =
                    EventKind::Installed { image: image.clone(), disk: disk.clone(), bytes, elapsed_ms };
                tx.append(at, Some(&node), None, kind);
                node.installed = Some(Installed { image, disk, at });
                node.installing_on = None;
                node.order = node.order.filter(|order| *order != Order::Install);
                node.next_boot = None;
                tx.put(Change::PutNode(node));
                Ok(())
            })
            .await
    }

    /// A node's disks are erased; `certificates` tell how.
    ///
    /// # Errors
    /// When the caller speaks for no node, or nobody ordered it.
    pub async fn wiped(&self, caller: Caller, certificates: Vec<serde_json::Value>) -> Result<(), AppError> {
        let at = now();
        let id = self
            .store
            .transact(move |tx| {
                let mut node = caller.node(tx.world())?.clone();
                if node.order != Some(Order::Wipe) {
                    return Err(AppError::Refused("nobody ordered a wipe".into()));
                }
                for certificate in certificates.into_iter().take(64) {
                    tx.append(at, Some(&node), None, EventKind::Erased { certificate });
                }
                node.order = None;
                (node.installed, node.installing_on) = (None, None);
                transition(tx, &mut node, &Signal::Wiped, at, None)?;
                let id = node.id;
                tx.put(Change::PutNode(node));
                Ok::<_, AppError>(id)
            })
            .await?;
        self.presence.forget(id);
        Ok(())
    }
}

/// Keeps what a node says short, and printable on a terminal.
fn text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT).collect()
}

fn cut(check_in: CheckIn) -> CheckIn {
    CheckIn {
        boot_id: text(&check_in.boot_id),
        kernel: text(&check_in.kernel),
        phase: text(&check_in.phase),
        message: text(&check_in.message),
        disk: check_in.disk.as_deref().map(text),
        ..check_in
    }
}

/// What a sign of life means for the node's state; `None` when it is no news.
fn signal(node: &Node, check_in: &CheckIn) -> Option<Signal> {
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
        (Place::Host, _) if check_in.drained && *state == State::Draining => Some(Signal::Restart),
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

fn observe(node: &mut Node, check_in: &CheckIn, at: Timestamp) {
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
    if matches!(node.state, State::Draining | State::Reloading) {
        return;
    }
    let observed = &mut node.observed;
    observed.image = check_in.image.clone().or(observed.image.take());
    observed.kernel = Some(check_in.kernel.clone());
    let new_boot = observed.boot_id.as_deref() != Some(check_in.boot_id.as_str());
    observed.boot_id = Some(check_in.boot_id.clone());
    if node.state == State::Ready && (new_boot || observed.ready_at.is_none()) {
        observed.ready_at = Some(at);
    }
}

/// Gives a node a certificate, and puts the node; the oldest certificate ends when there are too many.
pub(super) fn certify(tx: &mut Tx, mut node: Node, issued: Issued, at: Timestamp) -> EnrolStep {
    let Issued { pem: certificate, fingerprint, expires } = issued;
    node.certificates.push(Certificate { fingerprint, expires });
    let too_many = node.certificates.len().saturating_sub(CERTIFICATES);
    node.certificates.drain(..too_many);
    tx.append(at, Some(&node), None, EventKind::Certified { fingerprint, expires });
    let name = node.name.clone();
    tx.put(Change::PutNode(node));
    EnrolStep::Certificate { certificate, expires, node: name }
}

/// Which machine an inventory is of.
pub(super) fn identity(inventory: &Inventory) -> Identity {
    let serial = inventory.system.serial.trim();
    let is_none = NO_SERIAL.contains(&serial.to_ascii_lowercase().as_str());
    Identity {
        serial: if is_none { String::new() } else { serial.to_owned() },
        uuid: inventory.system.uuid.to_ascii_lowercase(),
        endorsement_key: inventory.tpm.as_ref().and_then(|tpm| tpm.ek_sha256.clone()),
    }
}

/// Adds what was not known.
pub(super) fn complete(known: &mut Identity, told: Identity) {
    if known.serial.is_empty() {
        known.serial = told.serial;
    }
    if known.uuid.is_empty() {
        known.uuid = told.uuid;
    }
    known.endorsement_key = known.endorsement_key.take().or(told.endorsement_key);
}

/// Why a machine is not the one that it says it is.
pub(super) fn identify(world: &World, node: &Node, told: &Identity) -> Option<String> {
    if let Some(contradiction) = node.identity.contradiction(told) {
        return Some(format!("another machine answers with its MAC: {contradiction}"));
    }
    let same = |other: &Node| {
        let serial = !told.serial.is_empty() && told.serial == other.identity.serial;
        let uuid = !told.uuid.is_empty() && told.uuid == other.identity.uuid;
        match (serial, uuid) {
            (true, _) => Some(format!("its serial '{}' is that of node {}", told.serial, other.name)),
            (false, true) => Some(format!("its UUID '{}' is that of node {}", told.uuid, other.name)),
            (false, false) => None,
        }
    };
    let mut others = world.nodes().filter(|other| other.id != node.id && other.state != State::Retired);
    others.find_map(same)
}

/// The few facts that every node has, from a whole inventory.
fn facts(inventory: &Inventory) -> Facts {
    Facts {
        vendor: inventory.system.vendor.clone(),
        product: inventory.system.product.clone(),
        serial: inventory.system.serial.clone(),
        uuid: inventory.system.uuid.clone(),
        cpus: inventory.cpus.threads,
        memory_mib: inventory.memory.total_bytes >> 20,
    }
}

fn summary(inventory: &Inventory) -> String {
    let system = &inventory.system;
    let parts = [system.vendor.as_str(), system.product.as_str(), system.serial.as_str()];
    let name: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!(
        "{}: {} CPUs, {}, {} disks",
        name.join(" "),
        inventory.cpus.threads,
        crate::model::inventory::human_bytes(inventory.memory.total_bytes),
        inventory.disks.len()
    )
}

/// For a node whose identity is not recorded yet, when it is approved: what it last told.
pub(super) fn identity_at_approval(world: &World, node: NodeId) -> Identity {
    world.inventory(node).map(identity).unwrap_or_default()
}
