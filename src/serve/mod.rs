//! `firstlight serve`: puts the appliance together, starts its services and stops them.

mod packages;
mod ramdisk;
mod secrets;
mod six;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::appliance::{AppError, Appliance, now};
use crate::boot::firmware::FirmwareError;
use crate::boot::script::ScriptError;
use crate::boot::{FirmwareTable, Scripts};
use crate::config::Config;
use crate::dhcp::interface::{self, Interface, InterfaceError};
use crate::dhcp::probe::Prober;
use crate::dhcp::socket::{DhcpSocket, SocketError};
use crate::dhcp6::server::{Dhcp6Error, Dhcp6Socket};
use crate::http::{ListenError, Listener};
use crate::model::{DhcpMode, EventKind};
use crate::ndp::{Advertiser, NdpError};
use crate::store::blobs::{BlobError, Blobs};
use crate::store::{Store, StoreError};
use crate::syslog::{Limits, Line, Receiver, Sink};
use crate::tftp::{BootFileError, BootFiles, TftpError};
use crate::trust::{Authority, TrustError};
use crate::{dhcp, dhcp6, dns, http, tftp, trust};

use six::Own6;

/// Longest that an override may be, bytes.
const OVERRIDE_BYTES: u64 = 1 << 20;
/// How often nodes that do not come further are looked for.
const WATCH: Duration = Duration::from_secs(2);

