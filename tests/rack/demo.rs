//! `make run`: the main job on a virtual rack, watched live.
//!
//! Two servers with real firmware (one BIOS, one UEFI) are powered on in front of a real appliance; they are
//! approved and pinned to a small image, and come up. Everything runs in a network namespace of its own and is
//! removed at the end.

#[path = "../appliance/mod.rs"]
mod appliance;
#[path = "mod.rs"]
mod rack;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use appliance::{Appliance, NETWORK};
use rack::{Machine, MachineSpec, NetbootImage, Process, Rack};
use serde_json::Value;

/// Longest that a server may take from power-on to ready.
const PATIENCE: Duration = Duration::from_secs(240);

/// A server of the demonstration.
struct Server {
    name: &'static str,
    mac: String,
    machine: Machine,
    powered_on: Instant,
    ready: Option<Duration>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let binary = match (arguments.next(), arguments.next()) {
        (Some(option), Some(path)) if option == "--firstlight" => PathBuf::from(path),
        _ => {
            eprintln!("usage: virtual-rack --firstlight BINARY   (or: make run)");
            return ExitCode::from(2);
        }
    };
    match run(&binary) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("virtual-rack: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(binary: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let say = |line: &str| println!("{:7.1} s  {line}", start.elapsed().as_secs_f64());

    say("building a small image: Debian's cloud kernel and a ramdisk");
    let cache = binary.parent().unwrap_or(Path::new(".")).join("virtual-rack-images");
    std::fs::create_dir_all(&cache)?;
    let image = NetbootImage::build(&cache, "1")?;

    say("starting `firstlight serve` on a virtual rack: DHCP, TFTP and HTTP on 10.77.0.1");
    let rack = Rack::new("demo")?;
    let mut appliance = Appliance::start(&rack, binary, NETWORK);
    let (follower, events) = follow(&appliance)?;

    say("firstlight image import demo.toml; group create web; group pin web demo@1");
    appliance.ok(&["image", "import", &image.demo_manifest().display().to_string()]);
    appliance.ok(&["group", "create", "web"]);
    appliance.ok(&["group", "pin", "web", "demo@1"]);

    let mut servers = Vec::new();
    for spec in [MachineSpec::bios("bios-1"), MachineSpec::uefi("uefi-1")] {
        let name = if spec.firmware == rack::Firmware::Bios { "bios-1" } else { "uefi-1" };
        say(&format!("power on {name}, MAC {}", spec.mac));
        let (mac, mut machine) = (spec.mac.clone(), rack.machine(spec)?);
        machine.power_on()?;
        servers.push(Server { name, mac, machine, powered_on: Instant::now(), ready: None });
    }

    while servers.iter().any(|server| server.ready.is_none()) {
        if start.elapsed() > PATIENCE {
            for server in &servers {
                eprintln!("--- console of {}\n{}", server.name, server.machine.serial_text()?);
            }
            return Err(format!(
                "not all servers are ready after {} s\n{}",
                PATIENCE.as_secs(),
                appliance.log()
            )
            .into());
        }
        let Ok(event) = events.recv_timeout(Duration::from_millis(200)) else { continue };
        let name = event["name"].as_str().unwrap_or("appliance").to_owned();
        say(&format!("{name:<12} {}", event["text"].as_str().unwrap_or_default()));
        if event["kind"] == "discovered" {
            let known = servers.iter().find(|server| event["mac"] == server.mac.as_str());
            let server = known.ok_or("a server that nobody powered on")?;
            say(&format!(
                "firstlight node set {name} --name {} --group web; node approve {}",
                server.name, server.name
            ));
            appliance.ok(&["node", "set", &name, "--name", server.name, "--group", "web"]);
            appliance.ok(&["node", "approve", server.name]);
        }
        if event["kind"] == "state" && event["to"] == "ready" {
            for server in servers.iter_mut().filter(|server| server.name == name) {
                server.ready.get_or_insert(server.powered_on.elapsed());
            }
        }
    }

    println!("\n$ firstlight node timeline uefi-1\n{}", appliance.ok(&["node", "timeline", "uefi-1"]));
    println!("$ firstlight node list\n{}", appliance.ok(&["node", "list"]));
    table(&appliance, &servers);
    for server in &mut servers {
        server.machine.power_off()?;
    }
    drop(follower);
    appliance.stop();
    Ok(())
}

/// The end: who they are, what they run, how long it took.
fn table(appliance: &Appliance<'_>, servers: &[Server]) {
    println!("{:<8} {:<18} {:<13} {:<8} {:<7} POWER-ON TO READY", "NODE", "MAC", "IP", "IMAGE", "STATE");
    for server in servers {
        let node = appliance.node(server.name).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let (ip, image, state) = (text(&node["ip"]), text(&node["observed"]["image"]), text(&node["state"]));
        let seconds = server.ready.unwrap_or_default().as_secs_f64();
        println!("{:<8} {:<18} {ip:<13} {image:<8} {state:<7} {seconds:.1} s", server.name, server.mac);
    }
}

/// The appliance's events as they happen.
fn follow(appliance: &Appliance<'_>) -> Result<(Process, Receiver<Value>), Box<dyn std::error::Error>> {
    let (reader, writer) = std::io::pipe()?;
    let mut command = appliance.command(&["event", "follow", "--output", "json"]);
    command.stdin(Stdio::null()).stdout(writer);
    let process = Process::spawn(command)?;
    let (send, events) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            if let Ok(event) = serde_json::from_str(&line)
                && send.send(event).is_err()
            {
                return;
            }
        }
    });
    Ok((process, events))
}
