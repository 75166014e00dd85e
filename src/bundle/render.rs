//! Bundles and variables become what one node gets. Templates are minijinja; a name that nobody knows is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::Value;
use minijinja::value::Serde;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::desired::{
    DesiredBundle, DesiredFile, DesiredPackage, DesiredUnit, HealthCheck, Hooks, Masks, Playbook, Probe,
};
use super::facts::{About, NAMES};
use super::folder::Bundle;
use super::manifest::{Ansible, Kind, ProbeTemplate, Protocol};
use super::secret::{Secret, SecretKey};
use super::template::{self, Cause, Engine, Made, Scope};
use super::variables::Merged;
use super::{rules, words};

/// All files of one node together, bytes.
const OUTPUT: usize = 16 << 20;

/// What a bundle could not be rendered for.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{bundle}, {place}: {cause}")]
pub struct RenderError {
    /// `name@version`.
    pub bundle: String,
    /// A file and its line.
    pub place: String,
    /// What is wrong.
    pub cause: String,
}

/// What a node gets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rendered {
    /// Its bundles, each after what it needs.
    pub bundles: Vec<DesiredBundle>,
    /// What they offer to others.
    pub services: Vec<Offer>,
    /// The secrets that their files were made of.
    #[serde(skip)]
    pub masks: Masks,
}

/// A service of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The bundle's name.
    pub bundle: String,
    /// The service's.
    pub name: String,
    /// Where.
    pub port: u16,
    /// How.
    pub protocol: String,
}

/// Who may see secrets.
#[derive(Debug, Clone, Copy)]
pub enum Secrets<'a> {
    /// The node itself.
    Opened(&'a SecretKey),
    /// Nobody: a mask stands in their place.
    Masked,
}

/// Renders the bundles of one node.
///
/// # Errors
/// Everything that is wrong: needs that are missing or go round, templates that fail, two bundles that write the same file.
pub fn render(
    bundles: &[Arc<Bundle>],
    variables: &Merged,
    about: &About,
    secrets: Secrets<'_>,
) -> Result<Rendered, Vec<RenderError>> {
    let mut errors: Vec<RenderError> = variables
        .problems
        .iter()
        .map(|problem| RenderError {
            bundle: "variables".into(),
            place: about.node.name.clone(),
            cause: problem.clone(),
        })
        .collect();
    let ordered = match order(bundles) {
        Ok(ordered) => ordered,
        Err(error) => {
            errors.push(error);
            return Err(errors);
        }
    };
    let scope = match scope(variables, about, secrets) {
        Ok(scope) => scope,
        Err(more) => {
            errors.extend(more);
            return Err(errors);
        }
    };
    let made = template::on_deep_stack(|| made(&ordered, variables, &scope));
    let rendered = match made {
        Ok((rendered, more)) => {
            errors.extend(more);
            rendered
        }
        Err(error) => {
            let (bundle, place) = ("all bundles".into(), about.node.name.clone());
            errors.push(RenderError { bundle, place, cause: error.to_string() });
            Rendered::default()
        }
    };
    errors.extend(conflicts(&rendered.bundles));
    if let (true, Err(broken)) = (errors.is_empty(), rules::check(&rendered.bundles, &[])) {
        let rules::Broken { bundle, what: place, why: cause } = broken;
        errors.push(RenderError { bundle, place, cause });
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if matches!(secrets, Secrets::Masked) {
        return Ok(Rendered { masks: Masks::default(), ..rendered });
    }
    Ok(rendered)
}

fn made(ordered: &[&Arc<Bundle>], variables: &Merged, scope: &Scope) -> (Rendered, Vec<RenderError>) {
    let (mut rendered, mut errors) = (Rendered::default(), Vec::new());
    let (engine, mut left) = (Engine::new(), OUTPUT);
    for bundle in ordered {
        let mut one =
            One { bundle, engine: &engine, scope, left, secrets: BTreeSet::new(), errors: Vec::new() };
        rendered.bundles.push(one.desired(variables));
        rendered.services.extend(one.services());
        left = one.left;
        for secret in one.secrets.iter().filter_map(|name| scope.secret(name)) {
            rendered.masks.add(secret.expose());
        }
        errors.append(&mut one.errors);
    }
    (rendered, errors)
}

/// Each bundle after what it needs; else in the order of names.
fn order(bundles: &[Arc<Bundle>]) -> Result<Vec<&Arc<Bundle>>, RenderError> {
    let mut left: BTreeMap<&str, &Arc<Bundle>> =
        bundles.iter().map(|bundle| (bundle.manifest.name.as_str(), bundle)).collect();
    let wrong = |bundle: &Bundle, cause: String| RenderError {
        bundle: bundle.reference(),
        place: "bundle.toml: needs".into(),
        cause,
    };
    for bundle in bundles {
        if let Some(missing) = bundle.manifest.needs.iter().find(|need| !left.contains_key(need.as_str())) {
            return Err(wrong(
                bundle,
                format!("it needs bundle '{missing}', which is not pinned here; pin it too"),
            ));
        }
    }
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let free =
            |bundle: &Bundle| bundle.manifest.needs.iter().all(|need| !left.contains_key(need.as_str()));
        let Some(name) = left.iter().find(|(_, bundle)| free(bundle)).map(|(name, _)| *name) else {
            let names: Vec<&str> = left.keys().copied().collect();
            let round = format!("{} need one another; break the circle", names.join(", "));
            return Err(left.values().next().map_or_else(
                || RenderError { bundle: String::new(), place: String::new(), cause: round.clone() },
                |bundle| wrong(bundle, round.clone()),
            ));
        };
        ordered.extend(left.remove(name));
    }
    Ok(ordered)
}

