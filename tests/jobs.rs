//! Jobs of a host from its beginning to its end: the real agent in a container, the appliance, and the CLI that looks at them.
//!
//! Needs root.

mod appliance;
mod container;
mod programs;
mod rack;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use appliance::{Appliance, NETWORK};
use container::Container;
use rack::Rack;
use serde_json::{Value, json};

/// Longest wait for a step.
const STEP: Duration = Duration::from_secs(120);

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

/// A bundle whose `prepare` hook is this script; it has seven files of a MiB each.
fn bundle(rack: &Rack, version: &str, script: &str) -> PathBuf {
    let folder = rack.dir().join(format!("app-{version}"));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut manifest = format!(
        "name = \"app\"\nversion = \"{version}\"\n[hooks]\nprepare = [\"/bin/sh\", \"/opt/prepare\"]\n"
    );
    for file in ["prepare", "a", "b", "c", "d", "e", "f", "g"] {
        let content = if file == "prepare" { script.into() } else { file.repeat(1 << 20) };
        std::fs::write(folder.join(file), content).expect("write");
        manifest.push_str(&["[[file]]\npath = \"/opt/", file, "\"\nsource = \"", file, "\"\n"].concat());
    }
    std::fs::write(folder.join("bundle.toml"), manifest).expect("write");
    folder
}

struct Story<'r> {
    rack: &'r Rack,
    appliance: Appliance<'r>,
    host: Container,
}

impl Story<'_> {
    fn pin(&self, version: &str, script: &str) {
        let folder = bundle(self.rack, version, script);
        self.appliance.ok(&["bundle", "push", folder.to_str().expect("a plain path")]);
        self.appliance.ok(&["bundle", "pin", &format!("app@{version}"), "--node", "n1"]);
    }

    fn jobs(&self) -> Vec<Value> {
        self.appliance.json(&["job", "list", "--node", "n1"]).as_array().expect("jobs").clone()
    }

    /// Waits for a job that ended like this, with this bundle; its number.
    fn ended(&self, version: &str, kind: &str, result: &str) -> String {
        let job = self.appliance.wait(&format!("a job of app@{version} that {result}"), STEP, || {
            let fits = |job: &&Value| {
                job["bundles"] == json!([format!("app@{version}")])
                    && (&job["kind"], &job["result"]) == (&json!(kind), &json!(result))
            };
            self.jobs().iter().find(fits).cloned()
        });
        job["id"].to_string()
    }

    /// Waits until a job of this bundle runs; its number.
    fn runs(&self, version: &str) -> String {
        let job = self.appliance.wait(&format!("a job of app@{version} that runs"), STEP, || {
            let fits =
                |job: &&Value| job["bundles"] == json!([format!("app@{version}")]) && job["ended"].is_null();
            self.jobs().iter().find(fits).cloned()
        });
        job["id"].to_string()
    }
}

#[test]
fn jobs_end_and_can_be_followed() {
    let rack = Rack::new("jobs").expect("a rack");
    let appliance = Appliance::start(&rack, firstlight(), NETWORK);
    let mut host = Container::start(&rack, "n1", "10.77.0.21", firstlight());
    let token = appliance.json(&["node", "invite", "--name", "n1"])["token"].clone();
    let token = token.as_str().expect("a token");
    host.ok(&format!("firstlight agent enrol --no-unit --server https://10.77.0.1:8443 --token {token}"));
    host.start_agent();
    let mut story = Story { rack: &rack, appliance, host };
    the_agent_is_killed_within_a_hook(&mut story);
    a_failure_is_followed_to_its_last_line(&story);
    drift_is_repaired_by_a_job(&story);
    a_long_sign_of_life_is_heard(&story);
    story.appliance.stop();
}

/// It ends, and the change is tried once more, by nobody's hand.
fn the_agent_is_killed_within_a_hook(story: &mut Story<'_>) {
    story.pin("1", "echo it begins\nif mkdir /root/first; then sleep 600; fi\necho it goes on\n");
    let first = story.runs("1");
    story
        .appliance
        .wait("the hook", STEP, || story.host.run("test -d /root/first").status.success().then_some(()));
    let shown = story.appliance.ok(&["job", "show", &first]);
    assert!(shown.contains("running") && shown.contains("app@1"), "{shown}");
    story.host.kill_agent();
    story.host.start_agent();
    let cut_off = story.ended("1", "apply", "rolled-back");
    assert_eq!(cut_off, first, "{:?}", story.jobs());
    assert!(story.appliance.ok(&["job", "show", &first]).contains("went down in the middle of it"));
    let second = story.ended("1", "apply", "applied");
    let log = story.appliance.ok(&["job", "log", &second]);
    assert!(log.contains("prepare: it goes on\n"), "{log}");
    assert_eq!(story.appliance.ok(&["job", "log", "--follow", &second]), log, "it has ended, and well");
    let whole = story.appliance.json(&["job", "log", &second]);
    assert_eq!((&whole["text"], &whole["job"]["result"]), (&json!(log), &json!("applied")));
    let settled = || {
        let found = story.appliance.json(&["node", "bundles", "n1"]);
        (found["standing"] == "current" && story.appliance.node("n1")?["state"] == "ready").then_some(())
    };
    story.appliance.wait("the node to be current", STEP, settled);
    let table = story.appliance.ok(&["job", "list"]);
    assert!(
        table.starts_with("JOB") && table.contains("rolled-back") && table.contains("applied"),
        "{table}"
    );
    assert!(story.appliance.refused(&["job", "show", "99"]).contains("there is no job 99"));
}

