//! Bad input, from the configuration to the wire: a clear error each, no panic, and the service goes on. Needs root.

mod appliance;
mod rack;

use std::fs::File;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use appliance::{Appliance, NETWORK};
use rack::{Host, Rack};

const SHORT: Duration = Duration::from_secs(30);

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

/// Runs `firstlight serve` with these tables, which must be refused; its standard error.
fn refused_to_serve(rack: &Rack, tables: &str) -> String {
    let appliance = Appliance::configure(rack, firstlight(), tables);
    let mut command = rack.command("timeout");
    command
        .arg("20")
        .arg(firstlight())
        .arg("serve")
        .arg("--config")
        .arg(appliance.dir().join("firstlight.toml"));
    let output = command.output().expect("run firstlight serve");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{tables}\n{error}");
    assert!(!error.contains("panicked"), "{error}");
    error
}

fn leased(host: &Host) -> bool {
    let mut command = host.command("udhcpc");
    command.args(["-f", "-n", "-q", "-t", "3", "-T", "1", "-i", "eth0", "-s", "/etc/udhcpc/default.script"]);
    command.output().expect("run udhcpc").status.success()
}

#[test]
fn what_keeps_it_from_serving_is_one_clear_line() {
    let rack = Rack::new("refused").expect("a rack");
    let holder = |port: &str| {
        let mut command = rack.command("socat");
        command.args(["-u", port, "/dev/null"]);
        let process = rack.spawn_logged(command, rack.dir().join("holder.log")).expect("hold a port");
        std::thread::sleep(Duration::from_millis(300));
        process
    };
    for (name, tables, port, wanted) in [
        ("unknown key", NETWORK.replace("lease =", "leese ="), None, "did you mean 'lease'?"),
        ("no such interface", NETWORK.replace("br0", "eth9"), None, "eth9"),
        ("interface without the address", NETWORK.replace("10.77.0.", "10.79.0."), None, "10.79.0.0/24"),
        ("DHCP port in use", NETWORK.into(), Some("UDP4-RECV:67"), "67"),
        ("TFTP port in use", NETWORK.into(), Some("UDP4-RECV:69"), "69"),
        ("HTTP port in use", NETWORK.into(), Some("TCP4-LISTEN:8080"), "8080"),
    ] {
        let held = port.map(holder);
        let error = refused_to_serve(&rack, &tables);
        assert!(error.contains(wanted), "{name}: {error}");
        if held.is_some() {
            assert!(error.contains("in use"), "{name}: {error}");
        }
        assert!(
            error.lines().filter(|line| !line.starts_with('{') && line.contains("firstlight")).count() <= 2,
            "{error}"
        );
    }
}

#[test]
fn a_missing_boot_file_names_its_package() {
    let rack = Rack::new("nofile").expect("a rack");
    let folder = rack.dir().join("appliance/overrides/firmware-cfg");
    std::fs::create_dir_all(&folder).expect("make the overrides");
    let table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/firmware-cfg/x86_64.toml"))
        .expect("read");
    std::fs::write(folder.join("x86_64.toml"), table.replace("/usr/lib/ipxe/undionly", "/nowhere/undionly"))
        .expect("write");
    let error = refused_to_serve(&rack, NETWORK);
    assert!(error.contains("/nowhere/undionly.kpxe") && error.contains("package 'ipxe'"), "{error}");
}

#[test]
fn a_second_appliance_on_the_same_state_is_refused() {
    let rack = Rack::new("twice").expect("a rack");
    let mut appliance = Appliance::start(&rack, firstlight(), NETWORK);
    let mut second = rack.command(firstlight());
    second.arg("serve").arg("--config").arg(appliance.dir().join("firstlight.toml"));
    let output = second.output().expect("run a second one");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("in use") || error.contains("running"), "{error}");
    appliance.ok(&["status"]);
    appliance.stop();
}

#[test]
fn an_exhausted_pool_refuses_strangers_and_serves_who_is_known() {
    let rack = Rack::new("pool").expect("a rack");
    let tables = NETWORK.replace("10.77.0.100-10.77.0.200", "10.77.0.100-10.77.0.101");
    let mut appliance = Appliance::start(&rack, firstlight(), &tables);
    let hosts: Vec<Host> = ["a", "b", "c"].iter().map(|name| rack.host_raw(name).expect("a host")).collect();
    let [a, b, c] = hosts.as_slice() else { panic!("three hosts") };
    assert!(leased(a) && leased(b), "the pool has two addresses");
    assert!(!leased(c), "and no third");
    assert!(leased(a), "who has one keeps it");
    assert!(appliance.log().contains("no free address"), "the log says why:\n{}", appliance.log());
    appliance.stop();
}