/// Why the appliance cannot serve, or had to stop.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A file of the overrides cannot be read.
    #[error("cannot read {path}: {cause}")]
    Override {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        cause: io::Error,
    },
    /// A firmware table is wrong.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// A script template is wrong.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// Names cannot be served.
    #[error(transparent)]
    Dns(#[from] dns::DnsError),
    /// A boot file is missing.
    #[error(transparent)]
    BootFile(#[from] BootFileError),
    /// An interface is not as configured.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// DHCP cannot be served.
    #[error(transparent)]
    Dhcp(#[from] SocketError),
    /// `DHCPv6` cannot be served.
    #[error(transparent)]
    Dhcp6(#[from] Dhcp6Error),
    /// Router solicitations cannot be answered.
    #[error(transparent)]
    Ndp(#[from] NdpError),
    /// TFTP cannot be served.
    #[error(transparent)]
    Tftp(#[from] TftpError),
    /// HTTP cannot be served.
    #[error(transparent)]
    Http(#[from] ListenError),
    /// The authority cannot be opened.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The state cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The artifacts cannot be opened.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The state cannot be written.
    #[error(transparent)]
    Appliance(#[from] AppError),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
    /// The key of secrets cannot be used.
    #[error("cannot use the key of secrets {path}: {cause}")]
    Secrets {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A commit failed: nothing more can be promised.
    #[error("stopped, since the state can no longer be written: {0}")]
    Broken(String),
}

/// Everything that is bound to a port, before anything is served.
struct Bound {
    dhcp: Vec<DhcpSocket>,
    dhcp6: Vec<Dhcp6Socket>,
    ndp: Vec<Advertiser>,
    tftp: Vec<tftp::Server>,
    http: Vec<Listener>,
    agents: Vec<Listener>,
    syslog: Vec<Receiver>,
    dns: Vec<dns::Server>,
    admin: Listener,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or the state can no longer be written.
pub async fn run(config: Config) -> Result<(), ServeError> {
    let config = Arc::new(config);
    let firmware = Arc::new(FirmwareTable::new(&overrides(&config.overrides.join("firmware-cfg"), "toml")?)?);
    let scripts = Scripts::new(&overrides(&config.overrides.join("ipxe-scripts"), "ipxe")?)?;
    let files = Arc::new(BootFiles::load(&firmware, &config.architectures)?);
    let interfaces = interfaces(&config)?;

    std::fs::create_dir_all(&config.state_dir)
        .map_err(|cause| ServeError::Override { path: config.state_dir.clone(), cause })?;
    let store = Store::open(&config.state_dir)?;
    let blobs = Blobs::open(&config.state_dir).await?;
    let authority = Authority::open(&config.state_dir.join("ca"))?;
    let secrets = secrets::open(&config.state_dir.join("secrets.key"))?;
    let appliance = Appliance::new(Arc::clone(&config), firmware, scripts, store, blobs, authority, secrets);
    let of = |interface: &Interface| {
        let subnet = config.networks.iter().map(|network| network.subnet);
        subnet
            .filter(|subnet| subnet.contains(interface.address))
            .map(|subnet| (interface.address, subnet))
            .next()
    };
    // Nobody else sets it.
    let _ = appliance.addresses.set(interfaces.iter().filter_map(of).collect());
    let own6 = six::own(&config, &interfaces)?;
    let _ = appliance.addresses6.set(own6.iter().map(|own| own.ip).collect());
    let appliance = Arc::new(appliance);

    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let bound = bind(&config, &interfaces, &own6, &files, &appliance).await?;
    appliance.record(EventKind::Started { version: env!("CARGO_PKG_VERSION").into() }).await?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let services = start(bound, &appliance, &files, &stopped);
    if let Some(wanted) = config.ramdisk.clone() {
        tokio::spawn(ramdisk::provide(Arc::clone(&appliance), wanted));
    }
    tokio::spawn(packages::provide(Arc::clone(&appliance)));
    for interface in &interfaces {
        tracing::info!(interface = %interface.name, address = %interface.address, port = config.http_port, "serving");
    }
    notify(NotifyState::Ready);

    let broken = tokio::select! {
        () = either(&mut terminate, &mut interrupt) => None,
        reason = appliance.broken() => Some(reason),
    };
    tracing::info!("stopping");
    notify(NotifyState::Stopping);
    // Nobody who listens is no error.
    let _ = stop.send(true);
    services.join_all().await;
    if let Some(reason) = broken {
        return Err(ServeError::Broken(reason));
    }
    appliance.record(EventKind::Stopped).await?;
    // A task that still writes an event keeps the store open; its answer has been durable then, too.
    if let Some(appliance) = Arc::into_inner(appliance) {
        appliance.close();
    }
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn interfaces(config: &Config) -> Result<Vec<Interface>, ServeError> {
    let named =
        config.networks.iter().filter_map(|network| Some((network.interface.as_deref()?, network.subnet)));
    Ok(named.map(|(name, subnet)| interface::find(name, subnet)).collect::<Result<_, _>>()?)
}

/// Binds every port. The admin socket comes last: who reaches it finds everything else in place.
async fn bind(
    config: &Config,
    interfaces: &[Interface],
    own6: &[Own6],
    files: &Arc<BootFiles>,
    appliance: &Arc<Appliance>,
) -> Result<Bound, ServeError> {
    let (mut dhcp, mut dhcp6, mut ndp, mut tftp) =
        (Vec::new(), Vec::<Dhcp6Socket>::new(), Vec::new(), Vec::new());
    let (mut http, mut agents, mut syslog) = (Vec::new(), Vec::new(), Vec::new());
    let (mut names, mut names_at) = (Vec::new(), Vec::new());
    let tls = trust::server::config(&appliance.authority, now())?;
    for interface in interfaces {
        if six::serves_v4(config, interface)
            && !dhcp.iter().any(|socket: &DhcpSocket| socket.interface().name == interface.name)
        {
            dhcp.push(DhcpSocket::bind(interface.clone())?);
            if config.networks.iter().any(|network| network.dhcp == DhcpMode::Proxy) {
                dhcp.push(DhcpSocket::bind_proxy(interface.clone())?);
            }
        }
        let heard = ndp.iter().any(|advertiser: &Advertiser| advertiser.interface() == interface.name);
        if let Some(prefixes) = six::advertised(config, interface).filter(|_| !heard) {
            match Advertiser::bind(&interface.name, interface.index, interface.mac, &prefixes) {
                Ok(advertiser) => ndp.push(advertiser),
                // A host without IPv6 boots machines all the same, only slower.
                Err(error) => tracing::warn!(%error, "iPXE will wait for IPv6 at every boot"),
            }
        }
        let address = interface.address;
        tftp.push(
            tftp::Server::bind(address.into(), tftp::PORT, Arc::clone(files), Arc::clone(appliance)).await?,
        );
        http.push(Listener::tcp(SocketAddr::from((address, config.http_port))).await?);
        if config.syslog_port != 0 {
            match Receiver::bind(SocketAddrV4::new(address, config.syslog_port), Limits::default()).await {
                Ok(receiver) => syslog.push(receiver),
                // Machines boot all the same; what they log is missing.
                Err(error) => tracing::warn!(%error, "logs of nodes are not received"),
            }
        }
        names_at.push(IpAddr::V4(address));
        agents.push(Listener::tls(SocketAddr::from((address, config.tls_port)), Arc::clone(&tls)).await?);
    }
    for Own6 { interface, ip } in own6 {
        if !dhcp6.iter().any(|socket| socket.interface().name == interface.name) {
            dhcp6.push(Dhcp6Socket::bind(interface.clone())?);
        }
        let (files, appliance) = (Arc::clone(files), Arc::clone(appliance));
        tftp.push(tftp::Server::bind((*ip).into(), tftp::PORT, files, appliance).await?);
        http.push(Listener::tcp(SocketAddr::from((*ip, config.http_port))).await?);
        names_at.push(IpAddr::V6(*ip));
    }
    let mut asked_at = Vec::new();
    for ip in names_at.into_iter().filter(|_| config.dns.enabled) {
        match dns::Server::bind(ip, 53).await {
            Ok(server) => {
                names.push(server);
                asked_at.push(ip);
            }
            Err(error) if config.dns.demanded => return Err(error.into()),
            // Machines boot all the same; nobody finds them by name.
            Err(error) => tracing::warn!(%error, "names are not served"),
        }
    }
    // Nobody else sets it.
    let _ = appliance.names_at.set(asked_at);
    let admin = Listener::unix(&config.socket).await?;
    Ok(Bound { dhcp, dhcp6, ndp, tftp, http, agents, syslog, dns: names, admin })
}

/// Starts a task for each of what was bound.
fn start(
    bound: Bound,
    appliance: &Arc<Appliance>,
    files: &Arc<BootFiles>,
    stopped: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut services = JoinSet::new();
    for socket in bound.dhcp {
        let interface = socket.interface().clone();
        let prober = match Prober::bind(&interface) {
            Ok(prober) => Some(Arc::new(prober)),
            // Clients look for themselves (RFC 2131 section 4.4.1), and decline.
            Err(error) => {
                tracing::warn!(interface = %interface.name, %error, "addresses are offered unasked for");
                None
            }
        };
        if let Some(prober) = &prober {
            services.spawn(Arc::clone(prober).run(stopped.clone()));
            services.spawn(Arc::clone(prober).run_echo(stopped.clone()));
        }
        let gives = appliance.config.networks.iter().any(|network| {
            network.interface.as_ref() == Some(&interface.name) && network.dhcp == DhcpMode::Full
        });
        if gives && socket.is_main() {
            let (appliance, name) = (Arc::clone(appliance), interface.name.clone());
            let suspicion = appliance.rogue_suspicion(&name);
            let heard = move |server| {
                let (appliance, name) = (Arc::clone(&appliance), name.clone());
                tokio::spawn(async move { appliance.rogue_heard(&name, server).await });
            };
            services.spawn(dhcp::rogue::watch_for(interface, suspicion, heard, stopped.clone()));
        }
        services.spawn(dhcp::server::serve(socket, prober, Arc::clone(appliance), stopped.clone()));
    }
    for socket in bound.dhcp6 {
        let interface = socket.interface().clone();
        if six::serves_v6(&appliance.config, &interface) {
            let (watcher, name) = (Arc::clone(appliance), interface.name.clone());
            let heard = move |server| {
                let (appliance, name) = (Arc::clone(&watcher), name.clone());
                tokio::spawn(async move { appliance.rogue_heard(&name, server).await });
            };
            let own = appliance.duid().clone();
            services.spawn(dhcp6::rogue::watch_for(interface, own, heard, stopped.clone()));
        }
        services.spawn(dhcp6::server::serve(socket, Arc::clone(appliance), stopped.clone()));
    }
    for advertiser in bound.ndp {
        let (watcher, name) = (Arc::clone(appliance), advertiser.interface().to_owned());
        let contradicted = move |router| {
            let (appliance, name) = (Arc::clone(&watcher), name.clone());
            tokio::spawn(async move { appliance.router_heard(&name, router).await });
        };
        services.spawn(advertiser.serve(contradicted, stopped.clone()));
    }
    for server in bound.tftp {
        services.spawn(server.serve(stopped.clone()));
    }
    let plane = http::plane::router(Arc::clone(appliance), Arc::clone(files))
        .merge(packages::router(Arc::clone(appliance)));
    for listener in bound.http {
        services.spawn(listener.serve(plane.clone(), stopped.clone()));
    }
    let router = http::agent::router(Arc::clone(appliance));
    for listener in bound.agents {
        services.spawn(listener.serve(router.clone(), stopped.clone()));
    }
    for server in bound.dns {
        let forwarder = dns::Forwarder { upstreams: appliance.config.dns.forward.clone() };
        services.spawn(dns::serve(server, Arc::clone(appliance), forwarder, stopped.clone()));
    }
    for receiver in bound.syslog {
        services.spawn(receiver.run(Lines(Arc::clone(appliance)), stopped.clone()));
    }
    services.spawn(watch(Arc::clone(appliance), stopped.clone()));
    services.spawn(Arc::clone(appliance).look_after_fleet(stopped.clone()));
    let api = http::api::router(Arc::clone(appliance), now());
    services.spawn(bound.admin.serve(api, stopped.clone()));
    services
}

/// Puts what nodes log on their timelines.
struct Lines(Arc<Appliance>);

impl Sink for Lines {
    async fn line(&self, from: Ipv4Addr, line: Line) {
        let app = line.app.unwrap_or_else(|| "syslog".into());
        if let Err(error) = self.0.note_line(from, app, line.message).await {
            tracing::warn!(%from, %error, "a line is not on the timeline");
        }
    }
}

/// Looks after nodes that do not come further.
async fn watch(appliance: Arc<Appliance>, mut stopped: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(WATCH);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        if let Err(error) = appliance.watch().await {
            tracing::error!(%error, "nodes that do not come further were not looked for");
        }
    }
}

/// The operator's files with this ending in `folder`: name and text. No folder, no files.
fn overrides(folder: &Path, ending: &str) -> Result<Vec<(String, String)>, ServeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| ServeError::Override { path, cause }
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed(folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.extension().is_none_or(|extension| extension != ending) {
            continue;
        }
        let length = std::fs::metadata(&path).map_err(failed(&path))?.len();
        if length > OVERRIDE_BYTES {
            let cause = io::Error::other(format!(
                "it has {length} bytes; {OVERRIDE_BYTES} are enough for such a file"
            ));
            return Err(failed(&path)(cause));
        }
        let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
        files.push((name.to_owned(), text));
    }
    files.sort();
    Ok(files)
}

/// Tells systemd (`sd_notify(3)`); without one nobody listens.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd was not told");
    }
}
