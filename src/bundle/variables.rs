//! Whose value of a variable counts: the nearer beats the farther, and a map is merged key by key.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::manifest::{Kind, Manifest};
use super::problem::did_you_mean;
use super::secret::MASK;

/// Values that were set in one place.
#[derive(Debug, Clone)]
pub struct Layer<'a> {
    /// Where, for a person: `appliance`, `group rack1`, `role control`, `node n3`.
    pub origin: String,
    /// The values.
    pub values: &'a Map<String, Value>,
}

/// A value, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The variable; a key of a map has its own, `map.key`.
    pub name: String,
    /// Its value; a secret is masked.
    pub value: Value,
    /// Where it comes from.
    pub origin: String,
}

/// What templates see.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Merged {
    /// Values by name.
    pub values: BTreeMap<String, (Kind, Value)>,
    /// The same for people.
    pub shown: Vec<Shown>,
    /// What keeps the bundles from being rendered.
    pub problems: Vec<String>,
    /// Values that no bundle asks for.
    pub unknown: Vec<String>,
}

/// Merges `layers`, the farthest first, over the defaults of `manifests`.
pub fn merge(manifests: &[&Manifest], layers: &[Layer<'_>]) -> Merged {
    let mut merged = Merged::default();
    let mut declared: BTreeMap<&str, (Kind, &str)> = BTreeMap::new();
    for manifest in manifests {
        for (name, variable) in &manifest.variables {
            match declared.get(name.as_str()) {
                Some((kind, other)) if *kind != variable.kind => merged.problems.push(format!(
                    "variable '{name}' is a {kind} in {other} and a {} in {}; rename one",
                    variable.kind,
                    manifest.reference()
                )),
                Some(_) => {}
                None => {
                    declared.insert(name, (variable.kind, manifest.name.as_str()));
                }
            }
        }
    }
    for (name, (kind, bundle)) in &declared {
        let defaults = manifests.iter().filter_map(|manifest| {
            let default = manifest.variables.get(*name)?.default.as_ref()?;
            Some((format!("default of {}", manifest.name), default))
        });
        let set: Vec<_> = layers
            .iter()
            .filter_map(|layer| Some((layer.origin.clone(), layer.values.get(*name)?)))
            .collect();
        merged.problems.extend(torn(manifests, name, *kind, !set.is_empty()));
        let mut candidates = Vec::new();
        candidates.extend(defaults.take(1));
        for (origin, value) in set {
            if kind.holds(value) {
                candidates.push((origin, value));
            } else {
                let shown = if *kind == Kind::Secret { MASK.into() } else { value.to_string() };
                merged
                    .problems
                    .push(format!("variable '{name}' of {bundle} is a {kind}, but {origin} says {shown}"));
            }
        }
        match (kind, candidates.last()) {
            (_, None) => merged.problems.push(format!(
                "variable '{name}' of {bundle} is not set; set it with: firstlight vars set {name}=…"
            )),
            (Kind::Map, Some(_)) => merge_map(&mut merged, name, &candidates),
            (_, Some((origin, value))) => {
                let shown = if *kind == Kind::Secret { Value::from(MASK) } else { (*value).clone() };
                merged.shown.push(Shown { name: (*name).into(), value: shown, origin: origin.clone() });
                merged.values.insert((*name).into(), (*kind, (*value).clone()));
            }
        }
    }
    let unknown: BTreeSet<String> = layers
        .iter()
        .flat_map(|layer| layer.values.keys().map(move |name| (layer, name)))
        .filter(|(_, name)| !declared.contains_key(name.as_str()))
        .map(|(layer, name)| {
            let near = did_you_mean(name, declared.keys().copied());
            let near = near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
            format!("'{name}' is set for {}, and no bundle here asks for it{near}", layer.origin)
        })
        .collect();
    merged.unknown = unknown.into_iter().collect();
    merged
}

/// Two defaults for one variable: whose counts would be chance. A value that is set settles it, but for a map, which is laid
/// over its default.
fn torn(manifests: &[&Manifest], name: &str, kind: Kind, set: bool) -> Option<String> {
    let mut defaults = manifests
        .iter()
        .filter_map(|manifest| Some((manifest.reference(), manifest.variables.get(name)?.default.as_ref()?)));
    let (first, value) = defaults.next()?;
    let (other, another) = defaults.find(|(_, another)| *another != value)?;
    if set && kind != Kind::Map {
        return None;
    }
    let way = if kind == Kind::Map { "" } else { ", or set it with: firstlight vars set" };
    let way = if way.is_empty() { String::new() } else { format!("{way} {name}=…") };
    Some(format!(
        "variable '{name}' is {value} by default in {first} and {another} in {other}; give both the same default{way}"
    ))
}

/// Lays `entries` over `map`: the nearer value counts, and maps are merged key by key, however deep.
pub fn lay_over(map: &mut Map<String, Value>, entries: &Map<String, Value>) {
    overlay(map, entries, "", "", &mut BTreeMap::new());
}

fn merge_map(merged: &mut Merged, name: &str, candidates: &[(String, &Value)]) {
    let (mut map, mut origins) = (Map::new(), BTreeMap::new());
    for (origin, value) in candidates {
        if let Value::Object(entries) = value {
            overlay(&mut map, entries, name, origin, &mut origins);
        }
    }
    if origins.is_empty() {
        let origin = candidates.last().map(|(origin, _)| origin.clone()).unwrap_or_default();
        merged.shown.push(Shown { name: name.into(), value: Value::Object(Map::new()), origin });
    }
    for (path, (value, origin)) in origins {
        merged.shown.push(Shown { name: path, value, origin });
    }
    merged.values.insert(name.into(), (Kind::Map, Value::Object(map)));
}

fn overlay(
    map: &mut Map<String, Value>,
    entries: &Map<String, Value>,
    path: &str,
    origin: &str,
    origins: &mut BTreeMap<String, (Value, String)>,
) {
    for (key, value) in entries {
        let path = format!("{path}.{key}");
        if let (Some(Value::Object(old)), Value::Object(new)) = (map.get_mut(key), value) {
            overlay(old, new, &path, origin, origins);
            continue;
        }
        let below = format!("{path}.");
        origins.retain(|old, _| *old != path && !old.starts_with(&below));
        if let Value::Object(new) = value
            && !new.is_empty()
        {
            let mut inner = Map::new();
            overlay(&mut inner, new, &path, origin, origins);
            map.insert(key.clone(), Value::Object(inner));
        } else {
            origins.insert(path, (value.clone(), origin.to_owned()));
            map.insert(key.clone(), value.clone());
        }
    }
}
