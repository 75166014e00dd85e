//! What an administrator does with packages.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{EventKind, Sha256Digest, Timestamp};
use crate::packages::names::Name;
use crate::packages::repository::{Listed, Repository};
use crate::packages::repository_error::RepositoryError;
use crate::packages::state::Kind;

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

/// A package that was uploaded before, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushPackage {
    /// The digest of its file.
    pub sha256: Sha256Digest,
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

    /// Takes a package into a suite.
    ///
    /// # Errors
    /// When the file was not uploaded, is no package, or one of its name and version is there with other bytes.
    pub async fn push_package(&self, push: PushPackage, actor: Actor) -> Result<PushedPackage, AppError> {
        let _artifacts = self.artifacts.read().await;
        self.blobs.size(push.sha256).await?;
        let (at, path) = (now(), self.blobs.path(push.sha256));
        let pushed = self
            .blocking(move |repository| repository.push(&path, &push.suite, &push.component, at.0 / 1000))
            .await?;
        let package = view(pushed.listed);
        if pushed.new {
            self.told(&package, "pushed to", actor).await?;
        }
        Ok(PushedPackage { package, unchanged: !pushed.new })
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
        self.told(&package, "removed from", actor).await
    }

    async fn told(&self, package: &PackageView, what: &str, actor: Actor) -> Result<(), AppError> {
        let kind = EventKind::Package {
            package: format!("{} {} {}", package.name, package.version, package.architecture),
            what: format!("{what} {}/{}", package.suite, package.component),
        };
        let at = now();
        self.store
            .transact(move |tx| {
                tx.append(at, None, Some(&actor.0), kind);
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
