//! The real TFTP and HTTP servers on loopback, started once; each input goes to them over a socket.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use firstlight::appliance::Appliance;
use firstlight::boot::{FirmwareTable, Scripts};
use firstlight::bundle::secret::SecretKey;
use firstlight::config::Config;
use firstlight::http::{Listener, plane};
use firstlight::store::Store;
use firstlight::store::blobs::Blobs;
use firstlight::tftp::{self, BootFiles};
use firstlight::trust::Authority;
use tokio::sync::watch;

const CONFIG: &str = "[[network]]\ninterface = \"lo\"\nsubnet = \"127.0.0.0/8\"\ndhcp = \"off\"\n";
const PATIENCE: Duration = Duration::from_secs(5);
/// When a client asks again.
const AGAIN: Duration = Duration::from_millis(500);

/// Where the servers listen.
struct Servers {
    tftp: SocketAddr,
    http: SocketAddr,
}

static SERVERS: LazyLock<Servers> = LazyLock::new(|| {
    // A panic anywhere is a finding, also in a task that would swallow it.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        hook(info);
        std::process::abort();
    }));
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let dir = std::env::temp_dir().join(format!("firstlight-fuzz-{}", std::process::id()));
            let config = Arc::new(Config::parse(CONFIG, Path::new("fuzz.toml")).expect("a configuration"));
            let firmware = Arc::new(FirmwareTable::new(&[]).expect("tables"));
            let store = Store::open(&dir).expect("a store");
            let blobs = Blobs::open(&dir).await.expect("a folder");
            let scripts = Scripts::new(&[]).expect("templates");
            let authority = Authority::open(&dir.join("ca")).expect("an authority");
            let appliance =
                Appliance::new(config, firmware, scripts, store, blobs, authority, SecretKey::generate());
            let appliance = Arc::new(appliance);
            let files = Arc::new(BootFiles::of([("x".to_owned(), vec![7; 100].into())]));
            let (_stop, stopped) = watch::channel(false);
            let server =
                tftp::Server::bind(Ipv4Addr::LOCALHOST.into(), 0, Arc::clone(&files), Arc::clone(&appliance));
            let server = server.await.expect("a port");
            let listener = Listener::tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.expect("a port");
            let Listener::Tcp(tcp) = &listener else { unreachable!("it was asked for TCP") };
            let http = tcp.local_addr().expect("its address");
            send.send(Servers { tftp: server.local_addr().expect("its address"), http })
                .expect("somebody waits");
            let router = plane::router(appliance, files);
            tokio::join!(server.serve(stopped.clone()), listener.serve(router, stopped));
        });
    });
    receive.recv().expect("the servers start")
});

/// Sends bytes as one connection, and then a good request on another.
pub fn connection(bytes: &[u8]) {
    let exchange = |bytes: &[u8], hangs_up: bool| {
        let mut stream = TcpStream::connect(SERVERS.http).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        // It may close while it is still being sent to.
        let _ = stream.write_all(bytes);
        if hangs_up {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    };
    exchange(bytes, true);
    let good = exchange(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", false);
    assert!(good.starts_with(b"HTTP/1.1 200"), "after {bytes:?}: {}", String::from_utf8_lossy(&good));
}

/// Sends bytes as one datagram, and then asks for a file; again, as clients do, where no answer comes: the port may have been another
/// one's a moment ago, whose transfer has not quite ended.
pub fn datagram(bytes: &[u8]) {
    // Another client than the good one, whose share of transfers it must not use up.
    static SOCKET: LazyLock<UdpSocket> = LazyLock::new(|| UdpSocket::bind("127.0.0.2:0").expect("a socket"));
    SOCKET.send_to(bytes, SERVERS.tftp).expect("it goes out");
    let asking = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    asking.set_read_timeout(Some(AGAIN)).expect("a time-out");
    let ask = || asking.send_to(b"\x00\x01x\0octet\0", SERVERS.tftp).expect("it goes out");
    ask();
    let asked = Instant::now();
    let mut answer = [0; 600];
    let (length, peer) = loop {
        match asking.recv_from(&mut answer) {
            Ok(received) => break received,
            // libFuzzer's own timer.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if asked.elapsed() > PATIENCE => panic!("after {bytes:?}: {error}"),
            Err(_) => {
                ask();
            }
        }
    };
    assert!(answer[..length].starts_with(&[0, 3, 0, 1]), "after {bytes:?}: {:?}", &answer[..length]);
    // The only block is acknowledged, and the transfer ends.
    asking.send_to(b"\x00\x04\x00\x01", peer).expect("it goes out");
}
