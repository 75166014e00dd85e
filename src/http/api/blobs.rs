//! `/blobs`: artifacts on their way in.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{head, put};
use futures_util::StreamExt;

use crate::appliance::AppError;
use crate::model::Sha256Digest;
use crate::store::blobs::BlobError;

use super::{Admin, Api};

/// Longest artifact, bytes.
const LONGEST: u64 = 64 << 30;

/// How long the rest of a refused upload is read, and thrown away.
const REFUSAL: Duration = Duration::from_secs(10);

pub fn routes() -> Router<Api> {
    Router::new().route("/blobs/{digest}", head(size)).route("/blobs/{digest}", put(upload))
}

async fn size(
    State(api): State<Api>,
    _: Admin,
    Path(digest): Path<String>,
) -> Result<Response<Body>, AppError> {
    let size = api.appliance.blobs.size(digest.parse()?).await?;
    Ok([(CONTENT_LENGTH, size.to_string())].into_response())
}

/// Takes in the artifact of this digest. Broken off, it leaves nothing.
async fn upload(
    State(api): State<Api>,
    _: Admin,
    Path(digest): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, AppError> {
    let digest: Sha256Digest = digest.parse()?;
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let length =
        length.ok_or_else(|| AppError::Invalid("an artifact needs the header Content-Length".into()))?;
    if length > LONGEST {
        return Err(AppError::Invalid(format!("an artifact has {LONGEST} bytes at most, not {length}")));
    }
    match api.appliance.blobs.size(digest).await {
        Ok(_) => return Ok(StatusCode::OK),
        Err(BlobError::Missing(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let mut chunks = body.into_data_stream();
    let taken = take(&api, digest, length, &mut chunks).await;
    if taken.is_err() {
        // A client that is still sending would find the connection closed before it reads why.
        let rest = async { while chunks.next().await.is_some_and(|chunk| chunk.is_ok()) {} };
        let _ = tokio::time::timeout(REFUSAL, rest).await;
    }
    taken.map(|()| StatusCode::CREATED)
}

async fn take(
    api: &Api,
    digest: Sha256Digest,
    length: u64,
    chunks: &mut BodyDataStream,
) -> Result<(), AppError> {
    let mut upload = api.appliance.blobs.create(length)?;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| AppError::Invalid(format!("the upload broke off: {error}")))?;
        upload.write(&chunk).await?;
    }
    upload.finish(digest).await?;
    Ok(())
}
