//! The verbs of the product: each one transaction with its events.
//!
//! [`Appliance`] is what the services hold. [`nodes`], [`groups`], [`images`] and [`leases`] are what an
//! administrator does, [`orders`] what it has nodes do, [`clusters`] and [`leaving`] who works with whom, [`guard`] when that must wait; [`dhcp`] and [`boot`] are what a booting machine does, [`agent`] what its agent
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
mod guard;
mod images;
mod invitations;
mod jobs;
pub mod leases;
mod leaving;
mod loaded;
pub mod names;
pub mod networks;
mod nodes;
mod orders;
mod packages;
mod pins;
mod policy;
mod ports;
pub mod presence;
mod ramdisk;
mod rendering_key;
mod secrecy;
mod sources;
mod strangers;
#[cfg(test)]
mod tests;
mod transition;
pub mod views;
mod wanted;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex as AsyncMutex, Notify, RwLock, broadcast};

use crate::boot::{Explanation, FirmwareTable, Scripts, explain};
use crate::bundle::secret::SecretKey;
use crate::config::allowlist::Allowlist;
use crate::config::{Config, Policy, Unknown};
use crate::dhcp::rogue::Rogues;
use crate::model::{Duid, Event, EventKind, ImageRef, Selector, Subnet, Timestamp, World};
use crate::packages::serve::Service;
use crate::store::blobs::Blobs;
use crate::store::{EventQuery, Store};
use crate::trust::Authority;

pub use agent::{
    Caller, CheckIn, Enrol, EnrolStep, Evicted, Eviction, HEARTBEAT_SECONDS, Hello, InstallReport, Orders,
    REASON,
};
pub use boot::{Next, Report};
pub use bundles::{BundleShown, BundleView, NodeBundles, PushBundle, PushedBundle, VariableView};
pub use clusters::{ClusterView, InitCluster, JoinCluster, MemberView, ServiceView};
pub use error::{AppError, Kind};
pub use images::{ArtifactRef, ImportedBuild, ManifestBuild, ManifestContent};
pub use invitations::{HostEnrol, Invite, Invited};
pub use jobs::{APPLY, JobLog, JobReport, REMOVE, REPAIR};
pub use leaving::LeaveCluster;
pub use nodes::{NodeChange, node_fields};
pub use orders::BootOnce;
pub use packages::{PUSHED_AT_ONCE, PackageView, PushPackages, PushedPackage};
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

/// How many render, or read bundles, at once for those who ask.
const ASIDE: usize = 8;

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
    rogue_routers: Rogues,
    /// What nodes did lately.
    lately: Arc<strangers::Lately>,
    allowlist: Mutex<CachedAllowlist>,
    ramdisk: ArcSwap<RamdiskState>,
    /// Opens the secrets among variables.
    secrets: SecretKey,
    /// Bundles that were unpacked, by the digest of their archive.
    loaded: Mutex<loaded::Loaded>,
    /// What nodes should have of bundles, and whose turn it is.
    plans: ArcSwap<fleet::Plans>,
    memo: Mutex<fleet::Memo>,
    /// Who was told to go to another generation just now.
    told: Arc<guard::Told>,
    /// The output of jobs.
    logs: Arc<jobs::Logs>,
    /// Has the fleet looked at anew.
    wake: Notify,
    /// Our addresses, each with its network.
    pub addresses: OnceLock<Vec<(Ipv4Addr, Subnet)>>,
    /// What we call ourselves in `DHCPv6`: made of the authority, so that it stays while we are who we are.
    duid: Duid,
    /// Our IPv6 addresses on networks that have a prefix.
    pub addresses6: OnceLock<Vec<Ipv6Addr>>,
    /// Those of our addresses that names are asked for at: the port is ours there.
    pub names_at: OnceLock<Vec<IpAddr>>,
    /// Held for reading while an image is made of artifacts, for writing while unused ones are removed.
    artifacts: RwLock<()>,
    /// Held while variables are set and while a bundle is pushed: what is secret must not become readable between the two.
    secrecy: AsyncMutex<()>,
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
            logs: Arc::new(jobs::Logs::new(config.state_dir.join("jobs"))),
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
            rogue_routers: Rogues::default(),
            lately: Arc::default(),
            allowlist: Mutex::default(),
            ramdisk: ArcSwap::from_pointee(ramdisk),
            secrets,
            loaded: Mutex::default(),
            plans: ArcSwap::default(),
            memo: Mutex::default(),
            told: Arc::default(),
            wake: Notify::new(),
            addresses: OnceLock::new(),
            addresses6: OnceLock::new(),
            names_at: OnceLock::new(),
            artifacts: RwLock::new(()),
            secrecy: AsyncMutex::new(()),
        }
    }

    /// Does what takes its time, or reads the disk, away from the threads that answer everybody; so many at once as help.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, AppError> + Send + 'static,
    ) -> Result<T, AppError> {
        static SLOTS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(ASIDE);
        let slot = SLOTS.acquire().await.map_err(|error| AppError::Internal(error.to_string()))?;
        let this = Arc::clone(self);
        let worked = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work(&this)
        });
        worked.await.map_err(|error| AppError::Internal(format!("the work failed: {error}")))?
    }

    /// The state as of the last durable commit.
    pub fn view(&self) -> Arc<World> {
        self.store.view()
    }

    /// What we call ourselves in `DHCPv6`.
    pub fn duid(&self) -> &Duid {
        &self.duid
    }

    /// Whether names are served at this address of ours: only then are clients told to ask there.
    pub fn serves_names_at(&self, own: impl Into<IpAddr>) -> bool {
        let own = own.into();
        self.names_at.get().is_some_and(|all| all.contains(&own))
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
