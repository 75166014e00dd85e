//! The package sources of the appliance, as one node gets them: its own repositories, and mirrors.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::bundle::desired::PackageSource;
use crate::model::{Node, World};
use crate::packages::mirror::MirrorConfig;
use crate::packages::names::Name;
use crate::packages::sources::{self, SignedBy, SourcesError};
use crate::packages::state::Kind;
use crate::packages::suites::{self, Suites};

use super::Appliance;
use super::views::address_of;
use super::wanted::layers;

/// Where a node keeps the keys of our repositories.
const KEYS: &str = "/etc/firstlight/keys";

impl Appliance {
    /// The package sources of the appliance, for a node. Waits for nobody: what is served now counts.
    pub(super) fn package_sources(&self, world: &World, node: &Node) -> Vec<PackageSource> {
        let Some(service) = self.packages.get() else { return Vec::new() };
        let address = self.address_near(address_of(world, node));
        let base = format!("http://{address}:{}/packages", self.config.http_port);
        let suites = suites_of(world, node);
        let key = service.repository.key().public_key();
        let mut found = Vec::new();
        for (kind, suite, components) in service.repository.snapshot().suites() {
            if !suites.have(suite) {
                continue;
            }
            let name = format!("firstlight-{suite}");
            let file = format!("{KEYS}/{name}.asc");
            let text = match kind {
                Kind::Apt => {
                    sources::apt(&base, std::slice::from_ref(suite), &components, SignedBy::File(&file))
                }
                Kind::Dnf => sources::dnf(&base, suite, &components, &file),
            };
            found.extend(source(kind, name, text, key));
        }
        for mirror in &self.config.mirrors {
            let Some(text) = mirrored(&base, mirror, &suites) else { continue };
            found.extend(source(mirror.kind, format!("firstlight-mirror-{}", mirror.name), text, ""));
        }
        found
    }

    /// Every suite that nodes can use; none while the repositories are not open yet.
    pub(super) fn known_suites(&self) -> Option<BTreeSet<Name>> {
        let snapshot = self.packages.get()?.repository.snapshot();
        let own = snapshot.suites().map(|(_, suite, _)| suite);
        Some(own.chain(self.config.mirrors.iter().flat_map(|mirror| &mirror.suites)).cloned().collect())
    }

    /// What the sources of all nodes depend on, beside the nodes, as a number.
    pub(super) fn sources_key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        if let Some(service) = self.packages.get() {
            service.repository.key().public_key().hash(&mut hasher);
            for (kind, suite, components) in service.repository.snapshot().suites() {
                (kind, suite, components).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

/// The suites that a node uses.
fn suites_of(world: &World, node: &Node) -> Suites {
    let layers = layers(world, node);
    let named = layers.iter().rev().find_map(|(_, values)| values.get(suites::VARIABLE));
    Suites::of(named, node.observed.os.as_deref())
}

/// The text for a mirror; none when the nodes, or this one, are to know nothing of it.
fn mirrored(base: &str, mirror: &MirrorConfig, suites: &Suites) -> Option<Result<String, SourcesError>> {
    let keyring = mirror.keyring.as_deref()?;
    let fit: Vec<Name> = mirror.suites.iter().filter(|suite| suites.have(suite)).cloned().collect();
    match mirror.kind {
        Kind::Apt if fit.is_empty() => None,
        Kind::Apt => {
            let signed = SignedBy::File(keyring);
            Some(sources::apt_mirror(base, &mirror.name, &fit, &mirror.components, signed))
        }
        Kind::Dnf if mirror.paths.is_empty() || (fit.is_empty() && !mirror.suites.is_empty()) => None,
        Kind::Dnf => {
            let one = |path: &String| sources::dnf_mirror(base, &mirror.name, path, keyring);
            let all: Result<Vec<String>, SourcesError> = mirror.paths.iter().map(one).collect();
            Some(all.map(|all| all.join("\n")))
        }
    }
}

fn source(kind: Kind, name: String, text: Result<String, SourcesError>, key: &str) -> Option<PackageSource> {
    match text {
        Ok(text) => Some(PackageSource { manager: kind.to_string(), name, text, key: key.to_owned() }),
        Err(error) => {
            tracing::warn!(name, %error, "a package source is left out");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OsRelease;

    fn mirror(kind: Kind, suites: &[&str], paths: &[&str]) -> MirrorConfig {
        MirrorConfig {
            name: "up".parse().expect("a name"),
            url: "http://up.example/".into(),
            kind,
            suites: suites.iter().map(|suite| suite.parse().expect("a name")).collect(),
            components: vec!["main".parse().expect("a name")],
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            keyring: Some("/etc/key".into()),
            redirect_hosts: Vec::new(),
        }
    }

    #[test]
    fn mirrors_for_the_nodes_they_fit() {
        let os = OsRelease::parse("ID=debian\nVERSION_CODENAME=bookworm\n");
        let debian = Suites::of(None, os.as_ref());
        let os = OsRelease::parse("ID=rocky\nVERSION_ID=9.4\nPLATFORM_ID=platform:el9\n");
        let rocky = Suites::of(None, os.as_ref());
        let apt = mirror(Kind::Apt, &["bookworm", "trixie", "bookworm-updates"], &[]);
        let dnf = mirror(Kind::Dnf, &["el9"], &["9/BaseOS/x86_64/os", "9/AppStream/x86_64/os"]);
        let anyones = mirror(Kind::Dnf, &[], &["tools"]);
        let nobodys = mirror(Kind::Apt, &[], &[]);
        for (name, mirror, suites, expected) in [
            ("its suites alone", &apt, &debian, Some("\nSuites: bookworm bookworm-updates\n")),
            ("none that fits", &apt, &rocky, None),
            ("every path", &dnf, &rocky, Some("\n[firstlight-up-9-AppStream-x86-64-os]\n")),
            ("of another system", &dnf, &debian, None),
            ("for all", &anyones, &rocky, Some("/packages/mirror/up/tools/\n")),
            ("not for nodes", &nobodys, &debian, None),
        ] {
            let text = mirrored("http://a/packages", mirror, suites).map(|text| text.expect("a text"));
            match (text, expected) {
                (Some(text), Some(expected)) => assert!(text.contains(expected), "{name}: {text}"),
                (text, expected) => assert_eq!(text.as_deref(), expected, "{name}"),
            }
        }
    }
}
