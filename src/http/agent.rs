//! What agents say and ask, over TLS: `/agent/v2`. Who comes with a certificate of the appliance's authority speaks for the
//! node that it was given to; who comes with none shows the token of its boot, or of an invitation.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};

use crate::appliance::{
    AppError, Appliance, Caller, CheckIn, Enrol, EnrolStep, Hello, HostEnrol, InstallReport, JobReport,
    Orders,
};
use crate::bundle::desired::Desired;
use crate::model::Sha256Digest;

use super::answer::json_of;
use super::listen::{Ends, ShownCertificate};
use super::plane::bearer;

/// Longest inventory, bytes: a large server has a few hundred PCI functions of a hundred bytes each.
const INVENTORY_BYTES: usize = 1 << 20;
/// Longest of everything else, bytes.
const BODY_BYTES: usize = 64 << 10;

type Shared = State<Arc<Appliance>>;

/// The router of the agents' listener.
pub fn router(appliance: Arc<Appliance>) -> Router {
    Router::new()
        .route("/agent/v2/hello", post(hello))
        .route("/agent/v2/enrol", post(enrol))
        .route("/agent/v2/enrol-host", post(enrol_host))
        .route("/agent/v2/renew", post(renew))
        .route("/agent/v2/check-in", post(check_in))
        .route("/agent/v2/installed", post(installed))
        .route("/agent/v2/wiped", post(wiped))
        .route("/agent/v2/desired", post(desired))
        .route("/agent/v2/job", post(job))
        .fallback(async || {
            AppError::NotFound("there is nothing here; is the agent newer than the appliance?".into())
        })
        .layer(tower_http::catch_panic::CatchPanicLayer::new())
        .with_state(appliance)
}

/// Who speaks: the certificate counts when there is one.
struct Speaker(Caller);

impl<S: Send + Sync> FromRequestParts<S> for Speaker {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AppError> {
        let missing = || AppError::Internal("agents are served over TLS only".into());
        let ip = parts.extensions.get::<Ends>().ok_or_else(missing)?.peer;
        Ok(Self(match parts.extensions.get::<ShownCertificate>().ok_or_else(missing)?.0 {
            Some(fingerprint) => Caller::Certificate { fingerprint, ip },
            None => Caller::Token { token: token(&parts.headers)?, ip },
        }))
    }
}

fn token(headers: &HeaderMap) -> Result<Sha256Digest, AppError> {
    Ok(Sha256Digest::of(bearer(headers)?.as_bytes()))
}

async fn hello(
    State(appliance): Shared,
    Speaker(caller): Speaker,
    body: Body,
) -> Result<StatusCode, AppError> {
    let hello: Hello = json_of(body, INVENTORY_BYTES).await?;
    appliance.hello(caller, hello).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn enrol(
    State(appliance): Shared,
    Extension(ends): Extension<Ends>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<EnrolStep>, AppError> {
    let token = token(&headers)?;
    let enrol: Enrol = json_of(body, BODY_BYTES).await?;
    Ok(Json(appliance.enrol(token, ends.peer, enrol).await?))
}

async fn enrol_host(
    State(appliance): Shared,
    Extension(ends): Extension<Ends>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<EnrolStep>, AppError> {
    let token = token(&headers)?;
    let host: HostEnrol = json_of(body, INVENTORY_BYTES).await?;
    Ok(Json(appliance.enrol_host(token, ends.peer, host).await?))
}

async fn renew(
    State(appliance): Shared,
    Speaker(caller): Speaker,
    body: Body,
) -> Result<Json<EnrolStep>, AppError> {
    let enrol: Enrol = json_of(body, BODY_BYTES).await?;
    Ok(Json(appliance.renew(caller, enrol).await?))
}

async fn check_in(
    State(appliance): Shared,
    Speaker(caller): Speaker,
    body: Body,
) -> Result<Json<Orders>, AppError> {
    let check_in: CheckIn = json_of(body, BODY_BYTES).await?;
    Ok(Json(appliance.check_in(caller, check_in).await?))
}

async fn installed(
    State(appliance): Shared,
    Speaker(caller): Speaker,
    body: Body,
) -> Result<StatusCode, AppError> {
    let report: InstallReport = json_of(body, BODY_BYTES).await?;
    appliance.installed(caller, report).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn wiped(
    State(appliance): Shared,
    Speaker(caller): Speaker,
    body: Body,
) -> Result<StatusCode, AppError> {
    let certificates: Vec<serde_json::Value> = json_of(body, BODY_BYTES).await?;
    appliance.wiped(caller, certificates).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The body of a question for a generation.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Generation {
    generation: String,
}

async fn desired(
    State(appliance): Shared,
    Speaker(caller): Speaker,
    body: Body,
) -> Result<Json<Desired>, AppError> {
    let asked: Generation = json_of(body, BODY_BYTES).await?;
    let rendered = appliance.aside(move |appliance| appliance.desired_of(caller, &asked.generation));
    Ok(Json(rendered.await?))
}

async fn job(
    State(appliance): Shared,
    Speaker(caller): Speaker,
    body: Body,
) -> Result<Json<serde_json::Value>, AppError> {
    let report: JobReport = json_of(body, INVENTORY_BYTES).await?;
    Ok(Json(serde_json::json!({ "job": appliance.job_report(caller, report).await? })))
}
