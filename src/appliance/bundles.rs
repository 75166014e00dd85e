//! What an administrator does with bundles.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::bundle::desired::{Applied, Desired};
use crate::bundle::folder::BundleError;
use crate::bundle::render::Secrets;
use crate::bundle::{Bundle, Shown, diff};
use crate::model::{
    self, Artifact, BundleRef, Change, EventKind, GroupName, Node, NodeName, Selector, Sha256Digest,
};

use super::fleet::{Standing, change_of};
use super::pins::{no_bundle, users};
use super::views::NodeView;
use super::wanted::merged;
use super::{Actor, AppError, Appliance, now};

/// A packed bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushBundle {
    /// Its archive, base64.
    pub archive: String,
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedBundle {
    /// The bundle.
    #[serde(flatten)]
    pub bundle: BundleView,
    /// Whether it was there already, the same in every byte.
    pub unchanged: bool,
    /// For how many nodes it was rendered to see whether it can be.
    pub rendered: usize,
}

/// A bundle and who uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleView {
    /// The bundle itself.
    #[serde(flatten)]
    pub bundle: model::Bundle,
    /// Nodes pinned to it by themselves.
    pub pinned_nodes: Vec<NodeName>,
    /// Groups pinned to it.
    pub pinned_groups: Vec<GroupName>,
}

/// A bundle with what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleShown {
    /// The bundle and who uses it.
    #[serde(flatten)]
    pub view: BundleView,
    /// What it needs.
    pub needs: Vec<String>,
    /// Its variables: type, default and what each is for.
    pub variables: BTreeMap<String, VariableShown>,
    /// Its files within the folder, with their bytes.
    pub sources: BTreeMap<String, usize>,
}

/// A variable of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariableShown {
    /// Its type.
    pub kind: String,
    /// Its value when nobody sets it.
    pub default: Option<serde_json::Value>,
    /// What it is for.
    pub description: String,
}

/// A variable of a node.
pub type VariableView = Shown;

/// What a node should have and has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBundles {
    /// The node.
    pub node: NodeName,
    /// What it should have.
    pub desired: Vec<BundleRef>,
    /// The generation that is; empty while it cannot be made.
    pub generation: String,
    /// What it has, as it said last.
    pub observed: Option<Applied>,
    /// `current`, `applying`, `waiting`, `stopped`, or `broken` when its bundles cannot be rendered.
    pub standing: String,
    /// Why, for a person.
    pub reason: String,
    /// Variables that are set and that no bundle asks for.
    pub unknown: Vec<String>,
}

impl Appliance {
    /// All bundles, by name and version.
    pub fn bundles(&self) -> Vec<BundleView> {
        let world = self.view();
        world.bundles().map(|bundle| view(&world, bundle)).collect()
    }

    /// One bundle.
    ///
    /// # Errors
    /// When it was not pushed, or its archive is damaged.
    pub fn bundle(&self, bundle: &BundleRef) -> Result<BundleShown, AppError> {
        let world = self.view();
        let view = world.bundle(bundle).map(|found| view(&world, found)).ok_or_else(|| no_bundle(bundle))?;
        let loaded = self.load(bundle)?;
        let variables = loaded.manifest.variables.iter().map(|(name, variable)| {
            let shown = VariableShown {
                kind: variable.kind.to_string(),
                default: variable.default.clone(),
                description: variable.description.clone(),
            };
            (name.clone(), shown)
        });
        Ok(BundleShown {
            view,
            needs: loaded.manifest.needs.clone(),
            variables: variables.collect(),
            sources: loaded.sources.iter().map(|(path, bytes)| (path.clone(), bytes.len())).collect(),
        })
    }

