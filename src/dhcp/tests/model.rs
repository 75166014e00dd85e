//! The pool against a model of it: what may happen, said with sets and without an index or an order of search, for any sequence
//! of messages, imports, changes of the configuration and restarts, on a shared link and behind a relay.

use std::collections::{BTreeMap, BTreeSet};

use dhcproto::v4::{DhcpOption as O, MessageType as M};
use proptest::prelude::*;

use super::networks::{Site, circuit, relayed, subnet};
use super::*;
use crate::model::{Change, ClientKey, Reservation, Reservations};

const OFFER_MS: u64 = 60_000;
const DECLINED_MS: u64 = 600_000;
const UUID: &str = "04030201-0605-0807-090a-0b0c0d0e0f";

/// What is known of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    mac: MacAddr,
    state: LeaseState,
    until: u64,
    pinned: bool,
}

/// Who asks, and what it tells of itself, in the order in which that counts.
struct Who {
    mac: MacAddr,
    keys: Vec<ClientKey>,
}

/// What may be answered.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Silence,
    Offer(BTreeSet<Ipv4Addr>),
    Ack(Ipv4Addr),
    Nak,
    /// As good a choice as others that ran out at the same moment.
    AckOrNak(Ipv4Addr),
}

#[derive(Debug, Clone, Default)]
struct Model(BTreeMap<Ipv4Addr, Record>);

fn reserved(network: &Network, who: &Who) -> Option<Ipv4Addr> {
    let all: Vec<&Reservation> = network.reservations.iter().collect();
    who.keys.iter().find_map(|key| all.iter().find(|one| one.key == *key)).map(|one| one.ip)
}

fn is_a_servers(network: &Network, ip: Ipv4Addr) -> bool {
    ip == SERVER || network.gateway == Some(ip) || network.dns.contains(&ip)
}

/// Addresses that are anybody's.
fn usable(network: &Network) -> BTreeSet<Ipv4Addr> {
    let in_ranges = network.ranges.iter().flat_map(|range| range.first.to_bits()..=range.last.to_bits());
    let is_free = |ip: &Ipv4Addr| {
        !network.exclude.iter().any(|range| range.contains(*ip))
            && !network.reservations.iter().any(|one| one.ip == *ip)
            && !is_a_servers(network, *ip)
    };
    in_ranges.map(Ipv4Addr::from_bits).filter(is_free).collect()
}

/// Whether a client says that it is another than the one with this key.
fn denies(who: &Who, holder: &ClientKey) -> bool {
    let kind = |key: &ClientKey| match key {
        ClientKey::Mac(_) => 0,
        ClientKey::ClientId(_) => 1,
        ClientKey::Uuid(_) => 2,
        ClientKey::CircuitId(_) => 3,
        ClientKey::SwitchPort { .. } => 4,
    };
    who.keys.iter().any(|key| kind(key) == kind(holder)) && !who.keys.contains(holder)
}

impl Model {
    /// What a client has a lasting claim to.
    fn kept(&self, network: &Network, who: &Who) -> BTreeSet<Ipv4Addr> {
        let may_keep = |ip: Ipv4Addr, record: &Record| {
            let holder = network.reservations.iter().find(|one| one.ip == ip);
            match (reserved(network, who), holder) {
                (Some(reserved), _) => reserved == ip,
                (None, Some(holder)) => !denies(who, &holder.key) && !is_a_servers(network, ip),
                (None, None) if record.pinned => !is_a_servers(network, ip),
                (None, None) => usable(network).contains(&ip),
            }
        };
        let here =
            self.0.iter().filter(|(ip, record)| network.subnet.has_host(**ip) && record.mac == who.mac);
        here.filter(|(ip, record)| record.state != LeaseState::Declined && may_keep(**ip, record))
            .map(|(ip, _)| *ip)
            .collect()
    }

    fn keeps(&self, network: &Network, who: &Who, ip: Ipv4Addr) -> bool {
        let kept = self.kept(network, who);
        kept.contains(&ip) && (self.0[&ip].pinned || kept.iter().all(|ip| !self.0[ip].pinned))
    }