fn a_failure_is_followed_to_its_last_line(story: &Story<'_>) {
    story.pin("2", "echo first\nsleep 3\nseq 1 3000\necho last >&2\nexit 3\n");
    let job = story.runs("2");
    let mut follow = story.appliance.command(&["job", "log", "--follow", &job, "--output", "json"]);
    let followed = follow.stdout(Stdio::piped()).output().expect("run the CLI");
    assert_eq!(followed.status.code(), Some(1), "{}", String::from_utf8_lossy(&followed.stderr));
    let said = String::from_utf8_lossy(&followed.stderr).into_owned();
    assert!(
        said.lines().count() == 1 && said.contains("rolled-back") && said.contains("ended with 3"),
        "{said}"
    );
    let pieces: Vec<Value> = String::from_utf8_lossy(&followed.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let text: String = pieces.iter().filter_map(|piece| piece["text"].as_str()).collect();
    for line in ["first", "1", "3000", "last"] {
        assert!(text.contains(&format!("prepare: {line}\n")), "{line} is missing:\n{text}");
    }
    assert_eq!(text, story.appliance.ok(&["job", "log", &job]), "all of it, once");
    assert_eq!(pieces.last().expect("a piece")["job"]["result"], "rolled-back");
    let reason = story.appliance.json(&["job", "show", &job])["reason"].clone();
    assert!(
        reason.as_str().is_some_and(|reason| reason.contains("\n  last")),
        "its lines are kept: {reason}"
    );
    assert!(story.appliance.ok(&["job", "show", &job]).lines().any(|line| line.trim() == "last"));

    // What failed here is stopped, until somebody says so; also by an appliance that has restarted.
    let standing = || story.appliance.json(&["node", "bundles", "n1"])["standing"].clone();
    story.appliance.wait("the change to be stopped", STEP, || (standing() == "stopped").then_some(()));
    assert_eq!(story.jobs().iter().filter(|job| job["bundles"] == json!(["app@2"])).count(), 1);
    story.appliance.ok(&["bundle", "retry", "n1"]);
    story.appliance.wait("another try", STEP, || {
        (story.jobs().iter().filter(|job| job["bundles"] == json!(["app@2"])).count() == 2).then_some(())
    });
}

fn drift_is_repaired_by_a_job(story: &Story<'_>) {
    story.pin("3", "echo well\n");
    story.appliance.ok(&["vars", "set", "firstlight_drift=repair", "--node", "n1"]);
    story.appliance.wait("its policy", STEP, || {
        let found = story.appliance.json(&["node", "bundles", "n1"]);
        let there = found["observed"]["bundles"] == json!(["app@3"]);
        (found["standing"] == "current" && there).then_some(())
    });
    story.host.ok("echo by hand > /opt/a");
    let repaired = story.ended("3", "repair", "applied");
    assert!(story.appliance.ok(&["job", "log", &repaired]).contains("file /opt/a"));
    assert_eq!(story.host.ok("head -c 3 /opt/a"), "aaa");
}

/// A member of a large cluster tells whom its serf sees; nobody else may send as much.
fn a_long_sign_of_life_is_heard(story: &Story<'_>) {
    let line = |at: usize| json!({ "name": format!("n{at}"), "address": "10.77.0.1", "status": "alive" });
    let serf: Vec<Value> = (0..8192).map(line).collect();
    let sign = json!({ "place": "host", "boot_id": "b", "kernel": "6", "phase": "ready", "serf": serf });
    let (body, pem) = (story.rack.dir().join("sign.json"), story.rack.dir().join("node.pem"));
    std::fs::write(&body, sign.to_string()).expect("write");
    assert!(sign.to_string().len() > 400 << 10);
    std::fs::write(&pem, story.host.ok("cat /etc/firstlight/agent/node.pem")).expect("write");
    let post = |who: &[&str]| {
        let mut curl: Command = story.rack.command("curl");
        curl.args(["-sS", "-k", "-o", "/dev/null", "-w", "%{http_code}", "--resolve"]);
        curl.args(["appliance.firstlight.internal:8443:10.77.0.1", "-H", "content-type: application/json"]);
        curl.arg("--data").arg(format!("@{}", body.display())).args(who);
        curl.arg("https://appliance.firstlight.internal:8443/agent/v2/check-in");
        String::from_utf8_lossy(&curl.output().expect("run curl").stdout).into_owned()
    };
    let pem = pem.to_str().expect("a plain path");
    let started = Instant::now();
    assert_eq!(post(&["--cert", pem, "--key", pem]), "200");
    println!("taken in {:?}", started.elapsed());
    // Who is refused in the middle of the body may find the connection closed before the answer is read.
    let refused = post(&["-H", "Authorization: Bearer 00"]);
    assert!(["400", "000"].contains(&refused.as_str()), "not from everybody: {refused}");
}
