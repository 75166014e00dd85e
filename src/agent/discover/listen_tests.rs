//! A neighbour on the other end of a real cable (veth), in a network namespace of this test's own.

use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use super::super::links::Raised;
use super::*;

/// Runs in a thread with its own network, which is gone when the thread ends; `None` where that is not allowed.
fn in_own_network<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let thread = thread::spawn(move || unshare(CloneFlags::CLONE_NEWNET).ok().map(|()| test()));
    thread.join().expect("the test")
}

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).status().is_ok_and(|status| status.success())
}

/// What a switch says of itself, in the smallest frame.
fn frame(port: &[u8]) -> Vec<u8> {
    let length = u8::try_from(port.len() + 1).expect("a short name");
    [
        &[1, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 9, 0x88, 0xcc, 2, 3, 7, b's', b'w', 4, length, 5][..],
        port,
        &[6, 2, 0, 120],
    ]
    .concat()
}

/// Sends the frame out of an interface.
#[expect(unsafe_code, reason = "no library builds a sockaddr_ll for sending")]
fn send(interface: &str, frame: &[u8]) {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None).expect("a socket");
    let index = i32::try_from(if_nametoindex(interface).expect("an interface")).expect("a small number");
    // SAFETY: a sockaddr_ll is plain data and fits a sockaddr_storage; its length is its own.
    let ((), address) = unsafe {
        socket2::SockAddr::try_init(|storage, length| {
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = u16::try_from(libc::AF_PACKET).expect("a small number");
            address.sll_ifindex = index;
            address.sll_halen = 6;
            storage.cast::<libc::sockaddr_ll>().write(address);
            *length = u32::try_from(size_of::<libc::sockaddr_ll>()).expect("a small number");
            Ok(())
        })
    }
    .expect("an address");
    socket.send_to(frame, &address).expect("sent");
}

#[test]
fn the_switch_at_each_port_is_heard_and_ports_go_down_again() {
    let told = in_own_network(|| {
        // The other ends are up, so that ours have a carrier as soon as they are.
        if !(ip("link add p0 type veth peer name s0") && ip("link add p1 type veth peer name s1")) {
            return None;
        }
        assert!(ip("link set s0 up") && ip("link set s1 up"));
        let ports = ["p0".to_owned(), "p1".to_owned(), "none".to_owned()];
        let raised = Raised::raise(&ports);
        assert!(!raised.is_empty());
        assert!(Raised::raise(&ports[..2]).is_empty(), "they are up already");
        let index = |name: &str| if_nametoindex(name).expect("an interface");
        assert_ne!(index("p0"), index("p1"));
        let listener = thread::spawn(move || listen(&ports, Duration::from_secs(20)));
        let started = Instant::now();
        // Until it has opened its socket nobody hears.
        while !listener.is_finished() && started.elapsed() < Duration::from_secs(20) {
            send("s0", &frame(b"one"));
            send("s1", b"\x01\x80\xc2\x00\x00\x0e\x02\x00\x00\x00\x00\x09\x88\xccbroken");
            send("s1", &frame(b"two"));
            // Its own words are no neighbour's.
            send("p0", &frame(b"self"));
            thread::sleep(Duration::from_millis(50));
        }
        let heard = listener.join().expect("heard");
        assert!(started.elapsed() < Duration::from_secs(15), "it ends when all were heard");
        drop(raised);
        let up = |name: &str| {
            nix::ifaddrs::getifaddrs()
                .expect("interfaces")
                .find(|interface| interface.interface_name == name)
                .map(|interface| interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP))
        };
        assert_eq!((up("p0"), up("p1"), up("s0")), (Some(false), Some(false), Some(true)));
        Some(heard)
    });
    let Some(Some(heard)) = told else {
        eprintln!("skipped: no right to make network namespaces");
        return;
    };
    let port = |name: &str| heard.get(name).map(|lldp| (lldp.chassis.as_str(), lldp.port.as_str()));
    assert_eq!((port("p0"), port("p1")), (Some(("sw", "one")), Some(("sw", "two"))));
}

#[test]
fn silence_ends_in_time() {
    let started = Instant::now();
    assert!(listen(&["lo".to_owned()], Duration::from_millis(200)).is_empty());
    assert!(listen(&[], Duration::from_secs(60)).is_empty());
    assert!(started.elapsed() < Duration::from_secs(5));
}
