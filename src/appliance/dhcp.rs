//! A DHCP exchange: the decision, the lease, the node and the event in one transaction, then the reply.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use dhcproto::v4::MessageType;

use crate::boot::{ClientKind, FirmwareTable};
use crate::config::allowlist::Allowlist;
use crate::config::{Config, Policy};
use crate::dhcp::interface::Interface;
use crate::dhcp::options::{Options, from_table, merge};
use crate::dhcp::place::has_had_a_lease;
use crate::dhcp::respond::DECLINED;
use crate::dhcp::server::{Answered, Exchange};
use crate::dhcp::{Decision, Place, Request, View, assist, choose_network, respond};
use crate::gate::Rank;
use crate::model::{
    Change, DhcpMode, EventKind, Lease, LeaseState, MacAddr, Network, Node, NodeId, NodeName, Scope,
    Timestamp, World,
};
use crate::store::Tx;

use super::pins::OPTIONS_VARIABLE;
use super::policy::admit;
use super::ports::{name_by_port, takes_over};
use super::strangers::{Lately, has_room, make_room};
use super::{AppError, Appliance, now, random};

impl Exchange for Appliance {
    fn rank(&self, mac: MacAddr) -> Rank {
        let world = self.view();
        match world.node_with_mac(mac) {
            Some(node) if node.state.is_trusted() => Rank::Trusted,
            Some(_) => Rank::Known,
            // Who has a lease that was taken over from another server is about to be a node.
            None if has_had_a_lease(&world, mac) => Rank::Known,
            None if has_room(&world, self.config.enrolment.max_unknown, now()) => Rank::Stranger,
            None => Rank::Excess,
        }
    }

    async fn conflict(
        &self,
        request: Arc<Request>,
        ip: Ipv4Addr,
        holder: Option<MacAddr>,
        interface: &Interface,
    ) -> Option<Answered> {
        let (mac, at) = (request.client.mac, now());
        tracing::warn!(%mac, %ip, ?holder, "the address that was to be offered is in use");
        let set_aside = self.store.transact(move |tx| {
            let node = tx.world().node_with_mac(mac).cloned();
            let Some(lease) = tx.world().lease(ip).filter(|lease| lease.mac == mac).cloned() else {
                return Ok(());
            };
            let (state, expires) = (LeaseState::Declined, at.plus(DECLINED));
            tx.put(Change::PutLease(Lease { state, expires, reserved: false, ..lease }));
            tx.append(at, node.as_ref(), None, EventKind::AddressInUse { ip, holder });
            Ok::<_, AppError>(())
        });
        if let Err(error) = set_aside.await {
            tracing::error!(%mac, %ip, %error, "an address in use could not be set aside");
            return None;
        }
        self.exchange(vec![request], interface).await.pop().flatten()
    }

    fn at_a_glance(&self, request: &Arc<Request>, interface: &Interface) -> Option<Answered> {
        let (started, world) = (std::time::Instant::now(), self.view());
        if !starts_again(request, &world, now()) {
            return None;
        }
        let glance = || {
            let node = world.node_with_mac(request.client.mac)?;
            Some(self.question(Arc::clone(request), interface).ok()?.decision(&world, Some(node)))
        };
        // Where it fails, so does the transaction after it, which says so.
        let decision = catch_unwind(AssertUnwindSafe(glance)).ok().flatten()?;
        let written = |event| is_kept(&request.client.kind, event);
        let changes = !decision.changes.is_empty() || decision.event.as_ref().is_some_and(written);
        if changes || decision.reply.is_none() { None } else { answer(request, Ok(decision), started) }
    }

    async fn exchange(&self, requests: Vec<Arc<Request>>, interface: &Interface) -> Vec<Option<Answered>> {
        let started = std::time::Instant::now();
        let questions: Vec<Result<Question, &'static str>> =
            requests.iter().map(|request| self.question(Arc::clone(request), interface)).collect();
        // One transaction for all: they become durable together.
        let decided = self.store.transact(move |tx| {
            let decide = |question: Result<Question, &'static str>| match question {
                // Should one fail, the others are answered all the same.
                Ok(question) => tx.attempt(|tx| question.decide(tx)),
                Err(silent) => Some(Ok(Decision { silent: Some(silent), ..Decision::default() })),
            };
            Ok::<_, AppError>(questions.into_iter().map(decide).collect::<Vec<_>>())
        });
        match decided.await {
            Ok(decisions) => {
                let both = requests.iter().zip(decisions);
                both.map(|(request, decision)| answer(request, decision?, started)).collect()
            }
            Err(error) => {
                tracing::error!(requests = requests.len(), %error, "DHCP requests failed");
                vec![None; requests.len()]
            }
        }
    }
}

