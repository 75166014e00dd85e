//! Bundles, packages and clusters on real hosts: three come up as an etcd and serf cluster with an Open vSwitch bridge, without a hand
//! on any of them; a fourth joins, one leaves, roles change, one dies; etcd is upgraded by its bundle alone while a writer writes.
//!
//! etcd, serf and Open vSwitch are the distribution's packages, installed by apt from the appliance's own signed repository. The
//! first host is a virtual server with an empty disk: discovered, installed, and configured under systemd. The others are containers
//! without systemd ([`container`]): more whole servers would be too slow here. Needs root.

mod appliance;
mod container;
mod programs;
mod rack;
mod ramdisk;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use appliance::Appliance;
use container::Container;
use programs::{ok, run};
use rack::{Disk, Machine, MachineSpec, Rack, key_pair, ssh};
use serde_json::Value;

/// Longest wait for a step of the whole cluster: one of its members is emulated.
const STEP: Duration = Duration::from_secs(1200);
/// Nothing changed: an apply takes less than this, milliseconds.
const UNCHANGED_MS: u64 = 1000;

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

fn bundle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles").join(name)
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The rack, and all that is in it.
struct Story<'r> {
    rack: &'r Rack,
    appliance: Appliance<'r>,
    /// n1, from an empty disk.
    server: Machine,
    /// The others, by name.
    hosts: BTreeMap<String, Container>,
    /// What root logs in with, where the bundle `base` says so.
    key: PathBuf,
    /// The distribution's packages.
    debs: Vec<PathBuf>,
}

impl Story<'_> {
    /// A container that joined the appliance, the group and the cluster.
    fn host(&mut self, name: &str, address: &str) {
        let mut host = Container::start(self.rack, name, address, firstlight());
        let invited = self.appliance.json(&["node", "invite", "--name", name]);
        let token = invited["token"].as_str().expect("a token");
        host.ok(&format!("firstlight agent enrol --no-unit --server https://10.77.0.1:8443 --token {token}"));
        self.appliance.ok(&["node", "set", name, "--group", "rack1"]);
        host.start_agent();
        self.appliance.ok(&["cluster", "join", "prod", name]);
        self.hosts.insert(name.into(), host);
    }

    fn member(&self, name: &str) -> Value {
        let cluster = self.appliance.json(&["cluster", "show", "prod"]);
        let members = cluster["members"].as_array().expect("members").clone();
        members.into_iter().find(|member| member["node"] == name).unwrap_or_default()
    }

    fn address(&self, name: &str) -> String {
        self.member(name)["address"].as_str().expect("an address").to_owned()
    }

    /// Runs a shell script on a host.
    fn ok(&self, name: &str, script: &str) -> String {
        match self.hosts.get(name) {
            Some(host) => host.ok(script),
            None => ok(&mut ssh(self.rack, &self.key, &self.address(name), script)),
        }
    }

    fn standing(&self, node: &str) -> Value {
        self.appliance.json(&["node", "bundles", node])
    }

    /// Waits until these and no others are members, current and healthy.
    fn settle(&self, what: &str, nodes: &[&str]) {
        self.appliance.wait(what, STEP, || {
            let cluster = self.appliance.json(&["cluster", "show", "prod"]);
            let members = cluster["members"].as_array()?.clone();
            let fine = |node: &&str| {
                members.iter().any(|member| {
                    member["node"] == **node && member["state"] == "member" && member["trouble"] == ""
                }) && self.appliance.node(node).is_some_and(|node| node["state"] == "ready")
            };
            (members.len() == nodes.len() && nodes.iter().all(fine)).then_some(())
        });
    }

    /// Names of etcd's members, as it tells itself.
    fn etcd_members(&self, on: &str) -> Vec<String> {
        let list: Value =
            serde_json::from_str(&self.ok(on, "ETCDCTL_API=3 etcdctl member list -w json")).expect("JSON");
        let members = list["members"].as_array().expect("members");
        let mut names: Vec<String> =
            members.iter().map(|member| member["name"].as_str().unwrap_or("").to_owned()).collect();
        names.sort();
        names
    }

    /// Those whom serf sees alive.
    fn serf_members(&self, on: &str) -> usize {
        self.ok(on, "serf members").lines().filter(|line| line.contains("alive")).count()
    }

    /// Pushes the etcd bundle as another version, changed by `edit`.
    fn push_etcd(&self, version: &str, edit: impl Fn(String) -> String) {
        let folder = self.rack.dir().join(format!("etcd-{version}"));
        ok(Command::new("cp").arg("-r").arg(bundle("etcd")).arg(&folder));
        let manifest = folder.join("bundle.toml");
        let text = std::fs::read_to_string(&manifest).expect("the manifest");
        let was = text.lines().find(|line| line.starts_with("version = ")).expect("its version").to_owned();
        let text = edit(text.replace(&was, &format!("version = \"{version}\"")));
        std::fs::write(&manifest, text).expect("write");
        self.appliance.ok(&["bundle", "push", plain(&folder)]);
    }

    /// Waits until these run this version of etcd's bundle.
    fn wait_etcd(&self, version: &str, nodes: &[&str]) {
        self.appliance.wait(&format!("etcd@{version}"), STEP, || {
            let done = |node: &&str| {
                let found = self.standing(node);
                found["standing"] == "current"
                    && found["observed"]["bundles"].to_string().contains(&format!("\"etcd@{version}\""))
            };
            nodes.iter().all(done).then_some(())
        });
    }

    fn jobs(&self, bundle: &str) -> Vec<Value> {
        let jobs = self.appliance.json(&["job", "list", "--limit", "1000"]);
        let jobs = jobs.as_array().expect("jobs").iter();
        jobs.filter(|job| job["bundles"].to_string().contains(&format!("\"{bundle}\""))).cloned().collect()
    }
}

