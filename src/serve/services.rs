//! The services: bound to their ports first, then started.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::appliance::{Appliance, now};
use crate::config::Config;
use crate::dhcp::interface::Interface;
use crate::dhcp::probe::Prober;
use crate::dhcp::socket::DhcpSocket;
use crate::dhcp6::server::Dhcp6Socket;
use crate::http::Listener;
use crate::model::DhcpMode;
use crate::ndp::Advertiser;
use crate::syslog::{Limits, Line, Receiver, Sink};
use crate::tftp::BootFiles;
use crate::{dhcp, dhcp6, dns, http, tftp, trust};

use super::six::{self, Own6};
use super::{ServeError, packages};

/// How often nodes that do not come further are looked for.
const WATCH: Duration = Duration::from_secs(2);

/// Everything that is bound to a port, before anything is served.
pub struct Bound {
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

/// Binds every port. The admin socket comes last: who reaches it finds everything else in place.
pub async fn bind(
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
pub fn start(
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