/// Whether a client that only wants an address begins anew while it has one, which nobody else can be about to get. It is offered
/// that, of which nothing is written down.
fn starts_again(request: &Request, world: &World, at: Timestamp) -> bool {
    request.message_type == MessageType::Discover
        && matches!(request.client.kind, ClientKind::Other(_))
        && world
            .leases_of(request.client.mac)
            .any(|lease| lease.state == LeaseState::Bound && lease.expires > at)
}

/// What is sent, and what stands in the log: of those who boot each exchange, of others at most what went wrong.
fn answer(
    request: &Request,
    decision: Result<Decision, AppError>,
    started: std::time::Instant,
) -> Option<Answered> {
    let (mac, xid, message_type) = (request.client.mac, request.message.xid(), request.message_type);
    let boots = !matches!(request.client.kind, ClientKind::Other(_));
    match decision {
        Ok(Decision { reply, silent, fresh, .. }) => {
            let elapsed_ms = started.elapsed().as_millis();
            let answer = reply.as_ref().and_then(|reply| reply.message.opts().msg_type());
            let ip = reply.as_ref().map(|reply| reply.message.yiaddr());
            match (silent, boots) {
                (Some(why), true) => {
                    tracing::info!(%mac, xid, ?message_type, why, "DHCP request not answered");
                }
                (Some(why), false) => {
                    tracing::debug!(%mac, xid, ?message_type, why, "DHCP request not answered");
                }
                (None, true) => tracing::info!(%mac, xid, ?message_type, ?answer, ?ip, elapsed_ms, "DHCP"),
                (None, false) => tracing::debug!(%mac, xid, ?message_type, ?answer, ?ip, elapsed_ms, "DHCP"),
            }
            reply.map(|reply| Answered { reply, fresh })
        }
        Err(error) => {
            tracing::error!(%mac, xid, ?message_type, %error, "DHCP request failed");
            None
        }
    }
}

/// A request, and what its answer depends on beside the state.
struct Question {
    request: Arc<Request>,
    config: Arc<Config>,
    firmware: Arc<FirmwareTable>,
    lately: Arc<Lately>,
    /// Asked for strangers only: the list's file is not looked at for every packet.
    allowlist: Option<Arc<Allowlist>>,
    /// The network it came from, then others on its link; each by its position in the configuration, with our address there.
    link: Vec<(usize, Ipv4Addr)>,
    /// Whether we serve names there.
    names: bool,
    at: Timestamp,
}

impl Appliance {
    /// What is decided about a request; why it is not, if so.
    fn question(&self, request: Arc<Request>, interface: &Interface) -> Result<Question, &'static str> {
        let config = Arc::clone(&self.config);
        let network = choose_network(&config.networks, &interface.name, &request);
        let Some(network) = network.filter(|network| network.dhcp != DhcpMode::Off) else {
            return Err("no network is configured for it");
        };
        // Subnets do not overlap: each is known by its own. Those on one link may have the client, each with an address of ours.
        let place = |(at, other): (usize, &Network)| (at, interface.address_on(other.subnet));
        let numbered = || config.networks.iter().enumerate();
        let on_link = numbered().filter(|(_, other)| {
            other.subnet != network.subnet && other.dhcp == DhcpMode::Full && other.shares_link(network)
        });
        let own = numbered().filter(|(_, other)| other.subnet == network.subnet);
        let link: Vec<(usize, Ipv4Addr)> = own.take(1).chain(on_link).map(place).collect();
        if let Some(other) = request.server_identifier()
            && network.dhcp == DhcpMode::Full
            && request.message_type == MessageType::Request
            && Some(other) != request.client.relay.server
            && !interface.addresses.contains(&other)
        {
            // Anybody can say so: it is asked for.
            self.rogues.suspect(&interface.name);
        }
        let names = link.first().is_some_and(|(_, server)| self.serves_names_at(*server));
        let listed = matches!(config.enrolment.policy, Policy::Allowlist(_));
        let stranger = listed && self.view().node_with_mac(request.client.mac).is_none();
        Ok(Question {
            allowlist: if stranger { self.allowlist() } else { None },
            firmware: Arc::clone(&self.firmware),
            lately: Arc::clone(&self.lately),
            at: now(),
            request,
            config,
            link,
            names,
        })
    }
}

