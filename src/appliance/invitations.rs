//! Hosts that were installed by others join with an invitation: a one-time token that an operator made.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::inventory::Inventory;
use crate::model::{
    Change, EventKind, GroupName, Invitation, Lease, LeaseState, MacAddr, Node, NodeId, NodeName,
    Sha256Digest, Signal, Timestamp,
};
use crate::store::Tx;

use super::agent::identity::{complete, identify, identity};
use super::agent::{EnrolStep, certify};
use super::dhcp::fresh_id;
use super::nodes::no_group;
use super::transition::transition;
use super::{Actor, AppError, Appliance, now, random};

/// Longest that an invitation may be good for.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// Invitations that may be open at once.
const INVITATIONS: usize = 65_536;

/// What an operator asks for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// What the node will be called; by its host name unless given.
    #[serde(default)]
    pub name: Option<NodeName>,
    /// The group it will join.
    #[serde(default)]
    pub group: Option<GroupName>,
    /// For how long, seconds; an hour unless given.
    #[serde(default)]
    pub seconds: Option<u64>,
}

/// An invitation, told once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Invited {
    /// What the host gives to `firstlight agent enrol --token`: the digest of the authority, a dot, and the secret.
    pub token: String,
    /// Until when.
    pub expires: Timestamp,
    /// Where agents reach the appliance, by network.
    pub servers: Vec<String>,
}

/// What a host says of itself to join.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostEnrol {
    /// The certificate request, PEM.
    pub request: String,
    /// Its host name.
    pub hostname: String,
    /// What it is made of.
    pub inventory: Inventory,
    /// The interface that it reaches the appliance through.
    pub mac: MacAddr,
}

impl Appliance {
    /// Makes an invitation.
    ///
    /// # Errors
    /// When the group is not known, the name is taken, or there are too many.
    pub async fn invite(&self, invite: Invite, actor: Actor) -> Result<Invited, AppError> {
        let lasts = Duration::from_secs(invite.seconds.unwrap_or(3600));
        if lasts > LONGEST || lasts.is_zero() {
            return Err(AppError::Invalid("an invitation is good for 1 second to 7 days".into()));
        }
        let (at, secret) = (now(), hex::encode(random::<16>()?));
        let (token, expires) = (Sha256Digest::of(secret.as_bytes()), at.plus(lasts));
        self.store
            .transact(move |tx| {
                let over: Vec<Sha256Digest> =
                    tx.world().invitations().filter(|old| old.expires <= at).map(|old| old.token).collect();
                for token in over {
                    tx.put(Change::DeleteInvitation(token));
                }
                if tx.world().invitations().count() >= INVITATIONS {
                    return Err(AppError::Refused(format!("{INVITATIONS} invitations are open already")));
                }
                if let Some(group) = invite.group.as_ref().filter(|group| tx.world().group(group).is_none()) {
                    return Err(no_group(group));
                }
                if let Some(name) = invite.name.as_ref().filter(|name| tx.world().node_named(name).is_some())
                {
                    return Err(AppError::Refused(format!("another node is called '{name}' already")));
                }
                let (name, group, by) = (invite.name, invite.group, actor.0.clone());
                let kind = EventKind::Invited { as_node: name.clone(), expires };
                tx.append(at, None, Some(&actor.0), kind);
                tx.put(Change::PutInvitation(Invitation { token, name, group, expires, by }));
                Ok(())
            })
            .await?;
        let servers = self
            .interfaces()
            .into_iter()
            .map(|ip| format!("https://{ip}:{}", self.config.tls_port))
            .collect();
        Ok(Invited { token: format!("{}.{secret}", self.authority.fingerprint()), expires, servers })
    }

    /// Takes in a host that comes with an invitation.
    ///
    /// # Errors
    /// When the token is none or has been used, the request is none, or the machine is known as another one.
    pub async fn enrol_host(
        &self,
        token: Sha256Digest,
        ip: Ipv4Addr,
        host: HostEnrol,
    ) -> Result<EnrolStep, AppError> {
        let at = now();
        let inventory = host.inventory.bounded();
        let known = self.view().node_with_mac(host.mac).map(|node| node.id);
        let id = known.map_or_else(|| fresh_id(&self.view(), at), Ok)?;
        let issued = self.authority.sign_node(&host.request, id, at)?;
        let in_network = self.config.networks.iter().any(|network| network.subnet.has_host(ip));
        self.store
            .transact(move |tx| {
                let invitation =
                    tx.world().invitation(token).filter(|invitation| invitation.expires > at).cloned();
                let Some(invitation) = invitation else {
                    return Err(AppError::Forbidden(
                        "this token is not good (any more); make one with: firstlight node invite".into(),
                    ));
                };
                if known.is_none() && tx.world().node(id).is_some() {
                    return Err(AppError::Refused("another host joined just now; try again".into()));
                }
                let mut node = match tx.world().node(id) {
                    Some(node) => node.clone(),
                    None => Node::discovered(id, free_name(tx, &host.hostname, id), host.mac, at),
                };
                let told = identity(&inventory);
                if let Some(reason) = identify(tx.world(), &node, &told) {
                    return Err(AppError::Refused(reason));
                }
                if tx.world().node_with_mac(host.mac).map(|holder| holder.id) != known {
                    return Err(AppError::Refused(
                        "another host with its MAC joined just now; try again".into(),
                    ));
                }
                tx.put(Change::DeleteInvitation(token));
                if tx.world().node(id).is_none() {
                    tx.append(at, Some(&node), None, EventKind::Discovered { mac: host.mac });
                }
                let name = invitation.name.filter(|name| tx.world().node_named(name).is_none());
                node.name = name.unwrap_or(node.name);
                node.group = invitation.group.or(node.group.take());
                tx.put_inventory(id, at, inventory);
                if in_network {
                    reserve(tx, &node, ip, at)?;
                }
                transition(tx, &mut node, &Signal::Adopt, at, Some(&invitation.by))?;
                complete(&mut node.identity, told);
                node.certificates.clear();
                Ok(certify(tx, node, issued, at))
            })
            .await
    }

    /// The appliance's own addresses on its networks.
    fn interfaces(&self) -> Vec<Ipv4Addr> {
        let networks = self.config.networks.iter();
        let named = networks.filter_map(|network| Some((network.interface.as_deref()?, network.subnet)));
        named
            .filter_map(|(name, subnet)| crate::dhcp::interface::find(name, subnet).ok())
            .map(|found| found.address)
            .collect()
    }
}

/// The address that a host came with is its own from now on.
fn reserve(tx: &mut Tx, node: &Node, ip: Ipv4Addr, at: Timestamp) -> Result<(), AppError> {
    let Some(mac) = node.macs.first().copied() else { return Ok(()) };
    match tx.world().lease(ip) {
        Some(lease) if lease.mac != mac && (lease.reserved || lease.is_active(at)) => {
            Err(AppError::Refused(format!("{ip} is held by {}; firstlight lease show {ip}", lease.mac)))
        }
        _ => {
            tx.put(Change::PutLease(Lease {
                ip,
                mac,
                hostname: Some(node.name.to_string()),
                state: LeaseState::Bound,
                expires: at,
                reserved: true,
            }));
            Ok(())
        }
    }
}

/// The host's own name when it is free, else one with the node's id.
fn free_name(tx: &Tx, hostname: &str, id: NodeId) -> NodeName {
    let short = hostname.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let own = short.parse::<NodeName>().ok().filter(|name| tx.world().node_named(name).is_none());
    own.or_else(|| format!("node-{id}").parse().ok())
        .unwrap_or_else(|| unreachable!("a name of letters, digits and a hyphen"))
}