fn scope(variables: &Merged, about: &About, secrets: Secrets<'_>) -> Result<Scope, Vec<RenderError>> {
    let (mut values, mut hidden, mut errors) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (name, (kind, value)) in &variables.values {
        match (kind, secrets, value.as_str()) {
            (Kind::Secret, _, Some("")) => drop(values.insert(name.clone(), Value::from(""))),
            (Kind::Secret, Secrets::Opened(key), Some(closed)) => match key.open(closed) {
                Ok(text) => drop(hidden.insert(name.clone(), text)),
                Err(error) => {
                    let (bundle, place) = ("variables".to_owned(), format!("secret '{name}'"));
                    errors.push(RenderError { bundle, place, cause: error.to_string() });
                }
            },
            (Kind::Secret, ..) => drop(hidden.insert(name.clone(), Secret::masked())),
            _ => drop(values.insert(name.clone(), Value::from(Serde(value)))),
        }
    }
    let around = [
        Value::from(Serde(&about.node)),
        Value::from(Serde(&about.role)),
        Value::from(Serde(&about.appliance)),
        Value::from(Serde(&about.cluster)),
    ];
    values.extend(NAMES.into_iter().map(str::to_owned).zip(around));
    if errors.is_empty() { Ok(Scope::new(values, hidden)) } else { Err(errors) }
}

/// One bundle that is being rendered.
struct One<'a> {
    bundle: &'a Bundle,
    engine: &'a Engine,
    scope: &'a Scope,
    /// Bytes of files that may still be made.
    left: usize,
    /// The secrets that its files asked for.
    secrets: BTreeSet<String>,
    errors: Vec<RenderError>,
}

impl One<'_> {
    fn desired(&mut self, variables: &Merged) -> DesiredBundle {
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

    fn services(&mut self) -> Vec<Offer> {
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

/// What two bundles both write.
fn conflicts(bundles: &[DesiredBundle]) -> Vec<RenderError> {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    let mut told = BTreeSet::new();
    let mut errors = Vec::new();
    for bundle in bundles {
        let name = bundle.bundle.as_str();
        for path in bundle.files.iter().map(|file| file.path.as_str()) {
            if let Some(other) = owners.insert(path, name)
                && told.insert(path)
            {
                let who = if other == name { "itself".into() } else { format!("bundle {other} too") };
                let cause = format!("is written by {who}; one of the two must not");
                errors.push(RenderError { bundle: name.into(), place: path.into(), cause });
            }
        }
    }
    errors
}