impl Question {
    /// What is decided on this state about the node that asks, if it is one.
    fn decision(&self, world: &World, node: Option<&Node>) -> Decision {
        let Self { request, config, firmware, at, .. } = self;
        let own = node.map_or_else(Vec::new, |node| scoped_options(world, node));
        let places: Vec<(&Network, Ipv4Addr, Cow<'_, Options>)> = self
            .link
            .iter()
            .filter_map(|(at, server)| {
                let network = config.networks.get(*at)?;
                Some((network, *server, options_for(&config.options, network, &own)))
            })
            .collect();
        let places: Vec<Place<'_>> = places
            .iter()
            .map(|(network, server, options)| Place {
                network,
                server: *server,
                server_identifier: request.client.relay.server.unwrap_or(*server),
                options,
            })
            .collect();
        let Some((place, shared)) = places.split_first() else { return Decision::default() };
        let Place { network, server, server_identifier, options } = *place;
        let view = View {
            world,
            network,
            shared,
            server,
            server_identifier,
            firmware,
            http_port: config.http_port,
            domain: config.domain.as_deref(),
            names: self.names,
            options,
            serves_strangers: has_room(world, config.enrolment.max_unknown, *at),
        };
        match network.dhcp {
            DhcpMode::Proxy => assist(request, &view, *at),
            _ => respond(request, &view, *at),
        }
    }

    /// Decides, and writes down what follows.
    fn decide(&self, tx: &mut Tx) -> Result<Decision, AppError> {
        let Self { request, config, firmware, at, .. } = self;
        let (at, mac) = (*at, request.client.mac);
        let before = tx.world().kept_node_with_mac(mac);
        let mut decision = self.decision(tx.world(), before.as_deref());
        let named = decision.reservation.as_ref().and_then(|reserved| reserved.name.clone());
        // Who gets nothing leaves no trace: a flood must not fill the store.
        if before.is_none() && decision.reply.is_none() {
            return Ok(decision);
        }
        let mut node = if let Some(node) = &before {
            Arc::clone(node)
        } else {
            let fresh = fresh_id(tx.world(), at)?;
            Arc::new(discover(tx, fresh, mac, named, config.enrolment.max_unknown, at))
        };
        let reservation = decision.reservation.as_ref();
        if let Some(port) = reservation.filter(|port| takes_over(tx.world(), &decision.changes, port)) {
            name_by_port(tx, Arc::make_mut(&mut node), port, at);
        }
        for change in std::mem::take(&mut decision.changes) {
            match reserved_if_trusted(change, &node) {
                Change::PutLease(lease) if lease.state == LeaseState::Offered => {
                    tx.put_passing(Change::PutLease(lease));
                }
                change => tx.put(change),
            }
        }
        let (kind, uuid) = (&request.client.kind, request.client.uuid.clone());
        let event = decision.event.take().filter(|event| before.is_none() || is_kept(kind, event));
        let told = Told { kind, uuid, event };
        let (allowlist, lately) = (self.allowlist.as_deref(), self.lately.as_ref());
        keep_node(tx, before.as_ref(), node, told, &Rules { config, firmware, allowlist, lately }, at)?;
        Ok(decision)
    }
}

/// The options that an operator configured for a node's group and for the node, the farther first.
fn scoped_options(world: &World, node: &Node) -> Vec<Options> {
    let group = node.group.clone().map(Scope::Group);
    let scopes = group.into_iter().chain([Scope::Node(node.id)]);
    // They were checked when they were set.
    scopes.filter_map(|scope| from_table(world.variables(&scope)?.get(OPTIONS_VARIABLE)?).ok()).collect()
}

/// The options that an operator configured: of the appliance, the network, the node's group and the node, the nearer ones counting.
fn options_for<'a>(all: &'a Options, network: &'a Network, own: &[Options]) -> Cow<'a, Options> {
    match (all.is_empty(), own) {
        (true, []) => Cow::Borrowed(&network.options),
        _ => Cow::Owned(merge([all, &network.options].into_iter().chain(own))),
    }
}

/// Records a node that was never seen before, one of at most `most` that nobody approved. The caller puts it.
pub(super) fn discover(
    tx: &mut Tx,
    id: NodeId,
    mac: MacAddr,
    named: Option<NodeName>,
    most: usize,
    at: Timestamp,
) -> Node {
    make_room(tx, most, at);
    let named = named.filter(|name| tx.world().node_named(name).is_none());
    let name = named.unwrap_or_else(|| free_name(tx.world(), mac, id));
    let node = Node::discovered(id, name, mac, at);
    tx.append(at, Some(&node), None, EventKind::Discovered { mac });
    node
}

/// The id of a node that is first seen now.
pub(super) fn fresh_id(world: &World, at: Timestamp) -> Result<NodeId, AppError> {
    Ok(world.free_id(NodeId::seen(at, u32::from_be_bytes(random()?))))
}

/// `node-a1b2c3`, of the address's last three octets; of all six, or of the id, when that is taken.
pub(super) fn free_name(world: &World, mac: MacAddr, id: NodeId) -> NodeName {
    let all = hex::encode(mac.0);
    let short = all.get(6..).unwrap_or(&all);
    let named = |end: &str| {
        let name: NodeName = format!("node-{end}").parse().ok()?;
        world.node_named(&name).is_none().then_some(name)
    };
    let free = named(short).or_else(|| named(&all)).or_else(|| named(&id.to_string()));
    // The id is drawn for this node alone, so its name can only be free.
    free.unwrap_or_else(|| unreachable!("a name of hexadecimal digits that nobody has"))
}

/// An approved node's address is nobody else's for ever.
fn reserved_if_trusted(change: Change, node: &Node) -> Change {
    match change {
        // One that was declined, or left for another, is not its own any more.
        Change::PutLease(lease)
            if node.state.is_trusted() && matches!(lease.state, LeaseState::Bound | LeaseState::Offered) =>
        {
            Change::PutLease(Lease { reserved: true, ..lease })
        }
        other => other,
    }
}

/// What a client that does not boot is offered is not worth a write: what it takes is.
fn is_kept(kind: &ClientKind, event: &EventKind) -> bool {
    let offer = matches!(event, EventKind::Dhcp { message, .. } if message == "offer");
    !(offer && matches!(kind, ClientKind::Other(_)))
}

/// What an exchange told of a node.
pub(super) struct Told<'a> {
    /// What the client says it is.
    pub kind: &'a ClientKind,
    /// Its SMBIOS UUID, where it told one.
    pub uuid: Option<String>,
    /// What comes on the timeline.
    pub event: Option<EventKind>,
}

