//! dnsmasq as a DHCP server with room for a million clients, which asks nobody whether an address is in use.

use crate::rack::dnsmasq::dhcp_server;
use crate::rack::{Process, Rack};

/// Starts it in a rack with the address 10.64.0.1/12; its leases are in the rack's folder, in `dnsmasq.leases`.
pub fn start(rack: &Rack) -> Process {
    let mut command = dhcp_server(rack.command("dnsmasq"));
    command.args([
        "--dhcp-range=10.64.1.0,10.79.255.0,255.240.0.0,12h",
        "--no-ping",
        "--dhcp-lease-max=2000000",
    ]);
    command.arg("--dhcp-authoritative").arg("--quiet-dhcp");
    command.arg(format!("--dhcp-leasefile={}/dnsmasq.leases", rack.dir().display()));
    rack.spawn_logged(command, "dnsmasq.log").expect("dnsmasq")
}