/// The distribution's package again, as a newer version.
fn newer(rack: &Rack, package: &Path, version: &str) -> PathBuf {
    let (tree, out) = (rack.dir().join("tree"), rack.dir().join("newer.deb"));
    run("dpkg-deb", &["-R", plain(package), plain(&tree)]);
    let control = tree.join("DEBIAN/control");
    let text = std::fs::read_to_string(&control).expect("its control file");
    let line = |line: &str| {
        if line.starts_with("Version:") { format!("Version: {version}\n") } else { format!("{line}\n") }
    };
    std::fs::write(&control, text.lines().map(line).collect::<String>()).expect("write");
    run("dpkg-deb", &["-b", plain(&tree), plain(&out)]);
    out
}

#[test]
fn three_hosts_become_a_cluster_and_live() {
    let rack = Rack::new("cluster").expect("a rack");
    let started = Instant::now();
    let told = |what: &str| println!("after {} s: {what}", started.elapsed().as_secs());
    let mut story = begin(&rack);
    told("the appliance has all it is to hand out");
    form(&mut story);
    told("three are a cluster");
    ansible_from_outside(&story);
    systemd_on_n1(&story);
    told("n1's systemd did what a bundle says");
    a_second_control_member_stays_up(&mut story);
    told("n3 was out of reach and is back");
    one_joins_and_one_leaves(&mut story);
    told("n4 joined, n3 left, n4 took its place");
    let pinned = etcd_is_upgraded(&story);
    told("etcd is upgraded");
    nothing_restarts_for_nothing(&story, pinned);
    told("the same again changed nothing");
    a_failing_check_goes_no_further(&story, pinned);
    told("a bad change was stopped");
    a_dead_member_is_taken_off_the_lists(&mut story);
    told("n4 died and was given up");
    story.appliance.stop();
}

