//! `firstlight serve`: puts the appliance together, starts its services and stops them.

mod error;
mod overrides;
mod packages;
mod ramdisk;
mod secrets;
mod services;
mod six;

use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::appliance::Appliance;
use crate::boot::{FirmwareTable, Scripts};
use crate::config::Config;
use crate::dhcp::interface::{self, Interface};
use crate::model::EventKind;
use crate::store::Store;
use crate::store::blobs::Blobs;
use crate::tftp::BootFiles;
use crate::trust::Authority;

pub use error::ServeError;
use services::{bind, start};

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or the state can no longer be written.
pub async fn run(config: Config) -> Result<(), ServeError> {
    let config = Arc::new(config);
    let firmware =
        Arc::new(FirmwareTable::new(&overrides::read(&config.overrides.join("firmware-cfg"), "toml")?)?);
    let scripts = Scripts::new(&overrides::read(&config.overrides.join("ipxe-scripts"), "ipxe")?)?;
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

/// Tells systemd (`sd_notify(3)`); without one nobody listens.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd was not told");
    }
}
