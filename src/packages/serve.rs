//! HTTP below `/packages`: the public key, the repositories, and the mirrors.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use axum::routing::get;
use tokio::fs::File;

use super::body::{About, Content, answer};
use super::mirror::path::decoded;
use super::mirror::{self, MirrorError, Mirrors};
use super::names::Name;
use super::repository::Repository;
use super::snapshot::{Found, Snapshot};
use crate::model::Sha256Digest;

/// What is served.
pub trait Source: Send + Sync + 'static {
    /// The repositories as they are now.
    fn snapshot(&self) -> Arc<Snapshot>;
    /// Where the package of this digest lies.
    fn package(&self, digest: Sha256Digest) -> PathBuf;
    /// The mirrors, if there are any.
    fn mirrors(&self) -> Option<&Mirrors>;
}

/// A repository and mirrors together.
pub struct Service {
    /// The repository.
    pub repository: Arc<Repository>,
    /// The mirrors, if there are any.
    pub mirrors: Option<Mirrors>,
}

impl Source for Service {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.repository.snapshot()
    }

    fn package(&self, digest: Sha256Digest) -> PathBuf {
        self.repository.backing().path(digest)
    }

    fn mirrors(&self) -> Option<&Mirrors> {
        self.mirrors.as_ref()
    }
}

/// The routes.
pub fn router<S: Source>(source: Arc<S>) -> Router {
    Router::new().route("/packages/{*path}", get(serve::<S>)).with_state(source)
}

async fn serve<S: Source>(State(source): State<Arc<S>>, request: Request) -> Response<Body> {
    let (method, headers) = (request.method(), request.headers());
    let path = request.uri().path().strip_prefix("/packages/").unwrap_or_default();
    let Some(path) = decoded(path) else {
        return refusal(StatusCode::BAD_REQUEST, "the path is not one of a file");
    };
    if let Some(rest) = path.strip_prefix("mirror/") {
        return mirrored(source.mirrors(), rest, method, headers).await;
    }
    let answered = match source.snapshot().find(&path) {
        Some(Found::Metadata(text, immutable)) => {
            let etag = Sha256Digest::of(&text.bytes).to_string();
            // Two changes may fall into one second, so that only the tag tells what is current.
            let modified = Some(text.changed).filter(|_| immutable);
            let about = About { etag, modified, immutable, media: media(&path) };
            answer(Content::Memory(text.bytes), &about, method, headers).await
        }
        Some(Found::Package(stored)) => match File::open(source.package(stored.digest)).await {
            Ok(file) => {
                let modified = file.metadata().await.ok().and_then(|metadata| metadata.modified().ok());
                let modified = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
                let about = About {
                    etag: stored.digest.to_string(),
                    modified: modified.map(|time| time.as_secs()),
                    immutable: true,
                    media: media(&path),
                };
                answer(Content::Disk(file, stored.size), &about, method, headers).await
            }
            Err(error) => Err(error),
        },
        None => return refusal(StatusCode::NOT_FOUND, "no such file in the package repositories"),
    };
    answered.unwrap_or_else(|error| {
        tracing::error!(path, %error, "package cannot be read");
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "the package cannot be read; push it again")
    })
}

async fn mirrored(
    mirrors: Option<&Mirrors>,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Response<Body> {
    let name = path.split_once('/').and_then(|(name, rest)| Some((name.parse::<Name>().ok()?, rest)));
    let (Some(mirrors), Some((name, rest))) = (mirrors, name) else {
        return refusal(StatusCode::NOT_FOUND, "there is no such mirror");
    };
    let answered = match mirrors.get(&name, rest).await {
        Ok(mirror::Served::File { file, size, about, how }) => {
            let answered = answer(Content::Disk(file, size), &about, method, headers).await;
            answered.map(|response| noted(response, how)).map_err(|error| MirrorError::Cache(Arc::new(error)))
        }
        Ok(mirror::Served::Stream(stream)) => Ok(noted(stream.into_response(method), "miss")),
        Err(error) => Err(error),
    };
    answered.unwrap_or_else(|error| {
        let status = error.status();
        if status.is_server_error() {
            tracing::warn!(mirror = %name, path = rest, %error, "mirror cannot serve a file");
        }
        refusal(status, &error.to_string())
    })
}

/// Says how the mirror's cache answered.
fn noted(mut response: Response<Body>, how: &'static str) -> Response<Body> {
    response.headers_mut().insert("x-firstlight-cache", axum::http::HeaderValue::from_static(how));
    response
}

fn refusal(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
}

/// The media type, by the end of the name.
fn media(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    match name.rsplit_once('.').map_or(name, |(_, end)| end) {
        "deb" => "application/vnd.debian.binary-package",
        "rpm" => "application/x-rpm",
        "gz" => "application/gzip",
        "xz" => "application/x-xz",
        "xml" => "text/xml",
        "asc" | "gpg" | "InRelease" | "Release" | "Packages" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
