//! Bundles and variables become what one node gets. Templates are minijinja; a name that nobody knows is an error.
//!
//! Here all bundles of a node come together: in which order, with which values, and whether they get on with one another; [`one`] is what
//! becomes of each.

mod one;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::Serde;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::desired::{DesiredBundle, Masks};
use super::facts::{About, NAMES};
use super::folder::Bundle;
use super::manifest::Kind;
use super::rules;
use super::secret::{Secret, SecretKey};
use super::template::{self, Engine, Scope};
use super::variables::Merged;

use one::One;

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
        let mut one = One::new(bundle, &engine, scope, left);
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
