//! The verbs of the product: each one transaction with its events.
//!
//! [`Appliance`] is what the services hold. [`nodes`], [`groups`], [`images`] and [`leases`] are what an
//! administrator does, [`orders`] what it has nodes do; [`dhcp`] and [`boot`] are what a booting machine does, [`agent`] what its agent
//! does, [`invitations`] how one joins that did not boot over the network; [`policy`] lets nodes in without a hand, [`watch`] sees
//! those that do not come further; [`transition`] is the one place that moves a
//! node from state to state. [`views`] are the shapes in which the state is shown, [`error`] what can go wrong.

pub mod agent;
pub mod ansible;
mod boot;
mod bundles;
mod clusters;
mod dhcp;
mod dhcp6;
mod error;
mod fleet;
pub mod gossip;
mod groups;
mod images;
mod invitations;
mod jobs;
pub mod leases;
pub mod names;
pub mod networks;
mod nodes;
mod orders;
mod packages;
mod pins;
mod policy;
pub mod presence;
mod ramdisk;
mod strangers;
mod transition;
pub mod views;
mod wanted;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, RwLock, broadcast};

use crate::boot::{Explanation, FirmwareTable, Scripts, explain};
use crate::bundle::Bundle;
use crate::bundle::secret::SecretKey;
use crate::config::allowlist::Allowlist;
use crate::config::{Config, Policy, Unknown};
use crate::dhcp::rogue::Rogues;
use crate::model::{Duid, Event, EventKind, ImageRef, Selector, Sha256Digest, Subnet, Timestamp, World};
use crate::packages::serve::Service;
use crate::store::blobs::Blobs;
use crate::store::{EventQuery, Store};
use crate::trust::Authority;

pub use agent::{
    Caller, CheckIn, Enrol, EnrolStep, Evicted, Eviction, HEARTBEAT_SECONDS, Hello, InstallReport, Orders,
};
pub use boot::{Next, Report};
pub use bundles::{BundleShown, BundleView, NodeBundles, PushBundle, PushedBundle, VariableView};
pub use clusters::{ClusterView, InitCluster, JoinCluster, LeaveCluster, MemberView, ServiceView};
pub use error::{AppError, Kind};
pub use images::{ArtifactRef, ImportedBuild, ManifestBuild, ManifestContent};
pub use invitations::{HostEnrol, Invite, Invited};
pub use jobs::{JobLog, JobReport};
pub use nodes::{NodeChange, node_fields};
pub use orders::BootOnce;
pub use packages::{PackageView, PushPackage, PushedPackage};
pub use pins::{PinBundles, SetVariables, Target};
pub use presence::{Heard, Presence, Progress};
pub use ramdisk::RamdiskState;

/// How far back an explanation looks.
const EXPLAINED_EVENTS: usize = 200;

/// Who does something: an administrator's name for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(pub String);

/// The allow-list, and when its file was last changed.
#[derive(Default)]
struct CachedAllowlist {
    changed: Option<SystemTime>,
    list: Option<Arc<Allowlist>>,
}

/// The appliance: its state, its artifacts and what the operator configured.
pub struct Appliance {
    /// What the operator configured.
    pub config: Arc<Config>,
    /// Which boot file which firmware gets.
    pub firmware: Arc<FirmwareTable>,
    /// The artifacts of images.
    pub blobs: Blobs,
    /// Signs certificates.
    pub authority: Authority,
    /// Packages for nodes; there once their signing key is, which takes seconds to make.
    pub packages: OnceLock<Arc<Service>>,
    scripts: Scripts,
    store: Store,
    presence: Presence,
    gossip: gossip::Gossip,
    rogues: Rogues,
    /// What nodes did lately.
    lately: Arc<strangers::Lately>,
    allowlist: Mutex<CachedAllowlist>,
    ramdisk: ArcSwap<RamdiskState>,
    /// Opens the secrets among variables.
    secrets: SecretKey,
    /// Bundles that were unpacked, by the digest of their archive.
    loaded: Mutex<HashMap<Sha256Digest, Arc<Bundle>>>,
    /// What nodes should have of bundles, and whose turn it is.
    plans: ArcSwap<fleet::Plans>,
    memo: Mutex<fleet::Memo>,
    /// When an operator said that a change may be tried again.
    retries: Mutex<BTreeMap<String, u64>>,
    /// Has the fleet looked at anew.
    wake: Notify,
    /// Our addresses, each with its network.
    pub addresses: OnceLock<Vec<(Ipv4Addr, Subnet)>>,
    /// What we call ourselves in `DHCPv6`: made of the authority, so that it stays while we are who we are.
    duid: Duid,
    /// Our IPv6 addresses on networks that have a prefix.
    pub addresses6: OnceLock<Vec<Ipv6Addr>>,
    /// Held for reading while an image is made of artifacts, for writing while unused ones are removed.
    artifacts: RwLock<()>,
}