    /// Whether nobody but this client may use an address now.
    fn is_anothers(&self, ip: Ipv4Addr, mac: MacAddr, now: u64) -> bool {
        self.0.get(&ip).is_some_and(|record| match record.state {
            LeaseState::Released => false,
            LeaseState::Declined => record.until > now,
            LeaseState::Bound | LeaseState::Offered => record.mac != mac && record.until > now,
        })
    }

    /// The addresses that a client may be given; none: silence.
    fn choices(&self, network: &Network, who: &Who, wish: Option<Ipv4Addr>, now: u64) -> BTreeSet<Ipv4Addr> {
        if let Some(ip) = reserved(network, who) {
            return Some(ip).filter(|ip| !self.is_anothers(*ip, who.mac, now)).into_iter().collect();
        }
        let kept = self.kept(network, who);
        if !kept.is_empty() {
            let rank = |ip: &Ipv4Addr| {
                let record = &self.0[ip];
                (record.pinned, record.state == LeaseState::Bound, record.until)
            };
            let best = kept.iter().map(rank).max();
            return kept.into_iter().filter(|ip| Some(rank(ip)) == best).collect();
        }
        let usable = usable(network);
        let free: BTreeSet<Ipv4Addr> =
            usable.iter().filter(|ip| !self.0.contains_key(*ip)).copied().collect();
        if let Some(wish) = wish.filter(|wish| free.contains(wish)) {
            return [wish].into();
        }
        if !free.is_empty() {
            return free;
        }
        let run_out = |ip: &&Ipv4Addr| self.0[*ip].until <= now && !self.0[*ip].pinned;
        let longest_ago = usable.iter().filter(run_out).map(|ip| self.0[ip].until).min();
        usable.iter().filter(run_out).filter(|ip| Some(self.0[*ip].until) == longest_ago).copied().collect()
    }

