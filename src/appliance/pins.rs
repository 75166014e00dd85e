//! Which bundles, roles and variables nodes have.

use serde::{Deserialize, Serialize};

use crate::dhcp::options::from_table;
use crate::model::{
    BundleName, BundleRef, Change, EventKind, GroupName, NodeName, RoleName, Scope, Selector, Timestamp,
    Variables, World,
};
use crate::packages::suites;
use crate::store::Tx;

use super::nodes::no_group;
use super::secrecy::{hide, refuse_plain};
use super::views::{GroupView, NodeView, group_view};
use super::wanted::DRIFT;
use super::{Actor, AppError, Appliance, now};

/// Bundles that one node or group may be pinned to.
const PINS: usize = 64;
/// Longest set of variables, bytes of JSON.
const VARIABLES_BYTES: usize = 256 << 10;

/// What a pin to bundles changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinBundles {
    /// Versions to have from now on; each stands in for the one of its name.
    #[serde(default)]
    pub add: Vec<BundleRef>,
    /// Bundles to have no more.
    #[serde(default)]
    pub remove: Vec<BundleName>,
}

/// For whom variables are, in the words of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// For every node.
    Appliance,
    /// For the nodes of a group.
    Group(GroupName),
    /// For the nodes of a role.
    Role(RoleName),
    /// For one node.
    Node(String),
}

/// What is changed about variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetVariables {
    /// For whom.
    pub target: Target,
    /// New values.
    #[serde(default)]
    pub set: Variables,
    /// Names that are no longer set there.
    #[serde(default)]
    pub unset: Vec<String>,
}

impl Appliance {
    /// Changes which bundles a node should have of its own.
    ///
    /// # Errors
    /// When the node or a bundle is not known.
    pub async fn pin_node_bundles(
        &self,
        selector: Selector,
        pins: PinBundles,
        actor: Actor,
    ) -> Result<NodeView, AppError> {
        self.change(selector, move |tx, node, at| {
            let bundles = pinned(tx.world(), &node.bundles, &pins)?;
            if bundles != node.bundles {
                node.bundles.clone_from(&bundles);
                tx.append(at, Some(node), Some(&actor.0), EventKind::BundlesPinned { group: None, bundles });
            }
            Ok(())
        })
        .await
    }

    /// Changes which bundles the nodes of a group should have.
    ///
    /// # Errors
    /// When the group or a bundle is not known.
    pub async fn pin_group_bundles(
        &self,
        name: GroupName,
        pins: PinBundles,
        actor: Actor,
    ) -> Result<GroupView, AppError> {
        let at = now();
        self.store
            .transact(move |tx| {
                let mut group = tx.world().group(&name).ok_or_else(|| no_group(&name))?.clone();
                let bundles = pinned(tx.world(), &group.bundles, &pins)?;
                if bundles != group.bundles {
                    group.bundles.clone_from(&bundles);
                    tx.put(Change::PutGroup(group.clone()));
                    let kind = EventKind::BundlesPinned { group: Some(name), bundles };
                    tx.append(at, None, Some(&actor.0), kind);
                }
                Ok(group_view(tx.world(), &group))
            })
            .await
    }

    /// Variables that are set, by their scope; of a secret, what is encrypted.
    pub fn variables(&self) -> Vec<(Scope, Variables)> {
        let world = self.view();
        let secrets = self.secret_names(&world);
        let shown = |(scope, variables): (&Scope, &Variables)| {
            let mut variables = variables.clone();
            hide(&mut variables, &secrets);
            (scope.clone(), variables)
        };
        world.all_variables().map(shown).collect()
    }

    /// Sets variables, or takes them away; what is set there then.
    ///
    /// # Errors
    /// When the target is not known, there are too many, a secret is not encrypted, or a value is none of ours.
    pub async fn set_variables(&self, change: SetVariables, actor: Actor) -> Result<Variables, AppError> {
        let _no_push = self.secrecy.lock().await;
        let secrets = self.secret_names(&self.view());
        refuse_plain(&change.set, &secrets)?;
        if let Some(named) = change.set.get(suites::VARIABLE) {
            suites::check(named, self.known_suites().as_ref())
                .map_err(|why| AppError::Invalid(format!("{}: {why}", suites::VARIABLE)))?;
        }
        let at = now();
        let mut after = self.store.transact(move |tx| set_variables(tx, change, &actor, at)).await?;
        hide(&mut after, &secrets);
        Ok(after)
    }
}

