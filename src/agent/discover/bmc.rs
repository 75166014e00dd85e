//! The management controller: whether there is one, and where it is in the network.

use std::net::Ipv4Addr;
use std::path::Path;

use super::ipmi::{Ipmi, IpmiError};
use super::read;
use super::smbios::Smbios;
use crate::model::inventory::Bmc;

/// Network function "transport" and "Get LAN Configuration Parameters" (IPMI 2.0 section 23.2).
const GET_LAN_PARAMETER: (u8, u8) = (0x0c, 0x02);
/// Channels that a maker may have given to the LAN; mostly it is 1, with some 2 or 8.
const CHANNELS: std::ops::RangeInclusive<u8> = 1..=8;

/// LAN configuration parameters (IPMI 2.0 table 23-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Parameter {
    /// The IP address.
    Address = 3,
    /// Where that is from.
    Source = 4,
    /// The MAC address.
    Mac = 5,
    /// The default gateway's IP address.
    Gateway = 12,
}

/// The controller that SMBIOS or the kernel knows of; with `ask`, also what it says of itself.
pub fn read(root: &Path, smbios: &Smbios, ask: bool) -> Option<Bmc> {
    let device = || (!read::names(&root.join("sys/class/ipmi"), 1).is_empty()).then(|| "IPMI".to_owned());
    let redfish = || smbios.redfish.then(|| "Redfish host interface".to_owned());
    let kind = smbios.ipmi.clone().or_else(device).or_else(redfish)?;
    let mut bmc = Bmc { kind, ..Bmc::default() };
    if ask {
        let asked = Ipmi::open(root).and_then(|mut ipmi| {
            network(&mut bmc, |channel, parameter| {
                let (netfn, cmd) = GET_LAN_PARAMETER;
                ipmi.command(netfn, cmd, &[channel, parameter as u8, 0, 0])
            })
        });
        if let Err(error) = asked {
            tracing::debug!(%error, "the BMC does not tell its address");
        }
    }
    Some(bmc)
}

/// Fills in what `get` says: the data behind the completion code, of which the first byte is the revision. The first
/// channel with an address wins, or else the first that is a LAN.
pub fn network(
    bmc: &mut Bmc,
    mut get: impl FnMut(u8, Parameter) -> Result<Vec<u8>, IpmiError>,
) -> Result<(), IpmiError> {
    let mut lan = None;
    for channel in CHANNELS {
        match get(channel, Parameter::Address) {
            Ok(data) => {
                let address = address(&data);
                if lan.is_none() || address.is_some() {
                    lan = Some((channel, address));
                }
                if address.is_some() {
                    break;
                }
            }
            // Not a LAN, or no such channel.
            Err(IpmiError::Refused(_) | IpmiError::Short) => {}
            Err(error) => return Err(error),
        }
    }
    let Some((channel, own)) = lan else { return Ok(()) };
    bmc.address = own;
    bmc.gateway = get(channel, Parameter::Gateway).ok().as_deref().and_then(address);
    if let Ok([_, a, b, c, d, e, f, ..]) = get(channel, Parameter::Mac).as_deref() {
        bmc.mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    }
    if let Ok([_, source, ..]) = get(channel, Parameter::Source).as_deref() {
        let text = match source & 0xf {
            0 => "",
            1 => "static",
            2 => "dhcp",
            3 => "bios",
            _ => "other",
        };
        text.clone_into(&mut bmc.source);
    }
    Ok(())
}

/// An IPv4 address behind the revision; 0.0.0.0 is none.
fn address(data: &[u8]) -> Option<Ipv4Addr> {
    let address: [u8; 4] = read::array(data, 1)?;
    Some(Ipv4Addr::from(address)).filter(|address| !address.is_unspecified())
}
