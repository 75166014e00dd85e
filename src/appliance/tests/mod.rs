//! A fleet in memory: the appliance as it is, and hosts whose agents do what they are told, at once.

mod glance;
mod leaving;
mod quorum;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::*;
use crate::boot::{Instruction, Place};
use crate::bundle::Bundle;
use crate::bundle::desired::{Applied, ApplyResult, Outcome};
use crate::cluster::{MemberState, RoleRule};
use crate::model::{
    Certificate, Change, Lease, LeaseState, MacAddr, Node, NodeId, Order, Sha256Digest, State,
};

/// A host and its agent.
#[expect(clippy::struct_excessive_bools, reason = "what a test says of it")]
#[derive(Default)]
struct Host {
    applied: Applied,
    /// Whether nothing comes from it any more.
    dead: bool,
    /// Whether its bundles do not take their leave, and whether the dead do not go off its lists.
    stuck: bool,
    drained: bool,
    left: bool,
    evicted: Vec<Evicted>,
}

/// The appliance, and hosts by their number: `n1` has 1.
struct Fleet {
    appliance: Arc<Appliance>,
    hosts: BTreeMap<u8, Host>,
    _folder: TempDir,
}

fn actor() -> Actor {
    Actor("root".into())
}

fn fingerprint(n: u8) -> Sha256Digest {
    Sha256Digest::of(&[n])
}

fn caller(n: u8) -> Caller {
    Caller::Certificate { fingerprint: fingerprint(n), ip: Ipv4Addr::new(10, 77, 0, n) }
}

fn selector(n: u8) -> Selector {
    Selector::new(format!("n{n}"))
}

/// An appliance whose state is below this folder, with one network that has these lines.
async fn appliance(folder: &Path, lines: &str) -> Arc<Appliance> {
    let state = folder.join("state");
    std::fs::create_dir_all(&state).expect("a folder");
    let text = format!(
        "state_dir = \"{}\"\ndomain = \"mgmt.example\"\n[[network]]\ninterface = \"eth0\"\nsubnet = \"10.77.0.0/24\"\n{lines}\n",
        state.display()
    );
    Arc::new(Appliance::new(
        Arc::new(Config::parse(&text, Path::new("firstlight.toml")).expect("a configuration")),
        Arc::new(FirmwareTable::new(&[]).expect("the firmware table")),
        Scripts::new(&[]).expect("the scripts"),
        Store::open(&state).expect("a store"),
        Blobs::open(&state).await.expect("blobs"),
        Authority::open(&state.join("ca")).expect("an authority"),
        SecretKey::generate(),
    ))
}

impl Fleet {
    /// A fleet of ready hosts, the first `controls` of them control members of the cluster `prod`, the others workers; each
    /// has a `store`, that must be left, and a `tool`.
    async fn new(hosts: u8, controls: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let appliance = appliance(folder.path(), "dhcp = \"off\"").await;
        let mut fleet = Self { appliance, hosts: BTreeMap::new(), _folder: folder };
        fleet.push("store", "1", "[hooks]\nleave = [\"/bin/true\"]\n").await;
        fleet.push("tool", "1", "").await;
        for n in 1..=hosts {
            fleet.host(n).await;
        }
        let rule = |role: &str, count| RoleRule { role: role.into(), count, group: None };
        let init = InitCluster {
            name: "prod".parse().expect("a name"),
            seed: Some("n1".into()),
            rules: vec![rule("control", Some(controls)), rule("worker", None)],
        };
        fleet.appliance.init_cluster(init, actor()).await.expect("a cluster");
        for n in 2..=hosts {
            let joining = JoinCluster { nodes: vec![format!("n{n}")], role: None };
            let name = "prod".parse().expect("a name");
            fleet.appliance.join_cluster(name, joining, actor()).await.expect("it joins");
        }
        for _ in 0..20 {
            fleet.round().await;
        }
        for n in 1..=hosts {
            assert_eq!(fleet.member(n).map(|member| member.state), Some(MemberState::Member), "n{n}");
        }
        fleet
    }

