//! Who is answered without a transaction, and that he is told what one would tell him.

use std::time::Duration;

use dhcproto::v4::{DhcpOption as O, Message, MessageType as M};

use super::*;
use crate::dhcp::Request;
use crate::dhcp::interface::Interface;
use crate::dhcp::server::Exchange;

const HOUR: Duration = Duration::from_secs(3600);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

fn interface() -> Interface {
    Interface {
        name: "eth0".into(),
        index: 1,
        mac: MacAddr([2, 0, 0, 0, 9, 9]),
        address: SERVER,
        addresses: vec![SERVER],
        addresses6: Vec::new(),
    }
}

fn request(n: u8, message_type: M, options: Vec<O>) -> Arc<Request> {
    let mut message = Message::default();
    message.set_chaddr(&[2, 0, 0, 0, 0, n]);
    for option in [O::MessageType(message_type)].into_iter().chain(options) {
        message.opts_mut().insert(option);
    }
    Arc::new(Request::new(message).expect("a request"))
}

/// Client `n` becomes a node with a lease.
async fn has(appliance: &Appliance, n: u8, state: LeaseState, expires: Timestamp) {
    let (ip, mac) = (Ipv4Addr::new(10, 77, 0, 150 + n), MacAddr([2, 0, 0, 0, 0, n]));
    let node = Node::discovered(NodeId(n.into()), format!("n{n}").parse().expect("a name"), mac, now());
    let put: Result<(), AppError> = appliance
        .store
        .transact(move |tx| {
            tx.put(Change::put_node(node));
            tx.put(Change::PutLease(Lease { ip, mac, state, expires, reserved: false, hostname: None }));
            Ok(())
        })
        .await;
    put.expect("it commits");
    assert_eq!(appliance.view().leases_of(mac).map(|lease| lease.ip).collect::<Vec<_>>(), [ip]);
}

/// What client `n` takes, after it was offered that.
async fn takes(appliance: &Appliance, n: u8) -> Ipv4Addr {
    let mut given = Ipv4Addr::UNSPECIFIED;
    for message_type in [M::Discover, M::Request] {
        let options = match message_type {
            M::Request => vec![O::ServerIdentifier(SERVER), O::RequestedIpAddress(given)],
            _ => Vec::new(),
        };
        let answers = appliance.exchange(vec![request(n, message_type, options)], &interface()).await;
        given = answers[0].as_ref().expect("an answer").reply.message.yiaddr();
    }
    given
}

#[tokio::test]
async fn who_starts_again_and_only_wants_his_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let appliance = appliance(folder.path(), "ranges = [\"10.77.0.100-10.77.0.200\"]").await;
    let given = takes(&appliance, 1).await;
    let left = takes(&appliance, 2).await;
    let release = vec![O::ServerIdentifier(SERVER)];
    let mut released = Request::clone(&request(2, M::Release, release));
    released.message.set_ciaddr(left);
    appliance.exchange(vec![Arc::new(released)], &interface()).await;
    has(&appliance, 4, LeaseState::Bound, now()).await;
    has(&appliance, 5, LeaseState::Declined, now().plus(HOUR)).await;
    has(&appliance, 6, LeaseState::Bound, now().plus(HOUR)).await;
    let firmware = || {
        let class = O::ClassIdentifier(b"PXEClient:Arch:00000:UNDI:002001".to_vec());
        vec![class, O::ClientSystemArchitecture(0.into())]
    };
    for (rule, request, expected) in [
        ("one that has an address", request(1, M::Discover, Vec::new()), Some(given)),
        ("whatever it would like", request(1, M::Discover, vec![O::RequestedIpAddress(left)]), Some(given)),
        ("what is taken is written down", request(1, M::Request, vec![O::RequestedIpAddress(given)]), None),
        ("a boot has a history", request(1, M::Discover, firmware()), None),
        (
            "one that never asked here",
            request(6, M::Discover, Vec::new()),
            Some(Ipv4Addr::new(10, 77, 0, 156)),
        ),
        ("one whose address another may get", request(4, M::Discover, Vec::new()), None),
        ("one that found it in use", request(5, M::Discover, Vec::new()), None),
        ("one that gave it back", request(2, M::Discover, Vec::new()), None),
        ("a stranger", request(3, M::Discover, Vec::new()), None),
    ] {
        let events = appliance.view().next_seq();
        let glanced = appliance.at_a_glance(&request, &interface());
        assert_eq!(glanced.as_ref().map(|answered| answered.reply.message.yiaddr()), expected, "{rule}");
        assert_eq!(appliance.view().next_seq(), events, "{rule}: nothing is written down");
        if glanced.is_some() {
            let decided = appliance.exchange(vec![request], &interface()).await;
            assert_eq!(vec![glanced], decided, "{rule}: the same answer");
            assert_eq!(appliance.view().next_seq(), events, "{rule}: nor would it be");
        }
    }
}

#[tokio::test]
async fn where_another_server_gives_addresses_it_says_which() {
    let folder = tempfile::tempdir().expect("a folder");
    let appliance = appliance(folder.path(), "dhcp = \"proxy\"").await;
    has(&appliance, 1, LeaseState::Bound, now().plus(HOUR)).await;
    let discover = request(1, M::Discover, Vec::new());
    assert_eq!(appliance.at_a_glance(&discover, &interface()), None);
}