    /// The network of a link on which a client is served.
    fn place<'n>(
        &self,
        link: &[&'n Network],
        who: &Who,
        discovers: bool,
        asked: Option<Ipv4Addr>,
        now: u64,
    ) -> &'n Network {
        let gives = |network: &&&Network| !self.choices(network, who, asked, now).is_empty();
        let knows =
            |network: &&&Network| reserved(network, who).is_some() || !self.kept(network, who).is_empty();
        let holds = |network: &&&Network| asked.is_some_and(|ip| network.subnet.has_host(ip));
        let own = link.iter().find(knows).filter(|_| discovers);
        let held = link.iter().find(holds).filter(|network| !discovers || gives(network));
        own.or(held).or_else(|| link.iter().find(gives)).unwrap_or(&link[0])
    }

    /// What is answered to a message, and on which network.
    fn expect(&self, network: &Network, who: &Who, message: Asked, now: u64) -> Answer {
        match message {
            Asked::Discover(wish) => {
                let choices = self.choices(network, who, wish, now);
                if choices.is_empty() { Answer::Silence } else { Answer::Offer(choices) }
            }
            Asked::Select(ip) | Asked::Reboot(ip) | Asked::Renew(ip) | Asked::Rebind(ip)
                if self.keeps(network, who, ip) =>
            {
                Answer::Ack(ip)
            }
            Asked::Select(ip) => {
                let choices = self.choices(network, who, Some(ip), now);
                match choices.contains(&ip) {
                    true if choices.len() == 1 => Answer::Ack(ip),
                    true => Answer::AckOrNak(ip),
                    false => Answer::Nak,
                }
            }
            Asked::Reboot(ip) => {
                let had = self.0.get(&ip).is_some_and(|record| record.mac == who.mac);
                let known = had || !network.subnet.has_host(ip) || !self.kept(network, who).is_empty();
                if known { Answer::Nak } else { Answer::Silence }
            }
            Asked::Renew(_) | Asked::Rebind(_) => Answer::Nak,
            Asked::Release(_) | Asked::Decline(_) => Answer::Silence,
        }
    }

    /// A lease that its client does not use any more.
    fn give_up(&mut self, ip: Ipv4Addr, mac: MacAddr, now: u64) {
        if let Some(record) = self.0.get_mut(&ip)
            && (record.mac, record.state) == (mac, LeaseState::Bound)
            && record.until > now
        {
            (record.state, record.until, record.pinned) = (LeaseState::Released, now, false);
        }
    }

    /// What becomes of the leases.
    fn update(
        &mut self,
        link: &[&Network],
        network: &Network,
        who: &Who,
        asked: Asked,
        told: Told,
        now: u64,
    ) {
        let mac = who.mac;
        let pinned =
            |model: &Self, ip| model.0.get(&ip).is_some_and(|one: &Record| one.mac == mac && one.pinned);
        match (asked, told) {
            (_, Told::Offer(ip)) => {
                let own = self.0.get(&ip).filter(|record| record.mac == mac);
                if !own.is_some_and(|own| matches!(own.state, LeaseState::Bound | LeaseState::Released)) {
                    let pinned = pinned(self, ip);
                    let (state, until) = (LeaseState::Offered, now + OFFER_MS);
                    self.0.insert(ip, Record { mac, state, until, pinned });
                }
            }
            (_, Told::Ack(ip)) => {
                let until = now + u64::try_from(network.lease.as_millis()).expect("a short lease");
                let (pinned, state) = (pinned(self, ip), LeaseState::Bound);
                let on_link = |ip: &Ipv4Addr| link.iter().any(|network| network.subnet.contains(*ip));
                let others: Vec<Ipv4Addr> =
                    self.0.keys().copied().filter(|other| *other != ip && on_link(other)).collect();
                for other in others {
                    self.give_up(other, mac, now);
                }
                self.0.insert(ip, Record { mac, state, until, pinned });
            }
            (Asked::Select(ip) | Asked::Reboot(ip) | Asked::Renew(ip) | Asked::Rebind(ip), Told::Nak)
                if network.subnet.contains(ip) =>
            {
                self.give_up(ip, mac, now);
            }
            (Asked::Release(ip), _) if self.keeps(network, who, ip) => {
                let record = self.0.get_mut(&ip).expect("it is kept");
                (record.state, record.until) = (LeaseState::Released, now);
            }
            (Asked::Decline(ip), _) if self.keeps(network, who, ip) => {
                let (state, until) = (LeaseState::Declined, now + DECLINED_MS);
                self.0.insert(ip, Record { mac, state, until, pinned: false });
            }
            _ => {}
        }
    }
}

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Discover(Option<Ipv4Addr>),
    Select(Ipv4Addr),
    Reboot(Ipv4Addr),
    /// By unicast, past relays.
    Renew(Ipv4Addr),
    /// By broadcast, from wherever the client is now.
    Rebind(Ipv4Addr),
    Release(Ipv4Addr),
    Decline(Ipv4Addr),
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Offer(Ipv4Addr),
    Ack(Ipv4Addr),
    Nak,
}

/// What of itself a client tells.
#[derive(Debug, Clone, Copy)]
struct Tells {
    uuid: bool,
    id: Option<u8>,
    port: Option<u8>,
    /// Behind the relay, rather than on the link of two networks.
    relayed: bool,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Discover(Option<usize>),
    /// Takes, gives back, finds in use what it was told last.
    Select,
    Release,
    Decline,
    Reboot(usize),
    Renew(usize),
    Rebind(usize),
    Wait(u64),
    Import {
        address: usize,
        life: u64,
        reserved: bool,
    },
    Configure(usize),
    /// Offers are forgotten.
    Restart,
}

/// The addresses that clients ask for.
fn address(n: usize) -> Ipv4Addr {
    let all = [
        "77.0.100", "77.0.101", "77.0.102", "77.0.103", "77.0.50", "79.0.100", "79.0.101", "78.0.100",
        "78.0.101", "78.0.50",
    ];
    format!("10.{}", all[n % all.len()]).parse().expect("an address")
}

fn uuid_of(n: u8) -> String {
    format!("{UUID}{n:02x}")
}