    async fn push(&self, name: &str, version: &str, rest: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "name = \"{name}\"\nversion = \"{version}\"\n[[file]]\npath = \"/etc/{name}\"\nsource = \"files/it\"\n{rest}"
        );
        std::fs::write(folder.path().join("bundle.toml"), text).expect("a manifest");
        std::fs::create_dir(folder.path().join("files")).expect("a folder");
        std::fs::write(folder.path().join("files/it"), version).expect("a file");
        let archive = Bundle::read(folder.path()).expect("a bundle").pack().expect("an archive");
        let push = PushBundle { archive: STANDARD.encode(archive) };
        self.appliance.push_bundle(push, actor()).await.expect("it is pushed");
    }

    async fn pin(&self, n: u8, bundle: &str) {
        let pin = PinBundles { add: vec![bundle.parse().expect("a bundle")], remove: Vec::new() };
        self.appliance.pin_node_bundles(selector(n), pin, actor()).await.expect("it is pinned");
    }

    async fn host(&mut self, n: u8) {
        let (mac, at) = (MacAddr([2, 0, 0, 0, 0, n]), now());
        let name = format!("n{n}").parse().expect("a name");
        let mut node = Node::discovered(NodeId(n.into()), name, mac, at);
        node.state = State::Ready;
        let expires = Timestamp(u64::MAX);
        node.certificates = vec![Certificate { fingerprint: fingerprint(n), expires }];
        node.observed.boot_id = Some(format!("boot{n}"));
        let ip = Ipv4Addr::new(10, 77, 0, n);
        let lease = Lease { ip, mac, state: LeaseState::Bound, expires, reserved: true, hostname: None };
        self.put(Change::put_node(node)).await;
        self.put(Change::PutLease(lease)).await;
        self.hosts.insert(n, Host::default());
        self.pin(n, "store@1").await;
        self.pin(n, "tool@1").await;
    }

    /// Has a record be so, whatever was before.
    async fn put(&self, change: Change) {
        let put = move |tx: &mut crate::store::Tx| {
            tx.put(change);
            Ok::<_, AppError>(())
        };
        self.appliance.store.transact(put).await.expect("it is written");
    }

    /// The appliance looks at everything once.
    async fn look(&self) {
        let changes = self.appliance.look();
        self.appliance.put_clusters(changes).await.expect("clusters are written");
    }

    /// A sign of life of a host, and what it is told.
    async fn ask(&mut self, n: u8) -> Orders {
        let host = self.hosts.get_mut(&n).expect("a host");
        let check_in = CheckIn {
            place: Place::Host,
            boot_id: format!("boot{n}"),
            kernel: "6".into(),
            phase: "ready".into(),
            message: String::new(),
            progress: None,
            drained: host.drained,
            left: host.left,
            busy: Some(false),
            os: None,
            image: None,
            disk: None,
            bundles: Some(host.applied.clone()),
            serf: None,
            evicted: std::mem::take(&mut host.evicted),
        };
        self.appliance.check_in(caller(n), check_in).await.expect("orders")
    }

    /// The agent of a host does what it is told.
    async fn obey(&mut self, n: u8, orders: Orders) {
        if let Some(generation) = orders.generation {
            let desired = self.appliance.desired_of(caller(n), &generation).expect("a generation");
            let (host, names) = (self.hosts.get_mut(&n).expect("a host"), desired.names());
            let goes = host.applied.bundles.iter().any(|had| had.starts_with("store@"))
                && !names.iter().any(|has| has.starts_with("store@"));
            let (result, reason) = if goes && host.stuck {
                (ApplyResult::RolledBack, "hook `leave`: nobody answers")
            } else {
                host.applied =
                    Applied { generation: generation.clone(), bundles: names.clone(), ..Applied::default() };
                (ApplyResult::Applied, "")
            };
            let report = JobReport {
                kind: "apply".into(),
                subject: generation.clone(),
                bundles: names,
                ..JobReport::default()
            };
            let outcome = Outcome {
                generation,
                result,
                reason: reason.into(),
                bundle: None,
                changes: Vec::new(),
                left_over: Vec::new(),
                elapsed_ms: 1,
            };
            let ended = JobReport { outcome: Some(outcome), ..report.clone() };
            self.appliance.job_report(caller(n), report).await.expect("it is told");
            self.appliance.job_report(caller(n), ended).await.expect("it is told");
        }
        let host = self.hosts.get_mut(&n).expect("a host");
        let error = if host.stuck { "nobody answers" } else { "" };
        host.evicted =
            orders.evict.into_iter().map(|one| Evicted { name: one.name, error: error.into() }).collect();
        match orders.instruction {
            Instruction::Drain => {
                host.left = orders.leave && !host.stuck;
                host.drained = host.left || !orders.leave || orders.force;
            }
            Instruction::Reboot { .. } => host.dead = true,
            _ => {}
        }
    }

    /// A look, and a sign of life of everybody.
    async fn round(&mut self) {
        self.look().await;
        let alive: Vec<u8> = self.hosts.iter().filter(|(_, host)| !host.dead).map(|(n, _)| *n).collect();
        for n in alive {
            let orders = self.ask(n).await;
            self.obey(n, orders).await;
        }
    }

    async fn rounds(&mut self) {
        for _ in 0..6 {
            self.round().await;
        }
    }

    /// Nothing comes from a host any more, and has not for long.
    async fn die(&mut self, n: u8) {
        self.hosts.get_mut(&n).expect("a host").dead = true;
        self.appliance.presence.forget(NodeId(n.into()));
        self.look().await;
    }

    async fn order(&self, n: u8, order: Order, force: bool) -> Result<String, String> {
        let done = self.appliance.order(selector(n), order, force, actor()).await;
        done.map(|view| view.node.state.name().to_owned()).map_err(|error| error.to_string())
    }

    async fn retire(&self, n: u8, wipe: bool, force: bool) -> Result<String, String> {
        let done = self.appliance.retire(selector(n), wipe, force, actor()).await;
        done.map(|view| view.node.state.name().to_owned()).map_err(|error| error.to_string())
    }

    async fn leave(&self, n: u8, force: bool) -> Result<(), String> {
        let leaving = LeaveCluster { node: format!("n{n}"), role: None, force };
        let left = self.appliance.leave_cluster("prod".parse().expect("a name"), leaving, actor()).await;
        left.map(drop).map_err(|error| error.to_string())
    }

    async fn set_role(&self, n: u8, role: &str, force: bool) -> Result<(), String> {
        let change = NodeChange { role: Some(role.into()), force, ..NodeChange::default() };
        let set = self.appliance.set_node(selector(n), change, actor()).await;
        set.map(drop).map_err(|error| error.to_string())
    }

    fn member(&self, n: u8) -> Option<MemberView> {
        let cluster = self.appliance.cluster(&"prod".parse().expect("a name")).expect("a cluster");
        cluster.members.into_iter().find(|member| member.node.as_str() == format!("n{n}"))
    }

    /// Role and state of a member: `control member`; empty: it is none.
    fn place(&self, n: u8) -> String {
        let told = |member: MemberView| {
            format!("{} {:?}", member.role.unwrap_or_default(), member.state).to_lowercase()
        };
        self.member(n).map(told).unwrap_or_default()
    }

    fn state(&self, n: u8) -> &'static str {
        let world = self.appliance.view();
        world.node(NodeId(n.into())).map_or("", |node| node.state.name())
    }

    /// All that happened, a line each.
    fn events(&self) -> String {
        let events = self.appliance.events(None, None, 10_000).expect("events");
        let lines: Vec<String> = events.iter().map(|event| event.kind.to_string()).collect();
        lines.join("\n")
    }

    fn jobs(&self, n: u8) -> usize {
        self.appliance.jobs(Some(NodeId(n.into())), 1000).len()
    }
}
