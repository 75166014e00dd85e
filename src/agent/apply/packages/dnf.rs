//! Fedora, RHEL and their kin: `dnf`, and rpm's record of what is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::desired::PackageSource;
use super::super::error::Result;
use super::super::fault::step;
use super::super::process::{Place, argv};
use super::{LIMIT, Packages, Told, Wanted, satisfies};

/// Longest of a question to rpm.
const ANSWER: Duration = Duration::from_secs(2 * 60);

/// dnf of one host. It waits for others that are at work by itself.
#[derive(Debug)]
pub struct Dnf {
    place: Place,
}

impl Dnf {
    /// Programs run in `place`.
    pub fn new(place: Place) -> Self {
        Self { place }
    }

    fn run(&self, verb: &str, more: &[String], told: Told<'_>) -> Result<()> {
        let mut command = argv(&[
            "dnf",
            "-y",
            "-q",
            "--setopt=install_weak_deps=False",
            "--setopt=clean_requirements_on_remove=False",
            verb,
        ]);
        command.extend_from_slice(more);
        step();
        let done = self.place.run(&format!("dnf {verb}"), &command, LIMIT, told);
        step();
        done.map(drop)
    }

    /// Those that are not there in the version asked for.
    fn missing(&self, wanted: &[Wanted]) -> Result<Vec<Wanted>> {
        let installed = self.installed()?;
        let there = |one: &&Wanted| {
            let version = installed.get(&one.name);
            version.is_some_and(|have| one.version.as_deref().is_none_or(|want| satisfies("dnf", have, want)))
        };
        Ok(wanted.iter().filter(|one| !there(one)).cloned().collect())
    }
}

/// `name` or `name-version`.
fn asked(wanted: &[Wanted]) -> Vec<String> {
    let one = |wanted: &Wanted| match &wanted.version {
        Some(version) => format!("{}-{version}", wanted.name),
        None => wanted.name.clone(),
    };
    wanted.iter().map(one).collect()
}

impl Packages for Dnf {
    fn manager(&self) -> &'static str {
        "dnf"
    }

    fn installed(&self) -> Result<BTreeMap<String, String>> {
        let command = argv(&["rpm", "-qa", "--qf", "%{NAME}\t%{EVR}\n"]);
        let mut all = BTreeMap::new();
        self.place.run("rpm -qa", &command, ANSWER, &mut |line| {
            if let Some((name, version)) = line.split_once('\t') {
                all.insert(name.to_owned(), version.to_owned());
            }
        })?;
        Ok(all)
    }

    fn refresh(&self, sources: &[PackageSource], told: Told<'_>) -> Result<()> {
        let lines =
            sources.iter().filter(|source| source.manager == "dnf").flat_map(|source| source.text.lines());
        let names = lines.filter_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']'));
        let mut more: Vec<String> = names.map(|name| format!("--enablerepo={name}")).collect();
        if !more.is_empty() {
            more.insert(0, "--disablerepo=*".into());
        }
        self.run("makecache", &more, told)
    }

    fn plan(&self, _wanted: &[Wanted]) -> Result<Option<BTreeSet<String>>> {
        Ok(None)
    }

    fn keep(&self, _versions: &BTreeMap<String, String>, _told: Told<'_>) {}

    fn install(&self, wanted: &[Wanted], told: Told<'_>) -> Result<()> {
        let first = self.run("install", &asked(wanted), told);
        let missing = self.missing(wanted)?;
        if missing.is_empty() {
            return Ok(());
        }
        let older: Vec<_> = missing.into_iter().filter(|one| one.version.is_some()).collect();
        if older.is_empty() {
            return first;
        }
        self.run("downgrade", &asked(&older), told)
    }

    fn unneeded(&self, brought: &BTreeSet<String>, _asked: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let installed = self.installed()?;
        let mut names: BTreeSet<String> =
            brought.iter().filter(|name| installed.contains_key(*name)).cloned().collect();
        // Each round drops what somebody outside needs, until what is left can go together.
        for _ in 0..=brought.len() {
            if names.is_empty() {
                break;
            }
            let mut command = argv(&["rpm", "-e", "--test", "--"]);
            command.extend(names.iter().cloned());
            let done = self.place.end(&command, &[], ANSWER, &mut |_| ())?;
            if done.success() {
                return Ok(names);
            }
            let before = names.len();
            for line in &done.lines {
                let Some((capability, _)) = line.trim().split_once(" is needed by ") else { continue };
                let capability = capability.split_whitespace().next().unwrap_or_default();
                let ask = argv(&["rpm", "-q", "--qf", "%{NAME}\n", "--whatprovides", capability]);
                let providers = self.place.end(&ask, &[], ANSWER, &mut |_| ())?.lines;
                names.retain(|name| !providers.contains(name));
            }
            if names.len() == before {
                break;
            }
        }
        Ok(BTreeSet::new())
    }

    fn remove(&self, names: &BTreeSet<String>, told: Told<'_>) -> Result<()> {
        self.run("remove", &names.iter().cloned().collect::<Vec<_>>(), told)
    }

    fn back(&self, versions: &[Wanted], gone: &BTreeSet<String>, told: Told<'_>) -> Result<()> {
        if !versions.is_empty() {
            self.install(versions, told)?;
        }
        let installed = self.installed()?;
        let there: BTreeSet<String> =
            gone.iter().filter(|name| installed.contains_key(*name)).cloned().collect();
        if there.is_empty() { Ok(()) } else { self.remove(&there, told) }
    }

    fn settle(&self, _told: Told<'_>) -> Result<()> {
        Ok(())
    }
}
