//! Tables of DHCP's rules, and properties that hold for any sequence of packets.

mod captures;
mod corners;
mod gathered;
mod known;
mod model;
mod networks;
mod options;
mod pool;
mod properties;
mod reserved;
mod rules;

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode, UnknownOption};

use crate::boot::FirmwareTable;
use crate::model::{Lease, LeaseState, MacAddr, Network, Timestamp, World};

use super::options::Options;
use super::{Cast, Decision, Request, View, respond};

/// Our address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Which firmware gets what; read once, for tests that play thousands of messages.
pub static FIRMWARE: LazyLock<FirmwareTable> =
    LazyLock::new(|| FirmwareTable::new(&[]).expect("the built-in tables"));

/// A small network: six addresses.
pub fn network() -> Network {
    Network {
        interface: Some("br0".into()),
        ranges: vec!["10.77.0.100-10.77.0.105".parse().expect("a range")],
        gateway: Some(SERVER),
        dns: vec![SERVER],
        lease: std::time::Duration::from_secs(3600),
        ..Network::new("10.77.0.0/24".parse().expect("a subnet"))
    }
}

/// The MAC of client `n`.
pub fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

/// The pool's address `n`.
pub fn ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 100 + n)
}

/// A message of client `n` with these options.
pub fn message(n: u8, message_type: MessageType, options: Vec<DhcpOption>) -> Message {
    let mut message = Message::default();
    message.set_chaddr(&mac(n).0).set_xid(7);
    message.opts_mut().insert(DhcpOption::MessageType(message_type));
    for option in options {
        message.opts_mut().insert(option);
    }
    message
}

/// An option of bytes.
pub fn unknown(code: u8, data: &[u8]) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(OptionCode::Unknown(code), data.to_vec()))
}

/// A lease of the pool's address `n` by client `n`.
pub fn lease(n: u8, state: LeaseState, expires: u64) -> Lease {
    Lease { ip: ip(n), mac: mac(n), state, expires: Timestamp(expires), reserved: false, hostname: None }
}

/// Decides about a message in a world.
pub fn decide(world: &World, message: Message, now: u64) -> Decision {
    let request = Request::new(message).expect("a client's message");
    respond(&request, &view(world, &network(), &Options::new(), Some("mgmt.example")), Timestamp(now))
}

/// What is known beside a message, where this network is the only one on its link.
pub fn view<'a>(
    world: &'a World,
    network: &'a Network,
    options: &'a Options,
    domain: Option<&'a str>,
) -> View<'a> {
    View {
        world,
        network,
        shared: &[],
        server: SERVER,
        server_identifier: SERVER,
        firmware: &FIRMWARE,
        http_port: 8080,
        domain,
        names: false,
        options,
        serves_strangers: true,
    }
}

/// Sets the broadcast flag.
pub fn broadcast(mut message: Message) -> Message {
    message.set_flags(Flags::default().set_broadcast());
    message
}
