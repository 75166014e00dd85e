//! The first process of the ramdisk: makes the machine usable, then does what the appliance says. It never ends: what goes
//! wrong is said on the console, and the machine restarts.

use std::path::Path;
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use super::AgentError;
use super::arguments::Arguments;
use super::console::Console;
use super::{kernel_log, machine, network, work};
use crate::modules::loader::{FOUNDATION, Linux, Loader, Pace};
use crate::modules::{INDEX_PATH, index_text};

/// How long the interface that was booted from may take to appear, once all modules are loaded.
const INTERFACE: Duration = Duration::from_secs(60);
/// How long a person has to read what went wrong.
const READING: Duration = Duration::from_secs(15);
/// How long one module may keep the others waiting.
const FOUNDATION_LIMIT: Duration = Duration::from_secs(20);

/// Whether this process is the first one of a ramdisk.
pub fn is_init() -> bool {
    std::process::id() == 1 && std::env::args_os().next().is_some_and(|name| name == "/init")
}

/// Runs until the machine restarts.
pub fn run() -> ! {
    let mounted = mount_all();
    let console = Console::open();
    if let Err(error) = mounted {
        console.say(&error.to_string());
    }
    std::panic::set_hook(Box::new(|panic| Console::open().say(&format!("a defect: {panic}"))));
    let worked = std::panic::catch_unwind(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| AgentError::machine("start", error))?;
        runtime.block_on(start(Console::open()))
    });
    if let Ok(Err(error)) = worked {
        console.say(&error.to_string());
    }
    console.say(&format!("restarts in {} s", READING.as_secs()));
    std::thread::sleep(READING);
    loop {
        if let Err(error) = machine::restart() {
            console.say(&error.to_string());
        }
        std::thread::sleep(READING);
    }
}

async fn start(console: Console) -> Result<(), AgentError> {
    let begun = std::time::Instant::now();
    let clock = machine::clock();
    console.say(&format!("agent {}, kernel {}", env!("CARGO_PKG_VERSION"), machine::kernel()));
    let cmdline = std::fs::read_to_string("/proc/cmdline")
        .map_err(|error| AgentError::machine("read /proc/cmdline", error))?;
    let arguments = Arguments::parse(&cmdline)?;
    machine::set_clock(arguments.time);
    let loaded = tokio::task::spawn_blocking(load_modules)
        .await
        .map_err(|error| AgentError::machine("load modules", error))?;
    match loaded {
        Ok(count) => {
            console.say(&format!("{count} modules loaded after {:.1} s", begun.elapsed().as_secs_f32()));
        }
        Err(error) => console.say(&error.to_string()),
    }
    if Path::new("/sys/firmware/efi/efivars").exists() {
        // On a kernel without it, boot entries are left as they are.
        let _ = mount(
            Some("efivarfs"),
            "/sys/firmware/efi/efivars",
            Some("efivarfs"),
            MsFlags::empty(),
            None::<&str>,
        );
    }
    let interface = network::wait_for(arguments.mac, INTERFACE).await.ok_or_else(|| {
        AgentError::machine(
            format!("find the network interface {}", arguments.mac),
            "no driver of this ramdisk fits it, or its firmware file is missing; see [ramdisk] in the configuration",
        )
    })?;
    network::configure(&interface, &arguments).await?;
    console
        .say(&format!("{interface} {} has {}/{}", arguments.mac, arguments.address.0, arguments.address.1));
    if let Some(syslog) = arguments.syslog {
        kernel_log::send(syslog);
    }
    work::run(arguments, console, clock).await
}

fn mount_all() -> Result<(), AgentError> {
    for (kind, on, flags) in [
        ("proc", "/proc", MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC),
        ("sysfs", "/sys", MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC),
        ("devtmpfs", "/dev", MsFlags::MS_NOSUID),
        ("devpts", "/dev/pts", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC),
        ("tmpfs", "/run", MsFlags::MS_NOSUID | MsFlags::MS_NODEV),
        ("tmpfs", "/tmp", MsFlags::MS_NOSUID | MsFlags::MS_NODEV),
    ] {
        std::fs::create_dir_all(on).map_err(|error| AgentError::machine(format!("make {on}"), error))?;
        match mount(Some(kind), on, Some(kind), flags, None::<&str>) {
            // The kernel may have mounted it by itself (CONFIG_DEVTMPFS_MOUNT).
            Ok(()) | Err(nix::errno::Errno::EBUSY) => {}
            Err(error) => return Err(AgentError::machine(format!("mount {on}"), error)),
        }
    }
    Ok(())
}

/// Loads what the machine's devices need; how many modules that were.
fn load_modules() -> Result<usize, AgentError> {
    let root = Path::new("/");
    let failed = |error: &dyn std::fmt::Display| AgentError::machine("load kernel modules", error);
    let text = std::fs::read_to_string(root.join(INDEX_PATH)).map_err(|error| failed(&error))?;
    let index = index_text::parse(&text).map_err(|error| failed(&error))?;
    let mut loader = Loader::new(index, Linux::new(root)).map_err(|error| failed(&error))?;
    loader.load(FOUNDATION, FOUNDATION_LIMIT);
    let report = loader.load_for_devices(&Pace::default());
    Ok(report.loaded.len())
}
