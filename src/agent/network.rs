//! The ramdisk's network: one address on the interface that was booted from. Which, the appliance said on the command line.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder, new_connection};

use super::AgentError;
use super::arguments::Arguments;
use crate::model::MacAddr;

/// How often an interface that is not there yet is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// The interface with this MAC, where the kernel has one.
fn interface(mac: MacAddr) -> Option<String> {
    let entries = std::fs::read_dir("/sys/class/net").ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let has = |name: &String| {
        let folder = Path::new("/sys/class/net").join(name);
        let address = std::fs::read_to_string(folder.join("address")).unwrap_or_default();
        // A bond or a VLAN has the MAC of its port, but is no device.
        folder.join("device").exists() && address.trim().parse() == Ok(mac)
    };
    names.filter(has).min()
}

/// Waits until the interface is there, for so long; its name.
pub async fn wait_for(mac: MacAddr, patience: Duration) -> Option<String> {
    let looked = tokio::time::timeout(patience, async {
        loop {
            match interface(mac) {
                Some(name) => return name,
                None => tokio::time::sleep(LOOK).await,
            }
        }
    });
    looked.await.ok()
}

/// Gives the interface its address and routes, and brings it up.
///
/// # Errors
/// When the kernel refuses.
pub async fn configure(name: &str, arguments: &Arguments) -> Result<(), AgentError> {
    let failed = |what: &str| {
        let action = format!("{what} {name}");
        move |error: rtnetlink::Error| AgentError::machine(action, error)
    };
    let (connection, handle, _) =
        new_connection().map_err(|error| AgentError::machine("speak to the kernel", error))?;
    let connection = tokio::spawn(connection);
    let (ip, prefix) = arguments.address;
    if let Some(loopback) = index(&handle, "lo").await {
        // Nothing that matters needs it.
        let _ = handle.link().set(LinkUnspec::new_with_index(loopback).up().build()).execute().await;
    }
    let index = index(&handle, name)
        .await
        .ok_or_else(|| AgentError::machine(format!("find {name}"), "it is gone"))?;
    handle
        .link()
        .set(LinkUnspec::new_with_index(index).up().build())
        .execute()
        .await
        .map_err(failed("bring up"))?;
    let added = handle.address().add(index, ip.into(), prefix).execute().await;
    added.or_else(already).map_err(failed("give an address to"))?;
    if let Some(gateway) = arguments.gateway.filter(|gateway| *gateway != ip) {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
        let added = handle.route().add(route).execute().await;
        added.or_else(already).map_err(failed("set a route on"))?;
    }
    connection.abort();
    Ok(())
}

/// What is there already is as good as added.
fn already(error: rtnetlink::Error) -> Result<(), rtnetlink::Error> {
    match &error {
        rtnetlink::Error::NetlinkError(message) if message.raw_code() == -nix::libc::EEXIST => Ok(()),
        _ => Err(error),
    }
}

async fn index(handle: &Handle, name: &str) -> Option<u32> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    links.try_next().await.ok()?.map(|link| link.header.index)
}