/// The appliance with packages, bundles and an image, and the server that is to be n1.
fn begin(rack: &Rack) -> Story<'_> {
    let image = ramdisk::debian("1", "");
    let names = ["etcd-server", "etcd-client", "serf", "openvswitch-switch"];
    let mut debs = container::packages(&[&names[..], &["ansible-core"]].concat());
    debs.extend(container::packages_beside(&ramdisk::debian_packages(), "server", &names));
    debs.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    debs.dedup_by_key(|path| path.file_name().map(ToOwned::to_owned));
    let appliance = ramdisk::appliance(rack, firstlight(), "[deadlines]\nheartbeat = \"60s\"\n");
    appliance.wait("the repositories' key", STEP, || {
        let first = plain(debs.first().expect("packages"));
        appliance.cli(&["package", "push", first]).status.success().then_some(())
    });
    let paths: Vec<&str> = debs.iter().map(|path| plain(path)).collect();
    appliance.ok(&[&["package", "push"], paths.as_slice()].concat());
    for name in ["base", "openvswitch", "serf", "etcd"] {
        println!("{}", appliance.ok(&["bundle", "push", plain(&bundle(name))]));
    }
    let key = key_pair(rack.dir(), "key");
    let public = std::fs::read_to_string(key.with_extension("pub")).expect("a public key");
    appliance.ok(&["group", "create", "rack1"]);
    let keys = format!("root_keys=[\"{}\"]", public.trim());
    for variable in ["datapath_type=netdev", "time=none", "node_exporter=false", &keys] {
        appliance.ok(&["vars", "set", variable, "--group", "rack1"]);
    }
    let listed = appliance.json(&["bundle", "list"]);
    let listed = listed.as_array().expect("bundles").iter();
    let names: Vec<String> =
        listed.map(|bundle| bundle["bundle"].as_str().expect("a name").to_owned()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    appliance.ok(&[&["bundle", "pin", "--group", "rack1"], names.as_slice()].concat());
    appliance.ok(&["image", "import", plain(&image.join("disk.toml"))]);

    let disk = rack.dir().join("n1.disk");
    File::create(&disk).and_then(|file| file.set_len(3 << 30)).expect("an empty disk");
    let mut spec = MachineSpec::bios("n1");
    spec.memory_mib = 1024;
    spec.disks.push(Disk::Raw { path: disk, options: "discard=unmap".into() });
    let server = rack.machine(spec).expect("a machine");
    Story { rack, appliance, server, hosts: BTreeMap::new(), key, debs }
}

/// From bare disk and from nothing to a cluster of three.
fn form(story: &mut Story<'_>) {
    let mac = story.server.spec().mac.clone();
    story.server.power_on().expect("power on");
    story.appliance.wait_state(&mac, "discovered", ramdisk::BOOT);
    story.appliance.ok(&["node", "set", &mac, "--name", "n1", "--group", "rack1"]);
    story.appliance.ok(&["node", "pin", "n1", "debian@1"]);
    story.appliance.ok(&["node", "approve", "n1"]);
    let rules = ["--rule", "control=3:rack1", "--rule", "worker"];
    story.appliance.ok(&[&["cluster", "init", "prod", "--seed", "n1"], &rules[..]].concat());
    for (name, address) in [("n2", "10.77.0.22"), ("n3", "10.77.0.23")] {
        story.host(name, address);
    }
    story.settle("three members", &["n1", "n2", "n3"]);
    println!("{}", story.appliance.ok(&["cluster", "show", "prod"]));
    println!("{}", story.appliance.ok(&["job", "list"]));
    println!("{}", story.appliance.ok(&["node", "timeline", "n1"]));
    for host in ["n1", "n2", "n3"] {
        assert_eq!(story.etcd_members(host), ["n1", "n2", "n3"], "etcd of {host}");
        assert_eq!(story.serf_members(host), 3, "serf of {host}");
        story.ok(host, "ovs-vsctl br-exists $(ovs-vsctl list-br | head -1)");
    }
    assert_eq!(
        story.ok("n1", "systemctl is-active etcd serf openvswitch-switch"),
        "active\nactive\nactive\n"
    );
    names_of_the_cluster(story);
    let vars = story.appliance.ok(&["node", "vars", "n1"]);
    assert!(vars.contains("group rack1") && vars.contains("default of etcd"), "{vars}");
    // The appliance knows whom serf sees.
    story.appliance.wait("serf's lists", STEP, || {
        let seen = |name: &&str| story.member(name)["seen_by"] == serde_json::json!([2, 2]);
        ["n1", "n2", "n3"].iter().all(seen).then_some(())
    });
}