/// Two networks on one link and one behind a relay; what is reserved and excluded differs.
fn configuration(variant: usize) -> Vec<Network> {
    let reserving = |network: Network, all: Vec<(ClientKey, usize)>| {
        let mut reservations = Reservations::default();
        for (key, n) in all {
            reservations.add(Reservation { key, ip: address(n), name: None }).expect("no other of it");
        }
        Network { reservations, ..network }
    };
    let ranges = |text: &str| vec![text.parse().expect("a range")];
    let first = Network { ranges: ranges("10.77.0.100-10.77.0.103"), ..network() };
    let second = Network { interface: Some("br0".into()), ..subnet(79) };
    let far = subnet(78);
    let id = |n: u8| ClientKey::ClientId(vec![255, n]);
    let port = |n: u8| ClientKey::CircuitId(vec![b'e', n]);
    match variant % 3 {
        0 => vec![first, second, far],
        1 => vec![
            reserving(first, vec![(ClientKey::Mac(mac(1)), 3), (ClientKey::Uuid(uuid_of(2)), 4), (id(3), 1)]),
            second,
            reserving(far, vec![(port(1), 9), (ClientKey::Uuid(uuid_of(1)), 8)]),
        ],
        _ => {
            let exclude = ranges("10.77.0.102-10.77.0.102");
            vec![
                reserving(Network { exclude, ..first }, vec![(ClientKey::Mac(mac(2)), 1)]),
                reserving(second, vec![(ClientKey::Uuid(uuid_of(1)), 6)]),
                reserving(far, vec![(port(2), 8), (id(0), 9)]),
            ]
        }
    }
}

fn steps(most: usize) -> impl Strategy<Value = Vec<(u8, Tells, Step)>> {
    let kind = prop_oneof![
        6 => prop::option::weighted(0.3, 0..10_usize).prop_map(Step::Discover),
        6 => Just(Step::Select),
        2 => (0..10_usize).prop_map(Step::Reboot),
        3 => (0..10_usize).prop_map(Step::Renew),
        3 => (0..10_usize).prop_map(Step::Rebind),
        2 => Just(Step::Release),
        2 => Just(Step::Decline),
        2 => (0..5_000_000_u64).prop_map(Step::Wait),
        1 => (0..10_usize, 0..5_000_000_u64, any::<bool>())
            .prop_map(|(address, life, reserved)| Step::Import { address, life, reserved }),
        1 => (0..3_usize).prop_map(Step::Configure),
        1 => Just(Step::Restart),
    ];
    let id = prop::option::weighted(0.4, 0..4_u8);
    let tells = (any::<bool>(), id, prop::option::weighted(0.7, 0..3_u8), prop::bool::weighted(0.4));
    let tells = tells.prop_map(|(uuid, id, port, relayed)| Tells { uuid, id, port, relayed });
    prop::collection::vec((0..6_u8, tells, kind), 1..most)
}

/// Us, the model, and what clients were promised.
struct Run {
    site: Site,
    /// What a restart reads.
    disk: World,
    model: Model,
    durable: Model,
    now: u64,
    last: BTreeMap<u8, Ipv4Addr>,
    promised: BTreeMap<Ipv4Addr, (MacAddr, u64)>,
    log: Vec<Told>,
}

