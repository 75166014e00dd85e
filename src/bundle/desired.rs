//! What the appliance wants a node to have from bundles, ready to be applied, and what the node says of it.

use serde::{Deserialize, Serialize};

pub use super::masks::Masks;
use super::secret::SecretKey;

/// Everything that bundles bring to one node: the agent applies it as a whole or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// What is applied, in this order (each after what it needs).
    pub bundles: Vec<DesiredBundle>,
    /// What a file changed by hand means.
    #[serde(default)]
    pub drift: DriftPolicy,
    /// Package sources of the appliance; empty when none of the bundles has packages.
    #[serde(default)]
    pub sources: Vec<PackageSource>,
    /// The secrets that its files were made of, for the node to keep them out of its output. No part of what the generation is.
    #[serde(default, skip_serializing_if = "Masks::is_empty")]
    pub masks: Masks,
}

/// What is done about a file that was changed by hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftPolicy {
    /// It is told.
    #[default]
    Report,
    /// It is told and put right.
    Repair,
}

/// A package source: a file that apt or dnf reads, and the key it is signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSource {
    /// Who reads it: `apt` or `dnf`.
    pub manager: String,
    /// Its name, also of its file: `/etc/apt/sources.list.d/NAME.sources`, `/etc/yum.repos.d/NAME.repo`.
    pub name: String,
    /// The file's text.
    pub text: String,
    /// The armoured public key: `/etc/firstlight/keys/NAME.asc`.
    pub key: String,
}

/// One bundle, rendered for one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredBundle {
    /// `name@version`.
    pub bundle: String,
    /// Files, by path.
    #[serde(default)]
    pub files: Vec<DesiredFile>,
    /// Packages.
    #[serde(default)]
    pub packages: Vec<DesiredPackage>,
    /// systemd units.
    #[serde(default)]
    pub units: Vec<DesiredUnit>,
    /// What must hold afterwards.
    #[serde(default)]
    pub health: Vec<HealthCheck>,
    /// What is run on the way.
    #[serde(default)]
    pub hooks: Hooks,
    /// Playbooks, run after the `prepare` hook and before units.
    #[serde(default)]
    pub ansible: Vec<Playbook>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredFile {
    /// Absolute path.
    pub path: String,
    /// Its bytes, base64 (RFC 4648 section 4).
    pub content: String,
    /// Permission bits, octal text such as `0644`.
    pub mode: String,
    /// User that owns it, by name.
    pub owner: String,
    /// Group that owns it, by name.
    pub group: String,
    /// Units restarted when it changes.
    #[serde(default)]
    pub restart: Vec<String>,
    /// Units reloaded when it changes.
    #[serde(default)]
    pub reload: Vec<String>,
    /// Whether a secret is in it: its content is never shown or logged.
    #[serde(default)]
    pub secret: bool,
}

/// A package, in the names of the package managers; none where there is none for that manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredPackage {
    /// Its name for apt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apt: Option<String>,
    /// Its name for dnf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dnf: Option<String>,
    /// The exact version; the newest that the sources have unless given (and then only when it is not installed yet).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A systemd unit. The unit's own file and drop-in are among the bundle's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredUnit {
    /// `etcd.service`.
    pub name: String,
    /// Whether it starts with the system.
    pub enabled: bool,
    /// Whether it runs.
    pub running: bool,
}

/// What is run on the way: each an argv; empty for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// After files and packages, before units; only when something of the bundle changed.
    #[serde(default)]
    pub prepare: Vec<String>,
    /// After health holds; only when something of the bundle changed.
    #[serde(default)]
    pub after: Vec<String>,
    /// Before units of the bundle are stopped or restarted; once for all of them.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Before the host gives up its work.
    #[serde(default)]
    pub drain: Vec<String>,
    /// Before the bundle is taken away.
    #[serde(default)]
    pub leave: Vec<String>,
}

/// A check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// For a person.
    pub name: String,
    /// What is looked at.
    pub probe: Probe,
    /// Longest of one try, seconds.
    pub timeout_seconds: u32,
    /// Until when it must hold, seconds.
    pub within_seconds: u32,
    /// Between tries, seconds.
    pub interval_seconds: u32,
}

/// What a check looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// Ends with 0.
    Command(Vec<String>),
    /// `ADDRESS:PORT` takes a connection.
    Tcp(String),
    /// Answers 2xx to GET, with this text in it.
    Http {
        /// `http://…`.
        url: String,
        /// Text that the body must have; empty: any.
        #[serde(default)]
        contains: String,
    },
    /// The unit is active.
    Unit(String),
}

/// A playbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Playbook {
    /// Its path within `files`.
    pub playbook: String,
    /// The folder it lives in: relative path and base64 content of each file.
    pub files: Vec<(String, String)>,
    /// Extra variables, a JSON object.
    #[serde(default)]
    pub variables: serde_json::Map<String, serde_json::Value>,
}

/// What a node says of its bundles, at each heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The generation it has, by the digest the appliance gave it; empty: none yet.
    #[serde(default)]
    pub generation: String,
    /// Its number on this node, from 1.
    #[serde(default)]
    pub number: u64,
    /// `name@version` of each bundle it has.
    #[serde(default)]
    pub bundles: Vec<String>,
    /// The last generation it tried, and how that went.
    #[serde(default)]
    pub last: Option<Outcome>,
    /// Paths changed by hand.
    #[serde(default)]
    pub drift: Vec<String>,
    /// Health now: names of the checks that do not hold.
    #[serde(default)]
    pub unhealthy: Vec<String>,
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The generation that was tried.
    pub generation: String,
    /// How it ended.
    pub result: ApplyResult,
    /// Why, for a person; empty when it went well, and nothing is left over.
    #[serde(default)]
    pub reason: String,
    /// The bundle at fault, where one is.
    #[serde(default)]
    pub bundle: Option<String>,
    /// What was changed: one line each, e.g. `file /etc/default/etcd`, `package etcd-server 3.4.23-4`, `restart etcd.service`.
    #[serde(default)]
    pub changes: Vec<String>,
    /// What is still there although none of the bundles has it any more, or is not back: one line each.
    #[serde(default)]
    pub left_over: Vec<String>,
    /// How long it took, milliseconds.
    #[serde(default)]
    pub elapsed_ms: u64,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApplyResult {
    /// All of it is there and healthy.
    Applied,
    /// It was so already.
    Unchanged,
    /// The former generation is back, and healthy.
    RolledBack,
    /// The former generation could not be brought back either.
    Broken,
}

impl Desired {
    /// What names a generation: a digest of its JSON, whose order is that of the fields, that only the appliance can make.
    pub fn digest(&self, key: &SecretKey) -> String {
        // All of it can be written as JSON.
        key.name(&serde_json::to_vec(&(&self.bundles, self.drift, &self.sources)).unwrap_or_default())
    }

    /// The bundles, `name@version`.
    pub fn names(&self) -> Vec<String> {
        self.bundles.iter().map(|bundle| bundle.bundle.clone()).collect()
    }
}
