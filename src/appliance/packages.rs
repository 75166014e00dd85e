//! What an administrator does with packages.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{EventKind, Sha256Digest, Timestamp};
use crate::packages::names::Name;
use crate::packages::repository::{Listed, Repository};
use crate::packages::repository_error::RepositoryError;
use crate::packages::state::Kind;

use super::images::digests;
use super::{Actor, AppError, Appliance, now};

/// A package and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageView {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// Who installs it.
    pub kind: Kind,
    /// Its suite.
    pub suite: Name,
    /// Its component.
    pub component: Name,
    /// Bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256Digest,
    /// When it was pushed.
    pub pushed: Timestamp,
}

/// Most packages of one push.
pub const PUSHED_AT_ONCE: usize = 1000;

/// Packages of one kind that were uploaded before, and where they go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushPackages {
    /// The digests of their files.
    pub sha256: Vec<Sha256Digest>,
    /// The suite; made when it is new.
    pub suite: Name,
    /// The component; made when it is new.
    pub component: Name,
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedPackage {
    /// The package.
    #[serde(flatten)]
    pub package: PackageView,
    /// Whether it was there already.
    pub unchanged: bool,
}

impl Appliance {
    /// Every package, by suite, component and name.
    pub fn package_list(&self) -> Vec<PackageView> {
        let service = self.packages.get();
        service.map_or_else(Vec::new, |service| service.repository.list().into_iter().map(view).collect())
    }

    /// Takes packages into a suite: all of them, or none. What was uploaded is not needed any more then, and goes.
    ///
    /// # Errors
    /// When a file was not uploaded, is no package, or one of its name and version is there with other bytes.
    pub async fn push_packages(
        &self,
        push: PushPackages,
        actor: Actor,
    ) -> Result<Vec<PushedPackage>, AppError> {
        let count = push.sha256.len();
        if !(1..=PUSHED_AT_ONCE).contains(&count) {
            let message = format!("{count} packages at once; push 1 to {PUSHED_AT_ONCE}");
            return Err(AppError::Invalid(message));
        }
        let uploads = push.sha256.clone();
        let pushed = {
            let _artifacts = self.artifacts.read().await;
            for digest in &uploads {
                self.blobs.size(*digest).await?;
            }
            let (at, blobs) = (now(), self.blobs.clone());
            self.blocking(move |repository| {
                let paths: Vec<PathBuf> = push.sha256.iter().map(|digest| blobs.path(*digest)).collect();
                let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
                repository.push_all(&paths, &push.suite, &push.component, at.0 / 1000)
            })
            .await?
        };
        let pushed: Vec<PushedPackage> = pushed
            .into_iter()
            .map(|pushed| PushedPackage { package: view(pushed.listed), unchanged: !pushed.new })
            .collect();
        let new = pushed.iter().filter(|pushed| !pushed.unchanged).map(|pushed| pushed.package.clone());
        self.told(new.collect(), "pushed to", actor).await?;
        self.forget_uploads(&uploads).await;
        Ok(pushed)
    }

    /// Removes what was uploaded for packages, unless an image or a bundle is made of the same bytes.
    async fn forget_uploads(&self, uploads: &[Sha256Digest]) {
        let _artifacts = self.artifacts.write().await;
        let used = digests(&self.view());
        for digest in uploads.iter().filter(|digest| !used.contains(digest)) {
            if let Err(error) = self.blobs.remove(*digest).await {
                tracing::warn!(%digest, %error, "an upload stays until `firstlight image gc`");
            }
        }
    }

    /// Takes a package out of a suite; nodes that have it keep it.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn remove_package(&self, package: PackageView, actor: Actor) -> Result<(), AppError> {
        let (at, gone) = (now(), package.clone());
        self.blocking(move |repository| {
            repository.remove(gone.kind, &gone.suite, &gone.component, gone.sha256, at.0 / 1000)
        })
        .await?;
        self.told(vec![package], "removed from", actor).await
    }

    /// Deletes what was removed and nobody is at any more; how many files, and their bytes.
    pub(super) async fn collect_packages(&self) -> Result<(usize, u64), AppError> {
        if self.packages.get().is_none() {
            return Ok((0, 0));
        }
        self.blocking(Repository::collect_garbage).await
    }

    async fn told(
        &self,
        packages: Vec<PackageView>,
        what: &'static str,
        actor: Actor,
    ) -> Result<(), AppError> {
        let at = now();
        self.store
            .transact(move |tx| {
                for package in packages {
                    let kind = EventKind::Package {
                        package: format!("{} {} {}", package.name, package.version, package.architecture),
                        what: format!("{what} {}/{}", package.suite, package.component),
                    };
                    tx.append(at, None, Some(&actor.0), kind);
                }
                Ok(())
            })
            .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Repository) -> Result<T, RepositoryError> + Send + 'static,
    ) -> Result<T, AppError> {
        let service = self.packages.get().ok_or_else(|| {
            AppError::Refused(
                "the repositories' signing key is being made; try again in a few seconds".into(),
            )
        })?;
        let repository = Arc::clone(&service.repository);
        let worked = tokio::task::spawn_blocking(move || work(&repository)).await;
        worked
            .map_err(|error| AppError::Internal(format!("the package repository failed: {error}")))?
            .map_err(|error| AppError::Refused(error.to_string()))
    }
}

fn view(listed: Listed) -> PackageView {
    let Listed { suite, component, digest, package } = listed;
    PackageView {
        name: package.name,
        version: package.version,
        architecture: package.architecture.to_string(),
        kind: package.kind,
        suite,
        component,
        size: package.size,
        sha256: digest,
        pushed: Timestamp(package.pushed.saturating_mul(1000)),
    }
}
