//! Bundles on real trees: each test has a root of its own, below a folder that goes with it.

mod apt;
mod base;
mod check;
mod crash;
mod dnf;
mod files;
mod root;
mod systemd;
mod units;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::desired::{
    ApplyResult, Desired, DesiredBundle, DesiredFile, DesiredUnit, DriftPolicy, HealthCheck, Hooks, Outcome,
    Probe,
};
use super::{Applier, Machine, Place};

/// A tree with the few files that every host has. Processes that units started go with it.
struct Tree {
    folder: TempDir,
}

impl Tree {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = Self { folder };
        for path in ["etc", "usr/lib", "var/lib", "run"] {
            std::fs::create_dir_all(tree.root().join(path)).expect("a folder");
        }
        tree.write("etc/passwd", "root:x:0:0::/root:/bin/sh\netcd:x:977:978::/:/bin/false\n");
        tree.write("etc/group", "root:x:0:\netcd:x:978:\n");
        tree
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_else(|error| format!("({error})"))
    }

    fn applier(&self) -> Applier {
        applier(&self.root(), &self.state())
    }

    fn apply(&self, desired: &Desired) -> (Outcome, Vec<String>) {
        let mut log = Vec::new();
        (self.applier().apply(desired, &digest(desired), &mut log), log)
    }

    /// Everything in the tree: kind, mode, owner and content by path.
    fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut all = BTreeMap::new();
        walk(&self.root(), &self.root(), &mut all);
        all
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for unit in std::fs::read_dir(self.state().join("units")).into_iter().flatten().flatten() {
            if let Some(mark) = unit.path().to_str().and_then(|path| path.strip_suffix(".json")) {
                let _ended = super::units::end_marked(mark);
            }
        }
    }
}

fn applier(root: &Path, state: &Path) -> Applier {
    let machine = Machine { place: Place::outside(root), packages: None, units: None };
    Applier::with(root, state, machine).expect("an applier")
}

fn walk(root: &Path, folder: &Path, all: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let about = path.symlink_metadata().expect("metadata");
        let name = path.strip_prefix(root).expect("below").to_owned();
        let content = if about.is_symlink() {
            format!("-> {}", std::fs::read_link(&path).expect("a link").display())
        } else if about.is_file() {
            String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).into_owned()
        } else {
            String::new()
        };
        all.insert(
            name,
            format!("{:o} {}:{} {content}", about.permissions().mode(), about.uid(), about.gid()),
        );
        if about.is_dir() {
            walk(root, &path, all);
        }
    }
}

/// The digest that an appliance could give it.
fn digest(desired: &Desired) -> String {
    super::check::digest(&serde_json::to_vec(desired).expect("JSON"))
}

fn file(path: &str, content: &str) -> DesiredFile {
    DesiredFile {
        path: path.into(),
        content: STANDARD.encode(content),
        mode: "0644".into(),
        owner: "root".into(),
        group: "root".into(),
        restart: Vec::new(),
        reload: Vec::new(),
        secret: false,
    }
}

fn bundle(name: &str, files: Vec<DesiredFile>) -> DesiredBundle {
    DesiredBundle {
        bundle: name.into(),
        files,
        packages: Vec::new(),
        units: Vec::new(),
        health: Vec::new(),
        hooks: Hooks::default(),
        ansible: Vec::new(),
    }
}

fn desired(bundles: Vec<DesiredBundle>) -> Desired {
    Desired { bundles, drift: DriftPolicy::Report, sources: Vec::new() }
}

fn unit(name: &str) -> DesiredUnit {
    DesiredUnit { name: name.into(), enabled: true, running: true }
}

fn health(name: &str, probe: Probe) -> HealthCheck {
    HealthCheck { name: name.into(), probe, timeout_seconds: 2, within_seconds: 1, interval_seconds: 0 }
}

fn shell(script: &str) -> Vec<String> {
    vec!["sh".into(), "-c".into(), script.into()]
}

#[track_caller]
fn expect(outcome: &Outcome, result: ApplyResult) {
    assert_eq!(outcome.result, result, "{outcome:#?}");
}
