//! What a booting machine does: it asks for its script, fetches files and reports how far it is.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::boot::{Action, ScriptContext, next_action};
use crate::model::{
    BootAttempt, Change, EventKind, Facts, Identity, ImageRef, MacAddr, Node, Order, Purpose, Sha256Digest,
    Signal, State, Timestamp, World,
};
use crate::store::Tx;

use super::agent::identity::{complete, identify};
use super::transition::transition;
use super::{AppError, Appliance, now, random};

/// Longest text of a report that is kept, in characters.
const REPORT_TEXT: usize = 128;
/// Why a node that boots over IPv6 alone does not get the ramdisk.
const NEEDS_IPV4: &str = "it needs the ramdisk, whose agent speaks IPv4: serve DHCPv4 on its network as well, or pin an image \
                          that runs from memory";

/// What a node says of itself, authenticated by the one-time token of its boot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// `discovered`, `configuring`, `ready` or `failed`.
    pub phase: String,
    /// What it says for a person.
    #[serde(default)]
    pub message: String,
    /// Kernel release.
    #[serde(default)]
    pub kernel: Option<String>,
    /// The kernel's random id of this boot.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// What discovery found.
    #[serde(default)]
    pub facts: Option<Facts>,
}

/// What the discovery ramdisk does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ask again later.
    Wait,
    /// Restart: there is an image to boot.
    Reboot,
}

impl Appliance {
    /// The iPXE script for the node at `mac`, who asked from `ip` and reaches the appliance at `base_url`.
    ///
    /// # Errors
    /// When the MAC is not known or does not hold `ip`.
    pub async fn boot_script(&self, mac: MacAddr, ip: IpAddr, base_url: String) -> Result<String, AppError> {
        let token = hex::encode(random::<16>()?);
        let (at, ramdisk, scripts) = (now(), self.ramdisk_image(), self.scripts.clone());
        let (discovery, arguments) = (self.discovery_image(), self.boot_arguments(ip, &base_url, at));
        self.store
            .transact(move |tx| {
                let before = node_at(tx.world(), mac, ip)?;
                let mut node = before.clone();
                let stranger = !node.state.is_trusted();
                let agent = if stranger && node.order.is_none() { &discovery } else { &ramdisk };
                // The ramdisk's agent speaks IPv4: a stranger waits without it, and says for what.
                let speaks = |image: &ImageRef| ip.is_ipv4() || ramdisk.as_ref() != Some(image);
                let agent = agent.as_ref().filter(|image| !stranger || speaks(image));
                let action = match next_action(tx.world(), &node, agent) {
                    Action::Agent(boot, _) if !speaks(&boot.image) => Action::Wait(NEEDS_IPV4.into()),
                    action => action,
                };
                if let Some((boot, purpose)) = action.boot() {
                    node.boot = Some(BootAttempt {
                        image: boot.image.clone(),
                        started: at,
                        ip,
                        token: Sha256Digest::of(token.as_bytes()),
                        purpose,
                        traded: None,
                    });
                }
                let image = action.boot().map(|(boot, _)| boot.image.clone());
                let message = match &action {
                    Action::Wait(message) | Action::Refuse(message) => Some(message.clone()),
                    _ => None,
                };
                note_script(
                    tx,
                    &mut node,
                    at,
                    EventKind::Script { action: action.name().into(), image, message },
                );
                if matches!(action, Action::Boot(_) | Action::Local) && node.state.is_trusted() {
                    transition(tx, &mut node, &Signal::BootImage, at, None)?;
                    node.order = node.order.filter(|order| *order != Order::Reload);
                }
                // Once is once; an image is asked for until it is there.
                if !matches!(action, Action::Wait(_) | Action::Refuse(_) | Action::Agent(_, Purpose::Install))
                {
                    node.next_boot = None;
                }
                if node != before {
                    tx.put(Change::put_node(node.clone()));
                }
                let arguments = arguments.of(&action);
                let about = ScriptContext {
                    node: &node,
                    mac,
                    ip,
                    base_url: &base_url,
                    token: &token,
                    arguments: &arguments,
                };
                Ok(scripts.render(&action, &about)?)
            })
            .await
    }

    /// Takes in what a node says of itself.
    ///
    /// # Errors
    /// When the token is not the one of the boot that was handed to this address, or the report makes no sense.
    pub async fn report(&self, ip: IpAddr, token: &str, report: Report) -> Result<(), AppError> {
        let (at, token) = (now(), Sha256Digest::of(token.as_bytes()));
        let report = cut(report);
        self.store
            .transact(move |tx| {
                let mut node = node_of_boot(tx.world(), ip, token)?.clone();
                let (phase, message) = (report.phase.clone(), report.message.clone());
                tx.append(at, Some(&node), None, EventKind::Report { phase, message });
                let signal = match report.phase.as_str() {
                    "discovered" => None,
                    "configuring" => Some(Signal::ReportConfiguring),
                    "ready" => Some(Signal::ReportReady),
                    "failed" => Some(Signal::Fail(report.message.clone())),
                    other => {
                        return Err(AppError::Invalid(format!(
                            "'{other}' is not a phase; report discovered, configuring, ready or failed"
                        )));
                    }
                };
                if let Some(signal) = &signal {
                    transition(tx, &mut node, signal, at, None)?;
                }
                let told = report.facts.as_ref().map(|facts| Identity::of(&facts.serial, &facts.uuid, None));
                observe(&mut node, report, at);
                if let Some(told) = told {
                    match identify(tx.world(), &node, &told) {
                        Some(reason) => transition(tx, &mut node, &Signal::Quarantine(reason), at, None)?,
                        None if node.state.is_trusted() => complete(&mut node.identity, told),
                        None => {}
                    }
                }
                tx.put(Change::put_node(node));
                Ok(())
            })
            .await
    }

