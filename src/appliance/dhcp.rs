//! A DHCP exchange: the decision, the lease, the node and the event in one transaction, then the reply.

use std::sync::Arc;

use crate::dhcp::interface::Interface;
use crate::dhcp::server::Exchange;
use crate::dhcp::{Client, Decision, Reply, Request, View, choose_network, respond};
use crate::model::{Change, DhcpMode, EventKind, Lease, MacAddr, Node, NodeId, NodeName, Timestamp, World};
use crate::store::Tx;

use super::policy::admit;
use super::{AppError, Appliance, now, random};

impl Exchange for Appliance {
    async fn exchange(&self, request: Request, interface: &Interface) -> Option<Reply> {
        let (mac, xid, message_type) = (request.client.mac, request.message.xid(), request.message_type);
        let started = std::time::Instant::now();
        match self.dhcp(request, interface).await {
            Ok(Decision { reply, silent, .. }) => {
                let ip = reply.as_ref().map(|reply| reply.message.yiaddr());
                let answer = reply.as_ref().and_then(|reply| reply.message.opts().msg_type());
                let elapsed_ms = started.elapsed().as_millis();
                if let Some(why) = silent {
                    tracing::info!(%mac, xid, ?message_type, why, "DHCP request not answered");
                } else {
                    tracing::info!(%mac, xid, ?message_type, ?answer, ?ip, elapsed_ms, "DHCP");
                }
                reply
            }
            Err(error) => {
                tracing::error!(%mac, xid, ?message_type, %error, "DHCP request failed");
                None
            }
        }
    }
}

impl Appliance {
    async fn dhcp(&self, request: Request, interface: &Interface) -> Result<Decision, AppError> {
        let (giaddr, ciaddr) = (request.message.giaddr(), request.message.ciaddr());
        let network = choose_network(&self.config.networks, &interface.name, giaddr, ciaddr);
        let Some(network) = network.filter(|network| network.dhcp == DhcpMode::Full).cloned() else {
            return Ok(Decision { silent: Some("no network is configured for it"), ..Decision::default() });
        };
        let (config, firmware) = (Arc::clone(&self.config), Arc::clone(&self.firmware));
        let (at, server) = (now(), interface.address);
        // Only a stranger is looked up there: the list's file is not asked for at every packet.
        let stranger = self.view().node_with_mac(request.client.mac).is_none();
        let allowlist = if stranger { self.allowlist() } else { None };
        let fresh = NodeId(u64::from_be_bytes(random()?));
        self.store
            .transact(move |tx| {
                let view = View {
                    world: tx.world(),
                    network: &network,
                    server,
                    firmware: &firmware,
                    http_port: config.http_port,
                    domain: config.domain.as_deref(),
                    serves_strangers: tx.world().strangers() < config.enrolment.max_unknown,
                };
                let mut decision = respond(&request, &view, at);
                let before = tx.world().node_with_mac(request.client.mac).cloned();
                // Who gets nothing leaves no trace: a flood must not fill the store.
                if before.is_none() && decision.reply.is_none() {
                    return Ok(decision);
                }
                let mut node = match &before {
                    Some(node) => node.clone(),
                    None => discover(tx, fresh, request.client.mac, at),
                };
                for change in std::mem::take(&mut decision.changes) {
                    tx.put(reserved_if_trusted(change, &node));
                }
                learn(tx, &mut node, &request.client, &firmware, at);
                if let Some(kind) = decision.event.take() {
                    tx.append(at, Some(&node), None, kind);
                }
                if before.is_none() {
                    admit(tx, &mut node, &config, allowlist.as_deref(), None, at)?;
                }
                if before.as_ref() != Some(&node) {
                    tx.put(Change::PutNode(node));
                }
                Ok(decision)
            })
            .await
    }
}

/// Records a node that was never seen before. The caller puts it.
fn discover(tx: &mut Tx, id: NodeId, mac: MacAddr, at: Timestamp) -> Node {
    let node = Node::discovered(id, free_name(tx.world(), mac, id), mac, at);
    tx.append(at, Some(&node), None, EventKind::Discovered { mac });
    node
}

/// `node-a1b2c3`, of the address's last three octets; of all six, or of the id, when that is taken.
fn free_name(world: &World, mac: MacAddr, id: NodeId) -> NodeName {
    let all = hex::encode(mac.0);
    let short = all.get(6..).unwrap_or(&all);
    let names = [format!("node-{short}"), format!("node-{all}"), format!("node-{id}")];
    let free =
        names.into_iter().filter_map(|name| name.parse().ok()).find(|name| world.node_named(name).is_none());
    // The id is drawn for this node alone, so its name can only be free.
    free.unwrap_or_else(|| unreachable!("a name of hexadecimal digits that nobody has"))
}

/// An approved node's address is nobody else's for ever.
fn reserved_if_trusted(change: Change, node: &Node) -> Change {
    match change {
        Change::PutLease(lease)
            if node.state.is_trusted() && lease.state != crate::model::LeaseState::Declined =>
        {
            Change::PutLease(Lease { reserved: true, ..lease })
        }
        other => other,
    }
}

/// Keeps what the firmware tells of itself.
fn learn(tx: &mut Tx, node: &mut Node, client: &Client, table: &crate::boot::FirmwareTable, at: Timestamp) {
    let Some(entry) = client.kind.architecture().and_then(|code| table.of_architecture(code)) else { return };
    let uuid = client.uuid.clone().or_else(|| node.uuid.clone());
    if (node.arch, node.firmware, &node.uuid) == (Some(entry.arch), Some(entry.firmware), &uuid) {
        return;
    }
    (node.arch, node.firmware, node.uuid) = (Some(entry.arch), Some(entry.firmware), uuid.clone());
    tx.append(at, Some(node), None, EventKind::Firmware { firmware: entry.firmware, uuid });
}
