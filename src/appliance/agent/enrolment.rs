//! Letting an agent in: what its machine is, and a certificate for the token of its boot.

use std::net::Ipv4Addr;

use crate::model::inventory::{Inventory, diff};
use crate::model::{Certificate, Change, EventKind, Facts, Node, Sha256Digest, Signal, State, Timestamp};
use crate::store::Tx;
use crate::trust::Issued;

use super::super::boot::node_of_boot;
use super::super::transition::transition;
use super::super::{AppError, Appliance, now, policy};
use super::identity::{complete, identify, identity};
use super::{Caller, Enrol, EnrolStep, Hello};

/// Certificates that speak for a node at once: the one it has, and the one it changes to.
const CERTIFICATES: usize = 2;

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
                        policy::admit(tx, &mut node, &config, allowlist.as_deref(), Some(&inventory), at)?;
                        if node.state.is_trusted() {
                            complete(&mut node.identity, told);
                        }
                    }
                }
                if node != before {
                    tx.put(Change::put_node(node));
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
                    tx.put(Change::put_node(node));
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
}

/// Gives a node a certificate, and puts the node; the oldest certificate ends when there are too many.
pub(in crate::appliance) fn certify(tx: &mut Tx, mut node: Node, issued: Issued, at: Timestamp) -> EnrolStep {
    let Issued { pem: certificate, fingerprint, expires } = issued;
    node.certificates.push(Certificate { fingerprint, expires });
    let too_many = node.certificates.len().saturating_sub(CERTIFICATES);
    node.certificates.drain(..too_many);
    tx.append(at, Some(&node), None, EventKind::Certified { fingerprint, expires });
    let name = node.name.clone();
    tx.put(Change::put_node(node));
    EnrolStep::Certificate { certificate, expires, node: name }
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
