//! Does `firstlight network …` and `firstlight doctor`.

use crate::appliance::networks::{Finding, NetworkView, Pool6View};

use super::super::CliError;
use super::super::args::Network;
use super::super::client::{Client, segment};
use super::super::show::{answer, block, columns, or_dash};
use super::Context;

pub async fn network(client: &Client, command: Network, context: Context) -> Result<(), CliError> {
    match command {
        Network::List => {
            let networks: Vec<NetworkView> = client.get("/networks").await?;
            answer(context.output, &networks, |networks| {
                let rows = networks.iter().flat_map(|network| {
                    let NetworkView { bound, kept, declined, free, .. } = network;
                    let own = [
                        network.subnet.clone(),
                        or_dash(network.interface.as_ref()),
                        network.dhcp.clone(),
                        network.addresses.to_string(),
                        bound.to_string(),
                        kept.to_string(),
                        declined.to_string(),
                        free.to_string(),
                        forecast(network),
                    ];
                    let six = network.v6.as_ref().map(|v6| {
                        [
                            v6.subnet.clone(),
                            or_dash(network.interface.as_ref()),
                            "v6".into(),
                            "-".into(),
                            v6.bound.to_string(),
                            v6.kept.to_string(),
                            v6.declined.to_string(),
                            "-".into(),
                            "-".into(),
                        ]
                    });
                    std::iter::once(own).chain(six)
                });
                let names =
                    ["SUBNET", "INTERFACE", "DHCP", "ADDRESSES", "BOUND", "KEPT", "DECLINED", "FREE", "FULL"];
                columns(names, rows)
            })
        }
        Network::Show { network } => {
            let network: NetworkView = client.get(&format!("/networks/{}", segment(&network))).await?;
            answer(context.output, &network, |network| {
                let mut rows = vec![
                    ("subnet", network.subnet.clone()),
                    ("interface", or_dash(network.interface.as_ref())),
                    ("shared network", or_dash(network.shared_network.as_ref())),
                    ("dhcp", network.dhcp.clone()),
                    ("gateway", or_dash(network.gateway.as_ref())),
                    ("ranges", network.ranges.join(", ")),
                    ("addresses", network.addresses.to_string()),
                    ("bound", network.bound.to_string()),
                    ("kept for clients", network.kept.to_string()),
                    ("declined", network.declined.to_string()),
                    ("free", network.free.to_string()),
                    ("reservations", network.reservations.to_string()),
                    ("new in 7 days", network.new_clients.to_string()),
                    ("full", forecast(network)),
                ];
                if let Some(v6) = &network.v6 {
                    let Pool6View { subnet, range, bound, kept, declined } = v6;
                    rows.extend([
                        ("IPv6 prefix", subnet.clone()),
                        ("IPv6 range", range.clone()),
                        ("IPv6 leases", format!("{bound} bound, {kept} kept, {declined} declined")),
                    ]);
                }
                block(&rows)
            })
        }
    }
}

fn forecast(network: &NetworkView) -> String {
    match network.full_in_days {
        Some(0) => "now".into(),
        Some(days) => format!("in {days} d"),
        None => "-".into(),
    }
}

/// Tells what should be looked at; with errors among it, the command fails.
pub async fn doctor(client: &Client, context: Context) -> Result<(), CliError> {
    let findings: Vec<Finding> = client.get("/doctor").await?;
    answer(context.output, &findings, |findings| {
        if findings.is_empty() {
            return "nothing to complain of".into();
        }
        let lines = findings.iter().map(|one| format!("{}: {}\n  {}", one.severity, one.what, one.hint));
        lines.collect::<Vec<_>>().join("\n")
    })?;
    let errors = findings.iter().filter(|one| one.severity == "error").count();
    if errors == 0 { Ok(()) } else { Err(CliError::Local(format!("{errors} errors were found"))) }
}