/// What an operator set, as far as it concerns a node that asks for an address.
pub(super) struct Rules<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Which boot file which firmware gets.
    pub firmware: &'a FirmwareTable,
    /// Who may join unasked.
    pub allowlist: Option<&'a Allowlist>,
    /// What nodes did lately.
    pub lately: &'a Lately,
}

/// Writes down what became of a node in an exchange: `before` is as it was, none for one that was seen for the first time.
pub(super) fn keep_node(
    tx: &mut Tx,
    before: Option<&Arc<Node>>,
    mut node: Arc<Node>,
    told: Told<'_>,
    rules: &Rules<'_>,
    at: Timestamp,
) -> Result<(), AppError> {
    learn(tx, &mut node, told.kind, told.uuid, rules, at);
    if let Some(kind) = told.event.filter(|kind| rules.lately.is_news(node.id, kind, at)) {
        tx.append(at, Some(&node), None, kind);
    }
    if before.is_none() {
        admit(tx, Arc::make_mut(&mut node), rules.config, rules.allowlist, None, at)?;
    }
    if before != Some(&node) {
        tx.put(Change::PutNode(node));
    }
    Ok(())
}

/// Keeps what the firmware tells of itself.
fn learn(
    tx: &mut Tx,
    node: &mut Arc<Node>,
    kind: &ClientKind,
    uuid: Option<String>,
    rules: &Rules<'_>,
    at: Timestamp,
) {
    let entry = kind.architecture().and_then(|code| rules.firmware.of_architecture(code));
    let Some(entry) = entry else { return };
    let uuid = uuid.or_else(|| node.uuid.clone());
    if (node.arch, node.firmware, &node.uuid) == (Some(entry.arch), Some(entry.firmware), &uuid) {
        return;
    }
    let changed = Arc::make_mut(node);
    (changed.arch, changed.firmware, changed.uuid) = (Some(entry.arch), Some(entry.firmware), uuid.clone());
    let kind = EventKind::Firmware { firmware: entry.firmware, uuid };
    if rules.lately.is_news(node.id, &kind, at) {
        tx.append(at, Some(node), None, kind);
    }
}
