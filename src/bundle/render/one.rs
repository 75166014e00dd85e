//! What becomes of one bundle: each part of its manifest, where it holds, with its templates filled in.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::desired::{
    DesiredBundle, DesiredFile, DesiredPackage, DesiredUnit, HealthCheck, Hooks, Playbook, Probe,
};
use super::super::folder::Bundle;
use super::super::manifest::{Ansible, Kind, ProbeTemplate, Protocol};
use super::super::template::{self, Cause, Engine, Made, Scope};
use super::super::variables::Merged;
use super::super::{rules, words};
use super::{OUTPUT, Offer, RenderError};

/// One bundle that is being rendered.
pub(super) struct One<'a> {
    bundle: &'a Bundle,
    engine: &'a Engine,
    scope: &'a Scope,
    /// Bytes of files that may still be made.
    pub(super) left: usize,
    /// The secrets that its files asked for.
    pub(super) secrets: BTreeSet<String>,
    pub(super) errors: Vec<RenderError>,
}

impl<'a> One<'a> {
    /// Nothing of `bundle` is made yet; `left` bytes of files may be.
    pub(super) fn new(bundle: &'a Bundle, engine: &'a Engine, scope: &'a Scope, left: usize) -> Self {
        Self { bundle, engine, scope, left, secrets: BTreeSet::new(), errors: Vec::new() }
    }
}