impl Run {
    fn new() -> Self {
        Self {
            site: Site::new(configuration(0)),
            disk: World::default(),
            model: Model::default(),
            durable: Model::default(),
            now: 1_000_000,
            last: BTreeMap::new(),
            promised: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    fn play(steps: &[(u8, Tells, Step)]) -> Self {
        let mut run = Self::new();
        for (n, tells, step) in steps {
            run.now += 10;
            run.step(*n, *tells, *step);
            run.compare();
        }
        run
    }

    fn step(&mut self, n: u8, tells: Tells, step: Step) {
        let last = self.last.get(&n).copied().unwrap_or(address(0));
        let asked = match step {
            Step::Discover(wish) => Asked::Discover(wish.map(address)),
            Step::Select => Asked::Select(last),
            Step::Release => Asked::Release(last),
            Step::Decline => Asked::Decline(last),
            Step::Reboot(n) => Asked::Reboot(address(n)),
            Step::Renew(n) => Asked::Renew(address(n)),
            Step::Rebind(n) => Asked::Rebind(address(n)),
            Step::Wait(millis) => {
                self.now += millis;
                return;
            }
            Step::Configure(variant) => {
                self.site.networks = configuration(variant);
                return;
            }
            Step::Restart => {
                self.site.world = self.disk.clone();
                self.model = self.durable.clone();
                return;
            }
            Step::Import { address: n_th, life, reserved } => {
                return self.import(n, address(n_th), life, reserved);
            }
        };
        self.ask(n, tells, asked);
    }

    /// As the appliance takes a lease over: not what somebody else has.
    fn import(&mut self, n: u8, ip: Ipv4Addr, life: u64, pinned: bool) {
        let (mac, until) = (mac(n), self.now + life);
        let networks = &self.site.networks;
        let held =
            self.model.0.get(&ip).is_some_and(|one| one.mac != mac && (one.pinned || one.until > self.now));
        if held || networks.iter().any(|network| network.reservations.holder(ip).is_some()) {
            return;
        }
        let state = LeaseState::Bound;
        let lease = Lease { ip, mac, state, expires: Timestamp(until), reserved: pinned, hostname: None };
        for world in [&mut self.site.world, &mut self.disk] {
            world.apply(&Change::PutLease(lease.clone()));
        }
        for model in [&mut self.model, &mut self.durable] {
            model.0.insert(ip, Record { mac, state, until, pinned });
        }
        self.promised.remove(&ip);
    }

    fn ask(&mut self, n: u8, tells: Tells, asked: Asked) {
        let (now, mac) = (self.now, mac(n));
        let (ciaddr, wish) = match asked {
            Asked::Discover(wish) => (None, wish),
            Asked::Select(ip) | Asked::Reboot(ip) | Asked::Decline(ip) => (None, Some(ip)),
            Asked::Renew(ip) | Asked::Rebind(ip) | Asked::Release(ip) => (Some(ip), None),
        };
        let request = request(n, tells, asked, ciaddr, wish);
        // Past the relay a client speaks for itself, and only its address tells where it is.
        let past_relay = matches!(asked, Asked::Renew(_) | Asked::Release(_));
        let through_relay = tells.relayed && !past_relay;
        let far = through_relay || (past_relay && ciaddr.is_some_and(|ip| ip.octets()[1] == 78));
        let mut keys = vec![ClientKey::Mac(mac)];
        keys.extend(tells.id.map(|id| ClientKey::ClientId(vec![255, id])));
        keys.extend(tells.uuid.then(|| ClientKey::Uuid(uuid_of(n))));
        keys.extend(tells.port.filter(|_| through_relay).map(|port| ClientKey::CircuitId(vec![b'e', port])));
        let who = Who { mac, keys };
        let networks = self.site.networks.clone();
        let link: Vec<&Network> = if far { vec![&networks[2]] } else { vec![&networks[0], &networks[1]] };
        let discovers = matches!(asked, Asked::Discover(_));
        let network = self.model.place(&link, &who, discovers, ciaddr.or(wish), now);
        let expected = self.model.expect(network, &who, asked, now);

        let decision = self.site.ask(&request, now);
        let reply = decision.reply.as_ref().map(|reply| &reply.message);
        let told = match reply.map(|reply| (reply.opts().msg_type(), reply.yiaddr())) {
            None => Told::Nothing,
            Some((Some(M::Offer), ip)) => Told::Offer(ip),
            Some((Some(M::Ack), ip)) => Told::Ack(ip),
            Some((kind, _)) => {
                assert_eq!(kind, Some(M::Nak));
                Told::Nak
            }
        };
        let fits = match (&expected, told) {
            (Answer::Silence, Told::Nothing) | (Answer::Nak | Answer::AckOrNak(_), Told::Nak) => true,
            (Answer::Offer(choices), Told::Offer(ip)) => choices.contains(&ip),
            (Answer::Ack(expected) | Answer::AckOrNak(expected), Told::Ack(ip)) => ip == *expected,
            _ => false,
        };
        assert!(fits, "client {n}, {tells:?}, {asked:?}: {expected:?} may be told, not {told:?}");

        for change in &decision.changes {
            if !matches!(change, Change::PutLease(lease) if lease.state == LeaseState::Offered) {
                self.disk.apply(change);
            }
        }
        self.model.update(&link, network, &who, asked, told, now);
        for (ip, record) in self.model.0.iter().filter(|(_, record)| record.state != LeaseState::Offered) {
            self.durable.0.insert(*ip, record.clone());
        }
        self.promise(&link, mac, asked, told, network);
        self.log.push(told);
        if let Told::Offer(ip) | Told::Ack(ip) = told {
            self.last.insert(n, ip);
        }
    }

    /// Nobody is told of an address that another may still use.
    fn promise(&mut self, link: &[&Network], mac: MacAddr, asked: Asked, told: Told, network: &Network) {
        let now = self.now;
        match (told, asked) {
            (Told::Offer(ip) | Told::Ack(ip), _) => {
                let held = self.promised.get(&ip).filter(|(holder, until)| *holder != mac && *until > now);
                assert_eq!(held, None, "{ip} is told to {mac}");
                if told == Told::Ack(ip) {
                    let on_link = |ip: &Ipv4Addr| link.iter().any(|network| network.subnet.contains(*ip));
                    self.promised.retain(|other, (holder, _)| *holder != mac || !on_link(other));
                    self.promised
                        .insert(ip, (mac, now + u64::try_from(network.lease.as_millis()).expect("short")));
                }
            }
            (Told::Nak, Asked::Select(ip) | Asked::Reboot(ip) | Asked::Renew(ip) | Asked::Rebind(ip))
            | (Told::Nothing, Asked::Release(ip) | Asked::Decline(ip)) => {
                self.promised.retain(|other, (holder, _)| *other != ip || *holder != mac);
            }
            _ => {}
        }
    }

    fn compare(&self) {
        let of = |world: &World| -> BTreeMap<Ipv4Addr, Record> {
            let record = |lease: &Lease| {
                let Lease { mac, state, expires, reserved, .. } = *lease;
                (lease.ip, Record { mac, state, until: expires.0, pinned: reserved })
            };
            world.leases().map(record).collect()
        };
        assert_eq!(of(&self.site.world), self.model.0, "in memory");
        assert_eq!(of(&self.disk), self.durable.0, "after a restart");
    }
}

fn request(n: u8, tells: Tells, asked: Asked, ciaddr: Option<Ipv4Addr>, wish: Option<Ipv4Addr>) -> Request {
    let (kind, ours) = match asked {
        Asked::Discover(_) => (M::Discover, false),
        Asked::Select(_) => (M::Request, true),
        Asked::Reboot(_) | Asked::Renew(_) | Asked::Rebind(_) => (M::Request, false),
        Asked::Release(_) => (M::Release, true),
        Asked::Decline(_) => (M::Decline, true),
    };
    let mut options: Vec<O> = wish.map(O::RequestedIpAddress).into_iter().collect();
    options.extend(ours.then_some(O::ServerIdentifier(SERVER)));
    options.extend(tells.id.map(|id| O::ClientIdentifier(vec![255, id])));
    if tells.uuid {
        let mut told: Vec<u8> = (0..17).collect();
        told[16] = n;
        options.push(O::ClientMachineIdentifier(told));
    }
    let mut message = message(n, kind, options);
    message.set_ciaddr(ciaddr.unwrap_or(Ipv4Addr::UNSPECIFIED));
    if matches!(asked, Asked::Renew(_) | Asked::Release(_)) {
        Request::new(message).expect("a request").sent(Cast::Unicast)
    } else if tells.relayed {
        let port = tells.port.map(|port| char::from(b'0' + port));
        let agent = port.map_or_else(Vec::new, |port| {
            let mut agent = circuit(&format!("e{port}"));
            agent[3] -= b'0';
            agent
        });
        relayed(message, "10.78.0.1", &agent)
    } else {
        Request::new(message).expect("a request")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_pool_does_what_the_model_allows(steps in steps(80)) {
        Run::play(&steps);
    }

    #[test]
    fn any_sequence_twice_gives_the_same_leases(steps in steps(60)) {
        let (first, second) = (Run::play(&steps), Run::play(&steps));
        prop_assert_eq!(first.log, second.log);
        let leases = |world: &World| world.leases().cloned().collect::<Vec<_>>();
        prop_assert_eq!(leases(&first.site.world), leases(&second.site.world));
    }
}
