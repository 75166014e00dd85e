//! A `DHCPv6` exchange: the decision, the lease, the node and the event in one transaction, then the reply.

use std::sync::Arc;

use crate::dhcp::interface::Interface;
use crate::dhcp6::message::Message;
use crate::dhcp6::request::Wants;
use crate::dhcp6::server::Exchange6;
use crate::dhcp6::{Decision, Request, View, respond};
use crate::gate::Rank;
use crate::model::{Change, DhcpMode, Network, Network6};

use super::dhcp::{Rules, Told, discover, fresh_id, keep_node};
use super::strangers::has_room;
use super::{AppError, Appliance, now};

impl Exchange6 for Appliance {
    fn rank6(&self, request: &Request) -> Rank {
        let world = self.view();
        let node = request.client.mac.and_then(|mac| world.node_with_mac(mac));
        if node.is_some_and(|node| node.state.is_trusted()) {
            return Rank::Trusted;
        }
        let duid = request.client.duid.as_ref();
        if node.is_some() || duid.is_some_and(|duid| world.leases6_of(duid).next().is_some()) {
            Rank::Known
        } else if has_room(&world, self.config.enrolment.max_unknown, now())
            // Nothing is kept of who asks for these.
            || matches!(request.wants, Wants::Information | Wants::Confirm)
        {
            Rank::Stranger
        } else {
            Rank::Excess
        }
    }

    async fn exchange6(&self, request: Request, interface: &Interface) -> Option<Message> {
        let (wants, mac, xid) = (request.wants, request.client.mac, hex::encode(request.xid));
        let nii = request.client.interface;
        match self.dhcp6(request, interface).await {
            Ok(Decision { reply, silent, .. }) => {
                tracing::info!(?wants, ?mac, xid, ?nii, silent, "DHCPv6");
                reply
            }
            Err(error) => {
                tracing::error!(?wants, ?mac, xid, %error, "DHCPv6 request failed");
                None
            }
        }
    }
}

impl Appliance {
    async fn dhcp6(&self, request: Request, interface: &Interface) -> Result<Decision, AppError> {
        let (config, firmware) = (Arc::clone(&self.config), Arc::clone(&self.firmware));
        let chosen = network_of(&config.networks, interface, &request)
            .map(|(network, v6)| (network.lease, network.dhcp, v6.clone()));
        let Some((lease, dhcp, network)) = chosen else {
            return Ok(Decision { silent: Some("no network is configured for it"), ..Decision::default() });
        };
        let server = interface.address6_on(network.subnet).or_else(|| interface.addresses6.first().copied());
        let Some(server) = server else {
            return Ok(Decision { silent: Some("the interface has no IPv6 address"), ..Decision::default() });
        };
        let (at, duid, names) = (now(), self.duid.clone(), self.serves_names_at(server));
        let lately = Arc::clone(&self.lately);
        let stranger = request.client.mac.is_none_or(|mac| self.view().node_with_mac(mac).is_none());
        let allowlist = if stranger { self.allowlist() } else { None };
        self.store
            .transact(move |tx| {
                let (nobodys, oldest) = tx.world().nobodys_leases6();
                let oldest = oldest.filter(|lease| lease.expires <= at).map(|lease| lease.ip);
                let most = config.enrolment.max_unknown;
                let room = has_room(tx.world(), most, at) && (request.client.mac.is_some() || nobodys < most);
                if !room && request.client.mac.is_none() {
                    // There is room at the next message.
                    if let Some(ip) = oldest {
                        tx.put(Change::DeleteLease6(ip));
                    }
                }
                let view = View {
                    world: tx.world(),
                    network: &network,
                    lease,
                    server,
                    duid: &duid,
                    firmware: &firmware,
                    domain: config.domain.as_deref(),
                    names,
                    http_port: config.http_port,
                    script: dhcp == DhcpMode::Off,
                    serves_strangers: room,
                };
                let mut decision = respond(&request, &view, at);
                let changes = std::mem::take(&mut decision.changes);
                if changes.is_empty() {
                    // An offer, or options: nobody becomes a node by asking.
                    return Ok(decision);
                }
                for change in changes {
                    tx.put(change);
                }
                let Some(mac) = request.client.mac else { return Ok(decision) };
                let before = tx.world().kept_node_with_mac(mac);
                let node = if let Some(node) = &before {
                    Arc::clone(node)
                } else {
                    let fresh = fresh_id(tx.world(), at)?;
                    Arc::new(discover(tx, fresh, mac, None, most, at))
                };
                let told = Told { kind: &request.client.kind, uuid: None, event: decision.event.take() };
                let allowlist = allowlist.as_deref();
                let rules = Rules { config: &config, firmware: &firmware, allowlist, lately: &lately };
                keep_node(tx, before.as_ref(), node, told, &rules, at)?;
                Ok(decision)
            })
            .await
    }
}

/// The network of a message: the link that a relay names, else that of the interface it came in by (RFC 8415 section 13.1).
fn network_of<'n>(
    networks: &'n [Network],
    interface: &Interface,
    request: &Request,
) -> Option<(&'n Network, &'n Network6)> {
    let mut all = networks.iter().filter_map(|network| Some((network, network.v6.as_ref()?)));
    match request.link() {
        Some(link) => all.find(|(_, v6)| v6.subnet.contains(link)),
        None => all.find(|(network, _)| network.interface.as_deref() == Some(&interface.name)),
    }
}