impl One<'_> {
    pub(super) fn desired(&mut self, variables: &Merged) -> DesiredBundle {
        let bundle = self.bundle;
        let manifest = &bundle.manifest;
        let mut files = Vec::new();
        for file in &manifest.files {
            if !self.holds(file.when.as_deref(), file.line) {
                continue;
            }
            let Some(path) = self.word(&file.path, file.line) else { continue };
            if let Err(why) = words::path(&path) {
                self.wrong(file.line, format!("path '{path}': {why}"));
            }
            let mode = file.mode.as_deref();
            let (restart, reload) = (file.restart.clone(), file.reload.clone());
            files.extend(self.file(&file.source, path, mode, (&file.owner, &file.group), restart, reload));
        }
        let mut units = Vec::new();
        for unit in &manifest.units {
            if !self.holds(unit.when.as_deref(), unit.line) {
                continue;
            }
            let own =
                unit.source.as_deref().map(|source| (source, format!("/etc/systemd/system/{}", unit.name)));
            let dropin = unit.dropin.as_deref();
            let dropin = dropin
                .map(|source| (source, format!("/etc/systemd/system/{}.d/50-firstlight.conf", unit.name)));
            for (source, path) in own.into_iter().chain(dropin) {
                let restart = vec![unit.name.clone()];
                files.extend(self.file(source, path, Some("0644"), ("root", "root"), restart, Vec::new()));
            }
            units.push(DesiredUnit { name: unit.name.clone(), enabled: unit.enabled, running: unit.running });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        DesiredBundle {
            bundle: bundle.reference(),
            files,
            packages: self.packages(),
            units,
            health: self.health(),
            hooks: self.hooks(),
            ansible: self.playbooks(variables),
        }
    }

    fn wrong(&mut self, line: usize, cause: String) {
        let place = format!("bundle.toml, line {line}");
        self.errors.push(RenderError { bundle: self.bundle.reference(), place, cause });
    }

    /// Whether an expression holds.
    fn holds(&mut self, when: Option<&str>, line: usize) -> bool {
        let Some(when) = when else { return true };
        self.engine.holds(self.scope, when).unwrap_or_else(|cause| {
            self.wrong(line, format!("when: {}", cause.message));
            false
        })
    }

    /// A text of the manifest.
    fn word(&mut self, text: &str, line: usize) -> Option<String> {
        let made = self.engine.text(self.scope, text);
        made.map_err(|cause| self.wrong(line, cause.message)).ok()
    }

    fn words(&mut self, texts: &[String], line: usize) -> Vec<String> {
        texts.iter().filter_map(|text| self.word(text, line)).collect()
    }

    fn file(
        &mut self,
        source: &str,
        path: String,
        mode: Option<&str>,
        (owner, group): (&str, &str),
        restart: Vec<String>,
        reload: Vec<String>,
    ) -> Option<DesiredFile> {
        let bytes = self.bundle.sources.get(source)?;
        let (content, secret) = if template::is_template_file(source) {
            let found = std::str::from_utf8(bytes)
                .map_err(|_| Cause { line: None, message: "a template must be UTF-8".into() })
                .and_then(|text| self.engine.file(self.scope, source, text));
            match found {
                Ok(Made { text, secrets }) => {
                    let secret = !secrets.is_empty();
                    self.secrets.extend(secrets);
                    (text.into_bytes(), secret)
                }
                Err(Cause { line, message }) => {
                    let line = line.map_or_else(String::new, |line| format!(", line {line}"));
                    let (bundle, place) = (self.bundle.reference(), format!("{source}{line}"));
                    self.errors.push(RenderError { bundle, place, cause: message });
                    return None;
                }
            }
        } else {
            (bytes.clone(), false)
        };
        let Some(left) = self.left.checked_sub(content.len()) else {
            let (bundle, place) = (self.bundle.reference(), source.to_owned());
            let cause = too_much();
            self.errors.push(RenderError { bundle, place, cause });
            return None;
        };
        self.left = left;
        let mode = mode.unwrap_or(if secret { "0600" } else { "0644" }).to_owned();
        let content = STANDARD.encode(content);
        let (owner, group) = (owner.to_owned(), group.to_owned());
        Some(DesiredFile { path, content, mode, owner, group, restart, reload, secret })
    }

    fn packages(&mut self) -> Vec<DesiredPackage> {
        let mut packages = Vec::new();
        for package in &self.bundle.manifest.packages {
            if !self.holds(package.when.as_deref(), package.line) {
                continue;
            }
            let version = package.version.as_deref().and_then(|version| self.word(version, package.line));
            let version = version.filter(|version| !version.is_empty());
            if let Some(Err(why)) = version.as_deref().map(words::package_version) {
                self.wrong(package.line, format!("version: {why}"));
            }
            packages.push(DesiredPackage { apt: package.apt.clone(), dnf: package.dnf.clone(), version });
        }
        packages
    }

    fn health(&mut self) -> Vec<HealthCheck> {
        let mut checks = Vec::new();
        for check in &self.bundle.manifest.health {
            if !self.holds(check.when.as_deref(), check.line) {
                continue;
            }
            let probe = match &check.probe {
                ProbeTemplate::Command(argv) => Some(Probe::Command(self.words(argv, check.line))),
                ProbeTemplate::Tcp(address) => self.word(address, check.line).map(Probe::Tcp),
                ProbeTemplate::Http { url, contains } => {
                    let (url, contains) = (self.word(url, check.line), self.word(contains, check.line));
                    url.zip(contains).map(|(url, contains)| Probe::Http { url, contains })
                }
                ProbeTemplate::Unit(unit) => self.word(unit, check.line).map(Probe::Unit),
            };
            if let Some(Err(why)) = probe.as_ref().map(rules::probe) {
                self.wrong(check.line, format!("check '{}': {why}", check.name));
            }
            let (timeout_seconds, within_seconds) = (check.timeout_seconds, check.within_seconds);
            let (name, interval_seconds) = (check.name.clone(), check.interval_seconds);
            checks.extend(probe.map(|probe| HealthCheck {
                name,
                probe,
                timeout_seconds,
                within_seconds,
                interval_seconds,
            }));
        }
        checks
    }

    fn hooks(&mut self) -> Hooks {
        let hooks = &self.bundle.manifest.hooks;
        let [prepare, after, stop, drain, leave] = hooks.each().map(|(name, argv)| {
            let failed = self.errors.len();
            let words = self.words(argv, hooks.line);
            if let Err(why) = rules::hook(&words)
                && failed == self.errors.len()
            {
                self.wrong(hooks.line, format!("hook '{name}': {why}"));
            }
            words
        });
        Hooks { prepare, after, stop, drain, leave }
    }

    fn playbooks(&mut self, variables: &Merged) -> Vec<Playbook> {
        let mut playbooks = Vec::new();
        for one in &self.bundle.manifest.ansible {
            if !self.holds(one.when.as_deref(), one.line) {
                continue;
            }
            let Ansible { folder, playbook, .. } = one;
            let inside =
                |path: &str| path.strip_prefix(folder.as_str())?.strip_prefix('/').map(str::to_owned);
            let sources = self.bundle.sources.iter();
            let files: Vec<_> = sources.filter_map(|(path, bytes)| Some((inside(path)?, bytes))).collect();
            let plain =
                variables.values.iter().filter(|(_, (kind, _))| one.variables && *kind != Kind::Secret);
            let variables: serde_json::Map<_, _> =
                plain.map(|(name, (_, value))| (name.clone(), value.clone())).collect();
            let length = files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
            // All of it can be written as JSON.
            let length = length.saturating_add(serde_json::to_vec(&variables).map_or(0, |text| text.len()));
            let Some(left) = self.left.checked_sub(length) else {
                self.wrong(one.line, too_much());
                continue;
            };
            self.left = left;
            let files = files.into_iter().map(|(path, bytes)| (path, STANDARD.encode(bytes))).collect();
            playbooks.push(Playbook { playbook: playbook.clone(), files, variables });
        }
        playbooks
    }

    pub(super) fn services(&mut self) -> Vec<Offer> {
        let mut offers = Vec::new();
        for service in &self.bundle.manifest.services {
            if !self.holds(service.when.as_deref(), service.line) {
                continue;
            }
            let Some(port) = self.word(&service.port, service.line) else { continue };
            match port.trim().parse::<u16>() {
                Ok(port) if port != 0 => offers.push(Offer {
                    bundle: self.bundle.manifest.name.clone(),
                    name: service.name.clone(),
                    port,
                    protocol: if service.protocol == Protocol::Tcp { "tcp" } else { "udp" }.into(),
                }),
                _ => self.wrong(service.line, format!("port '{port}' is none")),
            }
        }
        offers
    }
}

fn too_much() -> String {
    format!("with it, the node's files have more than {OUTPUT} bytes; programs belong into a package")
}
