//! Opens the package repositories and the mirrors, beside everything else: the first time their signing key has to be made.

use std::sync::Arc;

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
use crate::packages::mirror::{MirrorError, Mirrors, Settings};
use crate::packages::repository::Repository;
use crate::packages::repository_error::RepositoryError;
use crate::packages::serve::{self, Service};
use crate::packages::sign::{SignError, SigningKey};

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
        // Nobody else sets it.
        Ok(service) => drop(appliance.packages.set(Arc::new(service))),
        Err(error) => tracing::error!(error, "packages are not served"),
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
        Some(Mirrors::open(&config.mirrors, Settings::default(), &config.state_dir.join("mirror"))?)
    };
    Ok(Service { repository: Arc::new(repository), mirrors })
}
