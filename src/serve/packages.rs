//! Opens the package repositories and the mirrors, beside everything else: the first time their signing key has to be made.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use thiserror::Error;
use tower::ServiceExt;

use crate::appliance::Appliance;
use crate::config::Config;
use crate::packages::backing::Folder;
use crate::packages::mirror::{MirrorError, Mirrors};
use crate::packages::repository::Repository;
use crate::packages::repository_error::RepositoryError;
use crate::packages::serve::{self, Service};
use crate::packages::sign::{SignError, SigningKey};

/// How often the files of packages that were removed are deleted.
const TIDY: Duration = Duration::from_secs(15 * 60);
/// Who signs.
const USER: &str = "Firstlight packages";

/// Why there are no packages.
#[derive(Debug, Error)]
pub enum PackagesError {
    /// Their folder cannot be used.
    #[error("cannot use the packages in {path}: {cause}")]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] SignError),
    /// The repositories cannot be used.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The mirrors cannot be used.
    #[error(transparent)]
    Mirrors(#[from] MirrorError),
}

/// Has the appliance serve packages; what is wrong is in the log.
pub async fn provide(appliance: Arc<Appliance>) {
    let config = Arc::clone(&appliance.config);
    let opened = tokio::task::spawn_blocking(move || open(&config)).await;
    match opened.map_err(|error| error.to_string()).and_then(|opened| opened.map_err(|e| e.to_string())) {
        Ok(service) => {
            let service = Arc::new(service);
            // Nobody else sets it.
            drop(appliance.packages.set(Arc::clone(&service)));
            drop(appliance);
            tidy(service).await;
        }
        Err(error) => tracing::error!(error, "packages are not served"),
    }
}

/// Deletes packages that were removed, from time to time, for ever.
async fn tidy(service: Arc<Service>) {
    let mut time = tokio::time::interval(TIDY);
    loop {
        time.tick().await;
        let repository = Arc::clone(&service.repository);
        match tokio::task::spawn_blocking(move || repository.collect_garbage()).await {
            Ok(Ok((0, _))) => {}
            Ok(Ok((files, bytes))) => tracing::info!(files, bytes, "deleted packages that were removed"),
            Ok(Err(error)) => tracing::warn!(%error, "packages that were removed stay on the disk"),
            Err(error) => tracing::error!(%error, "packages that were removed stay on the disk"),
        }
    }
}

/// What is below `/packages`.
pub fn router(appliance: Arc<Appliance>) -> Router {
    Router::new().route("/packages/{*path}", routing::get(packages)).with_state(appliance)
}

async fn packages(State(appliance): State<Arc<Appliance>>, request: Request) -> Response<Body> {
    let Some(service) = appliance.packages.get() else {
        let text = "the repositories are not there yet; the appliance's log tells why\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], text).into_response();
    };
    let Ok(response) = serve::router(Arc::clone(service)).oneshot(request).await;
    response
}

/// Packages and mirrors below `STATE/packages`. Blocks.
fn open(config: &Config) -> Result<Service, PackagesError> {
    let path = config.state_dir.join("packages");
    let failed = |cause| PackagesError::Folder { path: path.clone(), cause };
    let folder = Folder::open(&path).map_err(failed)?;
    let state = folder.load().map_err(failed)?;
    let key = SigningKey::open(&path.join("signing-key.asc"), USER)?;
    let repository = Repository::open(Arc::new(folder), state, key, "Firstlight")?;
    let mirrors = if config.mirrors.is_empty() {
        None
    } else {
        Some(Mirrors::open(
            &config.mirrors,
            config.mirror_settings.clone(),
            &config.state_dir.join("mirror"),
        )?)
    };
    Ok(Service { repository: Arc::new(repository), mirrors })
}