    /// What the discovery ramdisk at `ip` does next.
    ///
    /// # Errors
    /// When the token is not the one of the boot that was handed to this address.
    pub fn next(&self, ip: IpAddr, token: &str) -> Result<Next, AppError> {
        let world = self.view();
        let node = node_of_boot(&world, ip, Sha256Digest::of(token.as_bytes()))?;
        Ok(match next_action(&world, node, self.discovery_image().as_ref()) {
            Action::Boot(_) | Action::Local | Action::Memtest | Action::Agent(_, Purpose::Install) => {
                Next::Reboot
            }
            Action::Agent(..) | Action::Wait(_) | Action::Refuse(_) => Next::Wait,
        })
    }

    /// Writes down a line that whoever holds `ip` logged. For strangers nothing is written.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub async fn note_line(&self, ip: Ipv4Addr, app: String, line: String) -> Result<(), AppError> {
        self.note_transfer(ip, EventKind::Console { app, line }).await
    }

    /// Writes down that a file was sent, or was not, to whoever holds `ip`. For strangers nothing is written.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub async fn note_transfer(&self, ip: impl Into<IpAddr>, kind: EventKind) -> Result<(), AppError> {
        let (ip, at) = (ip.into(), now());
        if self.view().node_at(ip).is_none() {
            return Ok(());
        }
        self.store
            .transact(move |tx| {
                let node = tx.world().node_at(ip).cloned();
                tx.append(at, node.as_ref(), None, kind);
                Ok(())
            })
            .await
    }
}

/// Writes the script's event, but a waiting node's only when its reason is new: it asks every few seconds.
fn note_script(tx: &mut Tx, node: &mut Node, at: Timestamp, kind: EventKind) {
    let waits_for = match &kind {
        EventKind::Script { message, .. } => message.clone(),
        _ => None,
    };
    if waits_for.is_none() || node.waits_for != waits_for {
        tx.append(at, Some(node), None, kind);
    }
    node.waits_for = waits_for;
}

fn node_at(world: &World, mac: MacAddr, ip: IpAddr) -> Result<Node, AppError> {
    let node = world.node_with_mac(mac).ok_or_else(|| {
        AppError::NotFound(format!("no node has the MAC {mac}; it has to ask for an address here first"))
    })?;
    if world.node_at(ip).is_none_or(|holder| holder.id != node.id) {
        return Err(AppError::Forbidden(format!("{ip} is not the address of node {}", node.name)));
    }
    Ok(node.clone())
}

pub(super) fn node_of_boot(
    world: &World,
    ip: impl Into<IpAddr>,
    token: Sha256Digest,
) -> Result<&Node, AppError> {
    let ip = ip.into();
    let forbidden =
        || AppError::Forbidden("the token is not that of this address's boot; boot the node again".into());
    let node = world.node_at(ip).ok_or_else(forbidden)?;
    let is_its_boot = node.boot.as_ref().is_some_and(|boot| boot.ip == ip && boot.token == token);
    if is_its_boot { Ok(node) } else { Err(forbidden()) }
}

/// Keeps what a node says short, and printable on a terminal.
fn cut(report: Report) -> Report {
    let text =
        |text: String| -> String { text.chars().filter(|c| !c.is_control()).take(REPORT_TEXT).collect() };
    Report {
        phase: text(report.phase),
        message: text(report.message),
        kernel: report.kernel.map(text),
        boot_id: report.boot_id.map(text),
        facts: report.facts.map(|facts| Facts {
            vendor: text(facts.vendor),
            product: text(facts.product),
            serial: text(facts.serial),
            uuid: text(facts.uuid),
            ..facts
        }),
    }
}

fn observe(node: &mut Node, report: Report, at: Timestamp) {
    let observed = &mut node.observed;
    observed.facts = report.facts.or(observed.facts.take());
    if matches!(report.phase.as_str(), "configuring" | "ready") {
        observed.image = node.boot.as_ref().map(|boot| boot.image.clone());
        observed.kernel = report.kernel.or(observed.kernel.take());
        observed.boot_id = report.boot_id.or(observed.boot_id.take());
    }
    if node.state == State::Ready && report.phase == "ready" {
        observed.ready_at = Some(at);
    }
}