/// The variable that holds DHCP options of a group or a node: a table, as in the configuration.
pub const OPTIONS_VARIABLE: &str = "dhcp_options";

fn set_variables(
    tx: &mut Tx,
    change: SetVariables,
    actor: &Actor,
    at: Timestamp,
) -> Result<Variables, AppError> {
    let (scope, shown) = scope(tx.world(), &change.target)?;
    let before = tx.world().variables(&scope).cloned().unwrap_or_default();
    let mut after = before.clone();
    let mut names: Vec<String> = Vec::new();
    for name in change.unset {
        if after.remove(&name).is_none() {
            return Err(AppError::NotFound(format!("'{name}' is not set for {shown}")));
        }
        names.push(format!("{name} removed"));
    }
    for (name, value) in change.set {
        let first = name.bytes().next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_');
        if !first || name.len() > 64 || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
            let name = name.escape_debug();
            return Err(AppError::Invalid(format!(
                "'{name}' is no name of a variable: use letters, digits and _"
            )));
        }
        if name == OPTIONS_VARIABLE {
            if !matches!(scope, Scope::Group(_) | Scope::Node(_)) {
                let why =
                    "belongs to a group or a node; for all, and for a network, the configuration has options";
                return Err(AppError::Invalid(format!("{name} {why}")));
            }
            from_table(&value).map_err(|why| AppError::Invalid(format!("{name}: {why}")))?;
        }
        if name == DRIFT && !["report", "repair"].iter().any(|word| value == *word) {
            return Err(AppError::Invalid(format!(
                "{name} is {value}; it says what is done about files changed by hand: report or repair"
            )));
        }
        if after.get(&name) != Some(&value) {
            names.push(name.clone());
            after.insert(name, value);
        }
    }
    let bytes = serde_json::to_vec(&after).map_or(usize::MAX, |text| text.len());
    if bytes > VARIABLES_BYTES {
        return Err(AppError::Invalid(format!("variables of {bytes} bytes; {VARIABLES_BYTES} fit")));
    }
    if after != before {
        tx.put(Change::PutVariables(scope, after.clone()));
        tx.append(at, None, Some(&actor.0), EventKind::VariablesSet { scope: shown, names });
    }
    Ok(after)
}

/// The scope that an operator means, and its name for people.
fn scope(world: &World, target: &Target) -> Result<(Scope, String), AppError> {
    Ok(match target {
        Target::Appliance => (Scope::Appliance, "every node".into()),
        Target::Group(name) => {
            let group = world.group(name).ok_or_else(|| no_group(name))?;
            (Scope::Group(group.name.clone()), format!("group {name}"))
        }
        Target::Role(role) => (Scope::Role(role.clone()), format!("role {role}")),
        Target::Node(node) => {
            let node = Selector::new(node.clone()).find(world)?;
            (Scope::Node(node.id), format!("node {}", node.name))
        }
    })
}

fn pinned(world: &World, before: &[BundleRef], pins: &PinBundles) -> Result<Vec<BundleRef>, AppError> {
    let mut bundles = before.to_vec();
    for name in &pins.remove {
        let count = bundles.len();
        bundles.retain(|bundle| bundle.name != *name);
        if bundles.len() == count {
            return Err(AppError::NotFound(format!("it is not pinned to bundle '{name}' itself")));
        }
    }
    for bundle in &pins.add {
        if world.bundle(bundle).is_none() {
            return Err(no_bundle(bundle));
        }
        bundles.retain(|other| other.name != bundle.name);
        bundles.push(bundle.clone());
    }
    if bundles.len() > PINS {
        return Err(AppError::Invalid(format!(
            "{} bundles; {PINS} can be pinned at one place",
            bundles.len()
        )));
    }
    bundles.sort();
    Ok(bundles)
}

/// The error for a bundle that is not there.
pub(super) fn no_bundle(bundle: &BundleRef) -> AppError {
    AppError::NotFound(format!(
        "bundle {bundle} was not pushed; `firstlight bundle list` shows what there is"
    ))
}

/// Who is pinned to a bundle, for people.
pub(super) fn users(world: &World, bundle: &BundleRef) -> (Vec<NodeName>, Vec<GroupName>) {
    let nodes = world.nodes().filter(|node| node.bundles.contains(bundle)).map(|node| node.name.clone());
    let groups =
        world.groups().filter(|group| group.bundles.contains(bundle)).map(|group| group.name.clone());
    (nodes.collect(), groups.collect())
}