    /// Takes a bundle in, after it was rendered for each node that is pinned to one of its name.
    ///
    /// # Errors
    /// When it has mistakes, cannot be rendered, or the same version was pushed with other content.
    pub async fn push_bundle(
        self: &Arc<Self>,
        push: PushBundle,
        actor: Actor,
    ) -> Result<PushedBundle, AppError> {
        let unpacked = self.aside(move |appliance| {
            let archive = STANDARD.decode(push.archive.as_bytes());
            let archive =
                archive.map_err(|error| AppError::Invalid(format!("the archive is no base64: {error}")))?;
            let invalid = |error: BundleError| AppError::Invalid(error.to_string());
            let bundle = Arc::new(Bundle::unpack(&archive).map_err(invalid)?);
            let packed = bundle.pack().map_err(invalid)?;
            let rendered = appliance.rendered_with(&bundle)?;
            Ok((bundle, packed, rendered))
        });
        let (bundle, packed, rendered) = unpacked.await?;
        let name: BundleRef = bundle.reference().parse()?;
        let sha256 = Sha256Digest::of(&packed);
        let size = packed.len() as u64;
        let _artifacts = self.artifacts.read().await;
        let mut upload = self.blobs.create(size)?;
        upload.write(&packed).await?;
        upload.finish(sha256).await?;
        let at = now();
        let record = model::Bundle {
            bundle: name.clone(),
            description: bundle.manifest.description.clone(),
            archive: Artifact { name: format!("{name}.tar"), sha256, size },
            pushed: at,
        };
        let (bundle, unchanged) = self
            .store
            .transact(move |tx| {
                match tx.world().bundle(&name) {
                    Some(old) if old.archive.sha256 == sha256 => return Ok((view(tx.world(), old), true)),
                    Some(_) => {
                        return Err(AppError::Refused(format!(
                            "{name} was pushed with other content; versions do not change: give it another version"
                        )));
                    }
                    None => {}
                }
                tx.put(Change::PutBundle(record.clone()));
                let kind = EventKind::BundlePushed { bundle: name, bytes: size };
                tx.append(at, None, Some(&actor.0), kind);
                Ok((view(tx.world(), &record), false))
            })
            .await?;
        Ok(PushedBundle { bundle, unchanged, rendered })
    }

    /// Renders every node that is pinned to a bundle of this name as if it were pinned to this version.
    fn rendered_with(&self, bundle: &Arc<Bundle>) -> Result<usize, AppError> {
        let world = self.view();
        let (mut count, mut problems) = (0, Vec::new());
        for node in world.nodes() {
            let pinned = world.bundles_of(node);
            if !pinned.iter().any(|other| other.name.as_str() == bundle.manifest.name) {
                continue;
            }
            count += 1;
            let mut bundles = vec![Arc::clone(bundle)];
            for other in pinned.iter().filter(|other| other.name.as_str() != bundle.manifest.name) {
                bundles.push(self.load(other)?);
            }
            if let Err(errors) = self.render_as(&world, node, &bundles, Secrets::Masked) {
                problems.extend(errors.iter().map(|error| format!("{}: {error}", node.name)));
            }
        }
        if problems.is_empty() {
            return Ok(count);
        }
        let more = problems.len().saturating_sub(10);
        problems.truncate(10);
        let more = if more > 0 { format!("\nand {more} more") } else { String::new() };
        Err(AppError::Refused(format!("it cannot be rendered:\n{}{more}", problems.join("\n"))))
    }

    /// Removes a bundle that nobody is pinned to.
    ///
    /// # Errors
    /// When it was not pushed, or somebody is.
    pub async fn remove_bundle(&self, bundle: BundleRef, actor: Actor) -> Result<(), AppError> {
        let at = now();
        self.store
            .transact(move |tx| {
                if tx.world().bundle(&bundle).is_none() {
                    return Err(no_bundle(&bundle));
                }
                let (nodes, groups) = users(tx.world(), &bundle);
                let group = groups.first().map(|group| format!("--group {group}"));
                if let Some(user) = group.or_else(|| nodes.first().map(|node| format!("--node {node}"))) {
                    let name = &bundle.name;
                    return Err(AppError::Refused(format!(
                        "{bundle} is pinned by {} groups and {} nodes; unpin it first: firstlight bundle unpin {name} {user}",
                        groups.len(),
                        nodes.len()
                    )));
                }
                tx.put(Change::DeleteBundle(bundle.clone()));
                tx.append(at, None, Some(&actor.0), EventKind::BundleRemoved { bundle });
                Ok(())
            })
            .await
    }

    /// What differs between two bundles.
    ///
    /// # Errors
    /// When one was not pushed.
    pub fn bundle_diff(&self, from: &BundleRef, to: &BundleRef) -> Result<String, AppError> {
        Ok(diff::bundles(&*self.load(from)?, &*self.load(to)?))
    }