/// The API tells where etcd is, and so does DNS; who is in the role, too. A member whose health is just being asked may come in a
/// moment later.
fn names_of_the_cluster(story: &Story<'_>) {
    let dig = |what: &[&str]| {
        let mut dig = story.rack.command("dig");
        let text = ok(dig.args(["@10.77.0.1", "+short", "+tries=2"]).args(what));
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let mut addresses = ["n1", "n2", "n3"].map(|node| story.address(node));
    addresses.sort();
    let targets = ["n1", "n2", "n3"].map(|node| format!("0 10 2379 {node}.mgmt.example."));
    story.appliance.wait("the names of all three", STEP, || {
        let services = story.appliance.json(&["cluster", "services", "prod"]);
        let clients = services.as_array()?.iter().filter(|one| one["name"] == "etcd-client").count();
        let all = clients == 3
            && dig(&["_etcd-client._tcp.prod.mgmt.example", "SRV"]) == targets
            && dig(&["control.prod.mgmt.example", "A"]) == addresses;
        all.then_some(())
    });
}

/// Ansible reads the inventory, and a playbook runs on all of them.
fn ansible_from_outside(story: &Story<'_>) {
    let script = story.rack.dir().join("inventory");
    let line = format!(
        "#!/bin/sh\nexec {} --server unix:{} inventory \"$@\"\n",
        firstlight().display(),
        story.appliance.dir().join("api.sock").display()
    );
    std::fs::write(&script, line).expect("write the script");
    run("chmod", &["755", plain(&script)]);
    let seen: Value =
        serde_json::from_str(&run("ansible-inventory", &["--list", "-i", plain(&script)])).expect("JSON");
    assert_eq!(seen["role_control"]["hosts"], serde_json::json!(["n1", "n2", "n3"]), "{seen}");
    assert_eq!(seen["_meta"]["hostvars"]["n2"]["ansible_host"], "10.77.0.22");
    assert_eq!(seen["_meta"]["hostvars"]["n2"]["datapath_type"], "netdev");

    let playbook = story.rack.dir().join("outside.yml");
    let text = "- hosts: role_control\n  gather_facts: false\n  tasks:\n    - copy:\n        \
                content: \"{{ inventory_hostname }} {{ datapath_type }}\\n\"\n        dest: /root/outside\n";
    std::fs::write(&playbook, text).expect("write the playbook");
    let mut play = story.rack.command("ansible-playbook");
    play.env("ANSIBLE_HOST_KEY_CHECKING", "False").env("HOME", story.rack.dir());
    play.args(["-u", "root", "--private-key", plain(&story.key), "-i", plain(&script), plain(&playbook)]);
    println!("{}", ok(&mut play));
    for host in ["n1", "n2", "n3"] {
        assert_eq!(story.ok(host, "cat /root/outside"), format!("{host} netdev\n"));
    }
}

/// A service of a bundle under n1's systemd: started and enabled, restarted for its settings, put back when it does not start, taken
/// away with its bundle.
fn systemd_on_n1(story: &Story<'_>) {
    let push = |version: &str, command: &str| {
        let folder = story.rack.dir().join(format!("tiny-{version}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("write");
        let manifest = "[[file]]\npath = \"/etc/tiny.env\"\nsource = \"tiny.env\"\nrestart = [\"tiny.service\"]\n\
            [[unit]]\nname = \"tiny.service\"\nsource = \"tiny.service\"\n\
            [[health]]\nname = \"runs\"\nunit = \"tiny.service\"\nwithin = \"20s\"\n";
        write("bundle.toml", format!("name = \"tiny\"\nversion = \"{version}\"\n{manifest}"));
        write("tiny.env", format!("SECONDS_TO_SLEEP=100{version}\n"));
        let unit = format!(
            "[Service]\nEnvironmentFile=/etc/tiny.env\nExecStart={command}\n[Install]\nWantedBy=multi-user.target\n"
        );
        write("tiny.service", unit);
        story.appliance.ok(&["bundle", "push", plain(&folder)]);
        story.appliance.ok(&["bundle", "pin", &format!("tiny@{version}"), "--node", "n1"]);
    };
    let runs = |version: &str| {
        story.appliance.wait(&format!("tiny@{version} on n1"), STEP, || {
            let found = story.standing("n1");
            let has = found["observed"]["bundles"].to_string().contains(&format!("\"tiny@{version}\""));
            (found["standing"] == "current" && has).then_some(())
        });
    };
    let command_line = || story.ok("n1", "tr '\\0' ' ' </proc/$(systemctl show -P MainPID tiny)/cmdline");
    let sleep = "/bin/sleep ${SECONDS_TO_SLEEP}";
    push("1", sleep);
    runs("1");
    assert_eq!(story.ok("n1", "systemctl is-active tiny; systemctl is-enabled tiny"), "active\nenabled\n");
    assert_eq!(command_line(), "/bin/sleep 1001 ");
    push("2", sleep);
    runs("2");
    assert_eq!(command_line(), "/bin/sleep 1002 ", "it is restarted when its settings are others");
    push("3", "/no/such/program");
    story.appliance.wait("tiny@3 to be given up", STEP, || {
        (story.standing("n1")["standing"] == "stopped").then_some(())
    });
    let tried = story.jobs("tiny@3");
    assert_eq!(tried[0]["result"], "rolled-back", "{tried:?}");
    assert!(tried[0]["reason"].as_str().is_some_and(|reason| reason.contains("tiny.service")), "{tried:?}");
    assert_eq!(command_line(), "/bin/sleep 1002 ", "what was there before runs again");
    story.appliance.ok(&["bundle", "unpin", "tiny", "--node", "n1"]);
    story.appliance.wait("tiny to go", STEP, || {
        let found = story.standing("n1");
        let has = found["observed"]["bundles"].to_string().contains("tiny");
        (found["standing"] == "current" && !has).then_some(())
    });
    let gone = "systemctl show -P LoadState tiny.service; test ! -e /etc/tiny.env && echo no settings";
    assert_eq!(story.ok("n1", gone), "not-found\nno settings\n");
}

fn a_second_control_member_stays_up(story: &mut Story<'_>) {
    story.hosts.get_mut("n3").expect("n3").kill_agent();
    story.appliance.wait("n3 to be out of reach", STEP, || {
        let trouble = story.member("n3")["trouble"].as_str()?.to_owned();
        trouble.contains("not reachable").then_some(())
    });
    let shown = story.appliance.ok(&["cluster", "show", "prod"]);
    assert!(shown.contains("n3 has sent no heartbeat") && shown.contains("but is seen alive by"), "{shown}");
    let refusal = story.appliance.refused(&["node", "reload", "n2"]);
    assert!(refusal.contains("n3") && refusal.contains("control"), "{refusal}");
    story.hosts.get_mut("n3").expect("n3").start_agent();
    story.settle("n3 to be back", &["n1", "n2", "n3"]);
}

/// A fourth joins as a worker, with a playbook of its own; one leaves; the fourth takes its place.
fn one_joins_and_one_leaves(story: &mut Story<'_>) {
    let folder = story.rack.dir().join("greeting");
    std::fs::create_dir_all(folder.join("play")).expect("a folder");
    let manifest = "name = \"greeting\"\nversion = \"1\"\n[variables.greeting]\ntype = \"string\"\ndefault = \"hello\"\n\
                    [[package]]\napt = \"ansible-core\"\n[[ansible]]\nplaybook = \"play/site.yml\"\nvariables = true\n";
    std::fs::write(folder.join("bundle.toml"), manifest).expect("write");
    let play = "- hosts: all\n  gather_facts: false\n  tasks:\n    - copy: { content: \"{{ greeting }}\", dest: /root/greeting }\n";
    std::fs::write(folder.join("play/site.yml"), play).expect("write");
    story.appliance.ok(&["bundle", "push", plain(&folder)]);

    story.host("n4", "10.77.0.24");
    story.settle("four members", &["n1", "n2", "n3", "n4"]);
    assert_eq!(story.serf_members("n2"), 4);
    assert!(!story.hosts["n4"].run("test -e /usr/bin/etcd").status.success(), "a worker has no etcd");
    story.appliance.ok(&["bundle", "pin", "greeting@1", "--node", "n4"]);
    story.appliance.wait("n4's playbook", STEP, || {
        (story.standing("n4")["standing"] == "current" && !story.jobs("greeting@1").is_empty()).then_some(())
    });
    assert_eq!(story.ok("n4", "cat /root/greeting"), "hello", "{:?}", story.jobs("greeting@1"));
    story.appliance.ok(&["bundle", "unpin", "greeting", "--node", "n4"]);
    story.appliance.wait("what it brought to be taken away", STEP, || {
        let gone = !story.hosts["n4"].run("test -e /usr/bin/ansible-playbook").status.success();
        gone.then_some(())
    });
    // All of them have heard of the others by now, and nobody is at anything.
    story.settle("four quiet members", &["n1", "n2", "n3", "n4"]);

    story.appliance.ok(&["cluster", "leave", "prod", "n3"]);
    story.settle("n3 to be gone", &["n1", "n2", "n4"]);
    assert_eq!(story.etcd_members("n2"), ["n1", "n2"]);
    story.appliance.ok(&["node", "set", "n4", "--role", "control"]);
    story.settle("n4 to be a control member", &["n1", "n2", "n4"]);
    assert_eq!(story.etcd_members("n2"), ["n1", "n2", "n4"]);
}

const MEMBERS: [&str; 3] = ["n1", "n2", "n4"];

/// etcd is upgraded by its bundle and package alone; no write that was acknowledged is lost. Gives what the new manifest says.
fn etcd_is_upgraded(story: &Story<'_>) -> impl Fn(String) -> String + Copy {
    let mut debs = story.debs.iter();
    let deb = debs.find(|path| path.to_string_lossy().contains("etcd-server_")).expect("etcd's package");
    story.appliance.ok(&["package", "push", plain(&newer(story.rack, deb, "3.4.99-1"))]);
    let pinned =
        |text: String| text.replace("apt = \"etcd-server\"", "apt = \"etcd-server\"\nversion = \"3.4.99-1\"");
    story.push_etcd("3.4.99-1", pinned);
    let endpoints = MEMBERS.map(|node| format!("{}:2379", story.address(node))).join(",");
    // At its own pace: as fast as it could it would keep the emulated member from anything else.
    let mut writer = story.hosts["n2"].command(&format!(
        "export ETCDCTL_API=3; i=0; while [ ! -e /stop ]; do \
         etcdctl --endpoints={endpoints} --command-timeout=3s put k$i v$i >/dev/null 2>&1 \
         && echo $i >> /written; i=$((i+1)); sleep 0.2; done"
    ));
    let mut writing = writer.stdout(Stdio::null()).spawn().expect("a writer");
    let boots =
        || MEMBERS.map(|node| story.appliance.node(node).expect("a node")["observed"]["boot_id"].clone());
    let before = boots();
    story.appliance.ok(&["bundle", "pin", "etcd@3.4.99-1", "--group", "rack1"]);
    story.wait_etcd("3.4.99-1", &MEMBERS);
    story.ok("n2", "touch /stop");
    writing.wait().expect("the writer ends");
    for host in MEMBERS {
        assert!(story.ok(host, "dpkg-query -W etcd-server").contains("3.4.99-1"), "{host}");
    }
    assert_eq!(boots(), before, "no reboot");
    let n1 = story.appliance.node("n1").expect("a node");
    assert_eq!(n1["observed"]["image"], "debian@1", "its image is the one it was installed with");
    let written = story.ok("n2", "cat /written");
    let keys: Vec<&str> = written.lines().collect();
    println!("{} writes acknowledged during the upgrade", keys.len());
    assert!(keys.len() > 20, "the writer wrote: {}", keys.len());
    let there = story.ok("n2", "ETCDCTL_API=3 etcdctl get k --prefix --keys-only");
    let there: std::collections::HashSet<&str> = there.lines().collect();
    for key in keys {
        assert!(there.contains(format!("k{key}").as_str()), "write {key} was acknowledged and is lost");
    }
    // One at a time: no two of these jobs overlap.
    let time = |job: &Value, which: &str| job[which].as_u64().expect("a time");
    let jobs = story.jobs("etcd@3.4.99-1");
    let of_members = jobs.iter().filter(|job| job["name"] != "n3");
    let mut spans: Vec<(u64, u64)> =
        of_members.map(|job| (time(job, "started"), time(job, "ended"))).collect();
    spans.sort_unstable();
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{spans:?}");
    pinned
}

/// The same content as another version: everything is as it should be, and nothing is touched.
fn nothing_restarts_for_nothing(story: &Story<'_>, pinned: impl Fn(String) -> String) {
    // The oldest of each name: the agent asks the daemons by commands of the same names.
    let oldest =
        "for name in etcd serf ovs-vswitchd; do pidof $name | tr ' ' '\\n' | sort -n | head -n 1; done";
    let pids = || MEMBERS.map(|node| story.ok(node, oldest));
    let before = pids();
    assert!(before.iter().all(|pids| pids.lines().count() == 3), "all run: {before:?}");
    story.push_etcd("3.4.99-same", pinned);
    story.appliance.ok(&["bundle", "pin", "etcd@3.4.99-same", "--group", "rack1"]);
    story.wait_etcd("3.4.99-same", &MEMBERS);
    assert_eq!(pids(), before, "no restart");
    for node in MEMBERS {
        let timeline = story.appliance.timeline(node);
        let last = timeline.iter().rfind(|event| event["kind"] == "configured").expect("it is told");
        println!("{node}: nothing to do took {} ms", last["elapsed_ms"]);
        // The server is emulated: there it is seen, but not held to it.
        let took = last["elapsed_ms"].as_u64().expect("a time");
        assert!(took < UNCHANGED_MS || node == "n1", "{node}: {last}");
    }
}

/// The first node goes back, and nobody follows.
fn a_failing_check_goes_no_further(story: &Story<'_>, pinned: impl Fn(String) -> String) {
    story.push_etcd("3.4.99-bad", |text| {
        pinned(text) + "\n[[health]]\nname = \"never\"\ncommand = [\"/bin/false\"]\nwithin = \"3s\"\n"
    });
    story.appliance.ok(&["bundle", "pin", "etcd@3.4.99-bad", "--group", "rack1"]);
    story.appliance.wait("the change to be stopped", STEP, || {
        MEMBERS.iter().all(|node| story.standing(node)["standing"] == "stopped").then_some(())
    });
    let tried = story.jobs("etcd@3.4.99-bad");
    assert_eq!(tried.len(), 1, "one node tried it: {tried:?}");
    assert_eq!(tried[0]["result"], "rolled-back", "{tried:?}");
    assert!(tried[0]["reason"].as_str().is_some_and(|reason| reason.contains("never")), "{tried:?}");
    let log = story.appliance.ok(&["job", "log", &tried[0]["id"].to_string()]);
    assert!(log.contains("never"), "{log}");
    for host in MEMBERS {
        assert_eq!(story.etcd_members(host), MEMBERS, "all is as before on {host}");
    }
    story.appliance.ok(&["bundle", "pin", "etcd@3.4.99-same", "--group", "rack1"]);
    story.settle("all to be well", &MEMBERS);
}

/// One dies: serf says so, and another one takes it off the lists when an operator gives it up.
fn a_dead_member_is_taken_off_the_lists(story: &mut Story<'_>) {
    drop(story.hosts.remove("n4"));
    story.appliance.wait("n4 to be out of reach", STEP, || {
        let trouble = story.member("n4")["trouble"].as_str()?.to_owned();
        trouble.contains("not reachable").then_some(())
    });
    story.appliance.ok(&["cluster", "leave", "prod", "n4"]);
    story.settle("n4 to be gone", &["n1", "n2"]);
    assert_eq!(story.etcd_members("n2"), ["n1", "n2"]);
    assert!(!story.ok("n2", "serf members").contains("n4"), "serf has forgotten it");
    let events = story.appliance.ok(&["event", "list", "--limit", "60"]);
    assert!(events.contains("took n4 off the lists"), "{events}");
}
