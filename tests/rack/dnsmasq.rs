//! dnsmasq, which gives addresses beside us.

use std::process::Command;

/// `command`, which runs dnsmasq somewhere, as a DHCP server that stays a child of ours, takes nothing from the system's configuration
/// and serves no names. What it gives is to be added.
pub fn dhcp_server(mut command: Command) -> Command {
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file="]);
    command
}
