//! `make bench`: Firstlight beside dnsmasq and nginx, alternating in one run on the same machine, and the ratios.
//!
//! Each side has a rack of its own, so that neither hears the other. What is compared is what a user waits for:
//! durable DHCP exchanges per second (`perfdhcp`, of Kea's tools), TFTP and HTTP throughput (`atftp`, `curl`), and the
//! seconds from power-on to ready of the same kernel and ramdisk on the same virtual server. `BENCH` names some of
//! dhcp, tftp, http, boot. Needs root.

#[path = "../tests/appliance/mod.rs"]
mod appliance;
#[path = "dhcp/dnsmasq.rs"]
mod dnsmasq;
#[path = "../tests/rack/mod.rs"]
mod rack;

use std::path::Path;
use std::time::{Duration, Instant};

use appliance::{Appliance, NETWORK};
use rack::{Baseline, BaselineSpec, Host, MachineSpec, NetbootImage, Rack};

/// Times that each side is measured.
const ROUNDS: usize = 3;
/// Bytes of the file that HTTP sends.
const FILE: usize = 256 << 20;
const BOOT: Duration = Duration::from_secs(120);
/// Offered DHCP exchanges per second, one after the other, until too many are dropped.
const RATES: [u32; 12] = [50, 100, 200, 300, 400, 800, 1200, 1600, 2400, 3200, 4800, 6400];

/// Bytes.
const MEBIBYTE: f64 = 1_048_576.0;

type Bench = fn(&NetbootImage);

fn main() {
    let wanted = std::env::var("BENCH").unwrap_or_else(|_| "dhcp,tftp,http,boot".into());
    let image =
        NetbootImage::build(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("images"), "1").expect("an image");
    let benches: [(&str, Bench); 4] = [("dhcp", dhcp), ("tftp", tftp), ("http", http), ("boot", boot)];
    println!("{:<44} {:>12} {:>14} {:>8}", "WHAT", "FIRSTLIGHT", "OTHER", "RATIO");
    for (name, bench) in benches {
        if wanted.split(',').any(|word| word == name) {
            bench(&image);
        }
    }
}

/// Ours and theirs, each in its own rack.
fn sides() -> (Rack, Rack) {
    (Rack::new("ours").expect("a rack"), Rack::new("theirs").expect("a rack"))
}

fn ours<'r>(rack: &'r Rack, image: &NetbootImage) -> Appliance<'r> {
    // Debug lines would be measured, too.
    let appliance = Appliance::start(rack, Path::new(env!("CARGO_BIN_EXE_firstlight")), NETWORK);
    appliance.ok(&["image", "import", &image.demo_manifest().display().to_string()]);
    appliance
}

