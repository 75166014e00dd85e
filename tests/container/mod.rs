//! Hosts as containers: a Debian of their own (an overlay over one that is made once) in namespaces of their own, with the agent as it
//! runs on any host. No systemd runs in them; the agent looks after services itself.
#![allow(dead_code, reason = "each test uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::programs::{alone_in, ok, run};
use crate::rack::{Host, HostSpec, Process, Rack};

/// What tests build once.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("containers")
}

/// The system that all containers lie over: apt, sshd and little more.
fn system() -> PathBuf {
    let (folder, ready) = (cache().join("system"), cache().join("system.ready"));
    let include = "--include=iproute2,procps,ca-certificates,openssh-server";
    let _alone = alone_in(&cache());
    if std::fs::read_to_string(&ready).ok().as_deref() != Some(include) {
        let _ = std::fs::remove_dir_all(&folder);
        let path = folder.to_str().expect("a plain path");
        run("mmdebstrap", &["--quiet", "--variant=apt", include, "bookworm", path]);
        std::fs::write(ready, include).expect("write a file");
    }
    folder
}

/// The distribution's packages of these names, with what they need beside the system of the containers.
pub fn packages(names: &[&str]) -> Vec<PathBuf> {
    packages_beside(&system().join("var/lib/dpkg/status"), "container", names)
}

/// The same for any system, by its list of installed packages; `what` names it.
pub fn packages_beside(status: &Path, what: &str, names: &[&str]) -> Vec<PathBuf> {
    let folder = cache().join(format!("debs-{what}-{}", names.join("-")));
    let _alone = alone_in(&cache());
    std::fs::create_dir_all(folder.join("partial")).expect("make the cache");
    let mut apt = Command::new("apt-get");
    apt.args(["-qq", "-y", "--download-only", "--no-install-recommends"]);
    apt.arg("-o").arg(format!("Dir::State::status={}", status.display()));
    apt.arg("-o").arg(format!("Dir::Cache::archives={}", folder.display()));
    apt.arg("-o").arg("Debug::NoLocking=1").arg("install").args(names);
    ok(&mut apt);
    let paths = std::fs::read_dir(&folder).expect("the cache").map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "deb")).collect()
}

/// A running container; gone when dropped, with all that runs in it.
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    host: Host,
    init: Process,
    agent: Option<Process>,
}

impl Container {
    /// Starts one with this address.
    pub fn start(rack: &Rack, name: &str, address: &str, firstlight: &Path) -> Self {
        let spec = HostSpec { address: Some(format!("{address}/24")), ..HostSpec::default() };
        let host = rack.host_with(name, spec).expect("a host");
        let folder = rack.dir().join(format!("container-{name}"));
        for part in ["upper", "work", "root"] {
            std::fs::create_dir_all(folder.join(part)).expect("a folder");
        }
        // The machine below tells its own hardware, the same in every container: that stays outside.
        let script = r#"
            set -e
            cd "$1"
            mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" root
            mount -t proc proc root/proc
            mount -t sysfs sysfs root/sys
            mount --bind /dev root/dev
            for hidden in /sys/class/dmi /sys/firmware; do [ ! -d "root$hidden" ] || mount -t tmpfs none "root$hidden"; done
            mount -t tmpfs none root/run
            hostname "$3"
            echo "$3" > root/etc/hostname
            printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$3" > root/etc/hosts
            install -m 755 "$4" root/usr/local/bin/firstlight
            mkdir -p root/run/sshd
            chroot root /usr/sbin/sshd
            # It reaps whoever is left without a parent, as the first process has to.
            exec chroot root /bin/bash -c 'while :; do sleep 3600 & wait; done'"#;
        let mut command = rack.command("ip");
        command.args(["netns", "exec", host.namespace(), "unshare", "--mount", "--uts", "--pid", "--fork"]);
        command.args(["--kill-child", "--", "sh", "-c", script, "sh"]).arg(&folder).arg(system());
        command.arg(name).arg(firstlight);
        let init = rack.spawn_logged(command, format!("container-{name}.log")).expect("a container");
        let container = Self { name: name.into(), address: address.into(), host, init, agent: None };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !container.run("test -s /etc/hostname && grep -q bash /proc/1/comm").status.success() {
            assert!(Instant::now() < deadline, "container {name} does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        container
    }

    /// The process id of its first process, seen from outside.
    fn first(&self) -> Option<String> {
        let pid = self.init.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        Some(children.split_whitespace().next()?.to_owned())
    }

    /// A command within it.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        let first = self.first().unwrap_or_else(|| "0".into());
        command.args(["-t", &first, "-m", "-u", "-p", "-n", "-r", "-w", "--", "/bin/sh", "-c", script]);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs a shell script within it.
    pub fn run(&self, script: &str) -> Output {
        self.command(script).output().expect("run nsenter")
    }

    /// [`Self::run`] that must succeed; its standard output.
    pub fn ok(&self, script: &str) -> String {
        ok(&mut self.command(script))
    }

    /// Starts the agent.
    pub fn start_agent(&mut self) {
        let command = self.command("exec firstlight agent run 2>&1");
        self.agent = Some(self.host.spawn_logged(command, "agent.log").expect("the agent"));
    }

    /// Ends the agent as a crash would; services go on.
    pub fn kill_agent(&mut self) {
        ok(&mut self.command("pkill -KILL -x firstlight"));
        drop(self.agent.take());
    }

    /// What its agent logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.host.dir().join("agent.log")).unwrap_or_default()
    }
}