    /// What a node should have of bundles, and has.
    ///
    /// # Errors
    /// When the node is not known.
    pub fn node_bundles(&self, selector: &Selector) -> Result<NodeBundles, AppError> {
        let world = self.view();
        let node = selector.find(&world)?;
        let standing = self.standing(&world, node);
        let (name, why) = standing.told();
        Ok(NodeBundles {
            node: node.name.clone(),
            desired: world.bundles_of(node),
            generation: match &standing {
                Standing::Planned { generation, .. } => generation.clone(),
                Standing::Broken(_) | Standing::Nothing => String::new(),
            },
            observed: node.observed.bundles.clone(),
            standing: name.into(),
            reason: why,
            unknown: merged(&world, node, &self.loaded_of(&world, node)?).unknown,
        })
    }

    /// What a node would get; secrets are masked.
    ///
    /// # Errors
    /// When the node is not known, or its bundles cannot be rendered.
    pub fn rendered(&self, selector: &Selector) -> Result<Desired, AppError> {
        let world = self.view();
        let node = selector.find(&world)?;
        self.desired(&world, node, Secrets::Masked)
            .map(|(desired, _)| desired)
            .map_err(|errors| told(node, &errors))
    }

    /// The variables of a node's bundles, and where each comes from.
    ///
    /// # Errors
    /// When the node is not known, or a bundle is damaged.
    pub fn node_variables(&self, selector: &Selector) -> Result<Vec<VariableView>, AppError> {
        let world = self.view();
        let node = selector.find(&world)?;
        Ok(merged(&world, node, &self.loaded_of(&world, node)?).shown)
    }

    /// Lets a change that failed be tried again.
    ///
    /// # Errors
    /// When the node is not known.
    pub async fn retry_bundles(&self, selector: Selector, actor: Actor) -> Result<NodeView, AppError> {
        let change = {
            let world = self.view();
            let node = selector.find(&world)?;
            change_of(&world.bundles_of(node).iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        self.retries.lock().unwrap_or_else(PoisonError::into_inner).insert(change, now().0);
        self.wake.notify_one();
        self.change(selector, move |tx, node, at| {
            let order = "try its bundles again".to_owned();
            tx.append(at, Some(node), Some(&actor.0), EventKind::Ordered { order });
            Ok(())
        })
        .await
    }

    /// What secrets are encrypted to.
    pub fn secrets_recipient(&self) -> String {
        self.secrets.recipient()
    }

    /// A bundle, from memory or from its archive.
    pub(super) fn load(&self, bundle: &BundleRef) -> Result<Arc<Bundle>, AppError> {
        let record = self.view().bundle(bundle).cloned().ok_or_else(|| no_bundle(bundle))?;
        let key = record.archive.sha256;
        let lock = || self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = lock().get(key) {
            return Ok(loaded);
        }
        let damaged = |error: &dyn std::fmt::Display| {
            AppError::Internal(format!("the archive of {bundle} is damaged ({error}); push it again"))
        };
        let bytes = std::fs::read(self.blobs.path(key)).map_err(|error| damaged(&error))?;
        if Sha256Digest::of(&bytes) != key {
            return Err(damaged(&"its digest is another"));
        }
        let loaded = Arc::new(Bundle::unpack(&bytes).map_err(|error: BundleError| damaged(&error))?);
        lock().insert(key, Arc::clone(&loaded));
        Ok(loaded)
    }

    /// The bundles that a node should have.
    pub(super) fn loaded_of(&self, world: &model::World, node: &Node) -> Result<Vec<Arc<Bundle>>, AppError> {
        world.bundles_of(node).iter().map(|bundle| self.load(bundle)).collect()
    }
}

/// Render errors of a node as one.
pub(super) fn told(node: &Node, errors: &[String]) -> AppError {
    AppError::Refused(format!("the bundles of {} cannot be rendered:\n{}", node.name, errors.join("\n")))
}

fn view(world: &model::World, bundle: &model::Bundle) -> BundleView {
    let (pinned_nodes, pinned_groups) = users(world, &bundle.bundle);
    BundleView { bundle: bundle.clone(), pinned_nodes, pinned_groups }
}