fn theirs(rack: &Rack, image: &NetbootImage, tuned: bool) -> Baseline {
    let spec = BaselineSpec { image: image.clone(), report_url: None, tuned };
    Baseline::start(rack, &spec).expect("dnsmasq and nginx")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One line of the result; the ratio is ours by theirs.
fn line(what: &str, unit: &str, ours: f64, theirs: f64) {
    println!("{what:<44} {ours:>9.1} {unit:<4} {theirs:>9.1} {unit:<4} {:>6.2}×", ours / theirs);
}

fn output(host: &Host, program: &str, arguments: &[&str]) -> String {
    let output =
        host.command(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The highest offered rate at which less than 1 % of the exchanges is dropped.
fn dhcp_rate(host: &Host) -> f64 {
    let mut best = 0.0;
    for rate in RATES {
        let rate_text = rate.to_string();
        let told = output(
            host,
            "perfdhcp",
            &["-4", "-l", "eth0", "-r", &rate_text, "-R", "50000", "-p", "4", "-W", "500000", "10.64.0.1"],
        );
        let number = |line: &str, key: &str| line.strip_prefix(key)?.split(' ').next()?.parse::<f64>().ok();
        let drops = told.lines().filter_map(|line| number(line, "drops ratio: ")).fold(0.0, f64::max);
        // The last such line counts the ACKs.
        let acks = told.lines().filter_map(|line| number(line, "received packets: ")).next_back();
        match acks {
            Some(acks) if acks > 0.0 && drops < 1.0 => best = f64::max(best, acks / 4.0),
            _ => break,
        }
    }
    best
}

/// In a network with room for every client that perfdhcp plays: few clients that ask often are held to their pace. Neither asks
/// whether an address is in use.
fn dhcp(_image: &NetbootImage) {
    let racks = ["ours", "theirs"].map(|name| Rack::with_address(name, "10.64.0.1/12").expect("a rack"));
    let [a, b] = &racks;
    let network = "[[network]]\ninterface = \"br0\"\nsubnet = \"10.64.0.0/12\"\nranges = [\"10.64.1.0-10.79.255.0\"]\nprobe = false\n\
                   [enrolment]\nmax_unknown = 1000000\n";
    let mut appliance = Appliance::start(a, Path::new(env!("CARGO_BIN_EXE_firstlight")), network);
    let dnsmasq = dnsmasq::start(b);
    std::thread::sleep(Duration::from_secs(1));
    let (client, other) = (a.host("perf").expect("a host"), b.host("perf").expect("a host"));
    let (mut mine, mut yours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        mine.push(dhcp_rate(&client));
        yours.push(dhcp_rate(&other));
    }
    line("DHCP, 4-way exchanges (ours durable) vs dnsmasq", "/s", median(mine), median(yours));
    appliance.stop();
    drop(dnsmasq);
}

fn tftp(image: &NetbootImage) {
    let (a, b) = sides();
    let (mut appliance, baseline) = (ours(&a, image), theirs(&b, image, false));
    std::fs::copy("/usr/lib/ipxe/ipxe.efi", b.dir().join("baseline/tftp/ipxe.efi"))
        .expect("copy a boot file");
    let size = std::fs::metadata("/usr/lib/ipxe/ipxe.efi").expect("package ipxe").len();
    let (client, other) = (a.host("client").expect("a host"), b.host("client").expect("a host"));
    let fetch = |host: &Host, options: &[&str]| {
        let start = Instant::now();
        for _ in 0..10 {
            let mut arguments = options.to_vec();
            arguments.extend(["--get", "-r", "ipxe.efi", "-l", "/dev/null", "10.77.0.1"]);
            let status = host.command("atftp").args(&arguments).output().expect("run atftp").status;
            assert!(status.success(), "atftp {arguments:?}");
        }
        10.0 * as_f64(size) / MEBIBYTE / start.elapsed().as_secs_f64()
    };
    for (name, options) in [("512-byte blocks", &[][..]), ("1468-byte blocks", &["--option", "blksize 1468"])]
    {
        let (mut mine, mut yours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            mine.push(fetch(&client, options));
            yours.push(fetch(&other, options));
        }
        line(&format!("TFTP, {name}, vs dnsmasq"), "MB/s", median(mine), median(yours));
    }
    appliance.stop();
    drop(baseline);
}

fn http(image: &NetbootImage) {
    let (a, b) = sides();
    let (mut appliance, baseline) = (ours(&a, image), theirs(&b, image, false));
    let folder = a.dir().join("big");
    std::fs::create_dir_all(&folder).expect("make a folder");
    std::fs::write(folder.join("kernel"), vec![0x5a; FILE]).expect("write a large file");
    std::fs::copy(folder.join("kernel"), b.dir().join("baseline/web/kernel")).expect("copy it");
    let manifest = folder.join("big.toml");
    std::fs::write(&manifest, "name = \"big\"\nversion = \"1\"\narch = \"x86_64\"\nkernel = \"kernel\"\n")
        .expect("write");
    appliance.ok(&["image", "import", &manifest.display().to_string()]);
    let urls = ["http://10.77.0.1:8080/images/big/1/x86_64/kernel", "http://10.77.0.1:8081/kernel"];
    let (client, other) = (a.host("client").expect("a host"), b.host("client").expect("a host"));
    let fetch = |host: &Host, url: &str| {
        let told = output(host, "curl", &["-sS", "-o", "/dev/null", "-w", "%{speed_download}", url]);
        told.trim().parse::<f64>().unwrap_or_else(|_| panic!("curl {url}: {told}")) / MEBIBYTE
    };
    let (mut mine, mut yours) = (Vec::new(), Vec::new());
    for _ in 0..2 * ROUNDS {
        mine.push(fetch(&client, urls[0]));
        yours.push(fetch(&other, urls[1]));
    }
    line("HTTP, 256 MiB, one client, vs nginx", "MB/s", median(mine), median(yours));
    appliance.stop();
    drop(baseline);
}

/// Power-on to "reported ready" on the console.
fn boot(image: &NetbootImage) {
    type Spec = fn(&str) -> MachineSpec;
    for (name, spec) in [("BIOS", MachineSpec::bios as Spec), ("UEFI", MachineSpec::uefi as Spec)] {
        let (a, b) = sides();
        let c = Rack::new("tuned").expect("a rack");
        let mut appliance = ours(&a, image);
        let (plain, tuned) = (theirs(&b, image, false), theirs(&c, image, true));
        let mut machines = [&a, &b, &c].map(|rack| rack.machine(spec("bench")).expect("a machine"));
        let mac = spec("bench").mac;
        let mut seconds = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..=ROUNDS {
            for (machine, seconds) in machines.iter_mut().zip(&mut seconds) {
                machine.power_on().expect("power on");
                // The first boot makes our node known; everybody's first boot is left out.
                if round == 0 && seconds.is_empty() && appliance.node(&mac).is_none() {
                    appliance.wait_state(&mac, "discovered", BOOT);
                    appliance.ok(&["node", "pin", &mac, "demo@1"]);
                    appliance.ok(&["node", "approve", &mac]);
                }
                let elapsed = machine.wait_serial("firstlight: reported ready", BOOT).expect("it boots");
                if round > 0 {
                    seconds.push(elapsed.as_secs_f64());
                }
                machine.power_off().expect("power off");
            }
        }
        let [mine, ordinary, best] = seconds.map(median);
        line(&format!("{name} power-on to ready vs dnsmasq + nginx"), "s", mine, ordinary);
        line(&format!("{name} … vs the same, tuned by hand"), "s", mine, best);
        appliance.stop();
        drop((plain, tuned));
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of files, far below 2^52")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}
