//! A datagram on port 67, up to the bytes of the reply.
#![no_main]

use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::time::Duration;

use firstlight::boot::FirmwareTable;
use firstlight::dhcp::{Destination, Request, View, frame, respond};
use firstlight::model::{Change, Lease, LeaseState, MacAddr, Network, Timestamp, World};
use libfuzzer_sys::fuzz_target;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

static FIRMWARE: LazyLock<FirmwareTable> =
    LazyLock::new(|| FirmwareTable::new(&[]).expect("the built-in tables"));
static NETWORK: LazyLock<Network> = LazyLock::new(|| Network {
    interface: Some("br0".into()),
    ranges: vec!["10.77.0.100-10.77.0.105".parse().expect("a range")],
    gateway: Some(SERVER),
    dns: vec![SERVER],
    lease: Duration::from_secs(3600),
    ..Network::new("10.77.0.0/24".parse().expect("a subnet"))
});

fuzz_target!(|bytes: &[u8]| {
    // Most of what is random is no message at all: a second look behind a good header.
    let mut message = vec![0; 240];
    message[..3].copy_from_slice(&[1, 1, 6]);
    message[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend_from_slice(bytes);
    for datagram in [bytes, &message] {
        let Ok(request) = Request::parse(datagram) else { continue };
        let mac = request.client.mac;
        for held in [None, Some(MacAddr([2, 0, 0, 0, 0, 1]))] {
            let mut world = World::default();
            if let Some(mac) = held {
                let (ip, expires) = (Ipv4Addr::new(10, 77, 0, 100), Timestamp(5));
                let lease =
                    Lease { ip, mac, state: LeaseState::Bound, expires, reserved: false, hostname: None };
                world.apply(&Change::PutLease(lease));
            }
            let view = View {
                world: &world,
                network: &NETWORK,
                shared: &[],
                server: SERVER,
                server_identifier: SERVER,
                firmware: &FIRMWARE,
                http_port: 8080,
                domain: Some("mgmt.example"),
                names: true,
                options: &Default::default(),
                serves_strangers: true,
            };
            let Some(reply) = respond(&request, &view, Timestamp(1)).reply else { continue };
            let given = reply.message.yiaddr();
            assert!(
                given.is_unspecified() || NETWORK.ranges[0].contains(given),
                "{given} is not of the pool"
            );
            let encoded = reply.encode().expect("a reply fits a datagram");
            if let Destination::Frame { mac: target_mac, ip: target_ip } = reply.destination {
                let addresses =
                    frame::Addresses { source_mac: mac, source_ip: SERVER, target_mac, target_ip };
                assert!(frame::build(&addresses, &encoded).is_some());
            }
        }
    }
});