/// Datagrams of every length and of mutated real requests, at all three servers, and requests of HTTP that are none.
#[test]
fn garbage_on_the_wire_changes_nothing() {
    let rack = Rack::new("garbage").expect("a rack");
    let mut appliance = Appliance::start(&rack, firstlight(), NETWORK);
    let attacker = rack.host("attacker").expect("a host");
    let namespace = PathBuf::from("/run/netns").join(attacker.namespace());
    let sent = std::thread::spawn(move || {
        let file = File::open(namespace).expect("open the namespace");
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("enter the namespace");
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut sent = 0;
        for round in 0..6000_usize {
            let length = usize::try_from(random() % 700).expect("small");
            let mut bytes: Vec<u8> = (0..length).map(|_| random().to_le_bytes()[0]).collect();
            if round % 2 == 0 && bytes.len() > 240 {
                // A BOOTREQUEST with the magic cookie, and noise behind it.
                bytes[..4].copy_from_slice(&[1, 1, if round % 4 == 0 { 6 } else { 255 }, 0]);
                bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
            }
            for port in [67, 69] {
                sent += usize::from(socket.send_to(&bytes, ("10.77.0.1", port)).is_ok());
            }
            if round % 64 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        sent
    })
    .join()
    .expect("the attacker ran");
    assert!(sent > 10_000, "only {sent} datagrams went out");

    let curl = |arguments: &[&str]| {
        attacker
            .command("curl")
            .args(["-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}"])
            .args(arguments)
            .output()
            .expect("run curl")
    };
    for path in [
        "/images/../../etc/passwd",
        "/boot/files/..%2f..%2fetc%2fpasswd",
        "/boot/files/%2e%2e/x",
        "/images/a/1/x86_64/..",
        "/%00",
    ] {
        let output = curl(&["--path-as-is", &format!("http://10.77.0.1:8080{path}")]);
        let code = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(["400", "404", "405"].contains(&code.as_str()), "{path}: {code}");
    }
    let long = format!("http://10.77.0.1:8080/{}", "x".repeat(60_000));
    let code = String::from_utf8_lossy(&curl(&[&long]).stdout).into_owned();
    assert!(code.starts_with('4'), "a request line of 60,000 bytes: {code}");
    for path in ["../../../../etc/passwd", "/etc/passwd", "ipxe.efi/../../x"] {
        let output = attacker
            .command("curl")
            .args(["-sS", "-m", "5", "--path-as-is", &format!("tftp://10.77.0.1/{path}")])
            .output()
            .expect("run curl");
        assert!(!output.status.success() && output.stdout.is_empty(), "TFTP gave {path}");
    }

    assert!(!appliance.log().contains("panicked"), "{}", appliance.log());
    assert!(leased(&rack.host_raw("good").expect("a host")), "a good client is served after it");
    let output = attacker
        .command("curl")
        .args(["-sS", "-m", "10", "tftp://10.77.0.1/undionly.kpxe"])
        .output()
        .expect("curl");
    assert!(output.status.success() && output.stdout.len() > 10_000, "a good transfer works after it");
    appliance.stop();
}

/// A mounted file system; unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(path: &Path, mebibytes: u32) -> Self {
        std::fs::create_dir_all(path).expect("make the mount point");
        let size = format!("size={mebibytes}m");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(path)
            .status()
            .expect("run mount");
        assert!(status.success(), "mount a tmpfs");
        Self(path.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_an_import_and_nothing_else() {
    let rack = Rack::new("full").expect("a rack");
    let _mount = Mount::tmpfs(&rack.dir().join("appliance/state"), 160);
    let mut appliance = Appliance::start(&rack, firstlight(), NETWORK);
    let folder = rack.dir().join("image");
    std::fs::create_dir_all(&folder).expect("make a folder");
    let manifest = |version: &str, mebibytes: usize| {
        // Each version has other bytes, or it would be there already.
        let kernel = vec![version.as_bytes()[0]; mebibytes << 20];
        std::fs::write(folder.join(format!("kernel-{version}")), kernel).expect("write a kernel");
        let path = folder.join(format!("{version}.toml"));
        let text = format!(
            "name = \"big\"\nversion = \"{version}\"\narch = \"x86_64\"\nkernel = \"kernel-{version}\"\n"
        );
        std::fs::write(&path, text).expect("write a manifest");
        path.display().to_string()
    };
    appliance.ok(&["image", "import", &manifest("1", 20)]);
    let error = appliance.refused(&["image", "import", &manifest("2", 90)]);
    assert!(error.contains("full") && error.contains("image gc"), "{error}");
    assert_eq!(appliance.json(&["image", "list"]).as_array().map(Vec::len), Some(1), "nothing half imported");
    let uploads = appliance.dir().join("state/blobs/uploads");
    let left = std::fs::read_dir(&uploads).expect("read the uploads").count();
    assert_eq!(left, 0, "nothing is left in {}", uploads.display());

    appliance.ok(&["image", "verify", "big@1"]);
    assert!(leased(&rack.host_raw("client").expect("a host")), "addresses are given all the same");
    appliance.ok(&["image", "remove", "big@1"]);
    appliance.ok(&["image", "gc"]);
    appliance.ok(&["image", "import", &manifest("3", 20)]);
    appliance.wait("the client's node", SHORT, || {
        appliance.json(&["node", "list"]).as_array().filter(|nodes| !nodes.is_empty()).map(|_| ())
    });
    appliance.stop();
}