impl Appliance {
    /// Puts an appliance together.
    pub fn new(
        config: Arc<Config>,
        firmware: Arc<FirmwareTable>,
        scripts: Scripts,
        store: Store,
        blobs: Blobs,
        authority: Authority,
        secrets: SecretKey,
    ) -> Self {
        let ramdisk = if config.ramdisk.is_some() { RamdiskState::Building } else { RamdiskState::None };
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&authority.fingerprint().0[..16]);
        Self {
            duid: Duid::of_uuid(uuid),
            config,
            firmware,
            blobs,
            authority,
            packages: OnceLock::new(),
            scripts,
            store,
            presence: Presence::default(),
            gossip: gossip::Gossip::default(),
            rogues: Rogues::default(),
            lately: Arc::default(),
            allowlist: Mutex::default(),
            ramdisk: ArcSwap::from_pointee(ramdisk),
            secrets,
            loaded: Mutex::default(),
            plans: ArcSwap::default(),
            memo: Mutex::default(),
            retries: Mutex::default(),
            wake: Notify::new(),
            addresses: OnceLock::new(),
            addresses6: OnceLock::new(),
            artifacts: RwLock::new(()),
        }
    }

    /// The state as of the last durable commit.
    pub fn view(&self) -> Arc<World> {
        self.store.view()
    }

    /// Resolves with the reason when the state can no longer be written.
    pub async fn broken(&self) -> String {
        self.store.broken().await
    }

    /// Past events, oldest first; `node` names the one they happened to.
    ///
    /// # Errors
    /// When no such node exists, or the database cannot be read.
    pub fn events(
        &self,
        node: Option<&Selector>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Event>, AppError> {
        let world = self.view();
        let node = node.map(|selector| selector.find(&world)).transpose()?.map(|node| node.id);
        Ok(self.store.events(&EventQuery { node, after, limit })?)
    }

    /// Where a node's last boot stands, and why.
    ///
    /// # Errors
    /// When no such node exists, or the database cannot be read.
    pub fn explain(&self, selector: &Selector) -> Result<Explanation, AppError> {
        let world = self.view();
        let node = selector.find(&world)?;
        let query = EventQuery { node: Some(node.id), after: None, limit: EXPLAINED_EVENTS };
        Ok(explain(node, &self.store.events(&query)?))
    }

    /// Every event from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.store.subscribe()
    }

    /// Writes down that the appliance began or ceased to serve.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub async fn record(&self, kind: EventKind) -> Result<(), AppError> {
        let at = now();
        self.store
            .transact(move |tx| {
                tx.append(at, None, None, kind);
                Ok(())
            })
            .await
    }

    /// Ends the store after what is queued.
    pub fn close(self) {
        self.store.close();
    }

    /// The image that nodes boot which nobody approved, if the policy has one.
    pub fn discovery_image(&self) -> Option<ImageRef> {
        match &self.config.enrolment.unknown {
            Unknown::Discover(image) => Some(image.clone()),
            Unknown::Ramdisk => self.ramdisk_image(),
            Unknown::Wait => None,
        }
    }

    /// The allow-list of the configuration, read again when its file has changed. One that cannot be used lets nobody in,
    /// and the log says why.
    fn allowlist(&self) -> Option<Arc<Allowlist>> {
        let Policy::Allowlist(path) = &self.config.enrolment.policy else { return None };
        let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let mut cached = self.allowlist.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.changed.is_none() || cached.changed != changed {
            cached.changed = changed;
            cached.list = match Allowlist::read(path) {
                Ok(list) => Some(Arc::new(list)),
                Err(error) => {
                    tracing::error!(%error, "nobody is let in by it");
                    None
                }
            };
        }
        cached.list.clone()
    }
}

/// The clock: the one place where the domain's time comes from.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Random bytes from the kernel.
fn random<const N: usize>() -> Result<[u8; N], AppError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| AppError::Internal(format!("the kernel gives no random bytes: {error}")))?;
    Ok(bytes)
}
