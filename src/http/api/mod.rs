//! The admin API, `/api/v1`, on the Unix socket: each route is one verb of the appliance, each answer one of its views.
//!
//! Nodes are named as people name them (name, MAC, serial, IP or id prefix), percent-encoded. Errors are
//! `{"error": {"kind", "message"}}` with the status that fits.

mod blobs;
mod bundles;
mod clusters;
mod events;
mod groups;
mod images;
mod jobs;
mod leases;
mod networks;
mod nodes;
mod packages;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, http::StatusCode};

use crate::appliance::views::StatusView;
use crate::appliance::{Actor, AppError, Appliance};
use crate::model::Timestamp;

pub use super::answer::{ErrorBody, ErrorDetail};

/// What the handlers work with.
#[derive(Clone)]
struct Api {
    appliance: Arc<Appliance>,
    started: Timestamp,
}

/// The router of the Unix socket.
pub fn router(appliance: Arc<Appliance>, started: Timestamp) -> Router {
    let v1 = Router::new()
        .route("/status", get(status))
        .merge(networks::routes())
        .merge(nodes::routes())
        .merge(groups::routes())
        .merge(images::routes())
        .merge(blobs::routes())
        .merge(packages::routes())
        .merge(bundles::routes())
        .merge(clusters::routes())
        .merge(jobs::routes())
        .merge(leases::routes())
        .merge(events::routes());
    Router::new()
        .nest("/api/v1", v1)
        .fallback(nothing)
        .layer(from_fn(log))
        .layer(tower_http::catch_panic::CatchPanicLayer::new())
        .with_state(Api { appliance, started })
}

async fn nothing() -> AppError {
    AppError::NotFound("there is no such resource; is the client newer than the appliance?".into())
}

/// One line a request that changes something.
async fn log(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let actor = request.extensions().get::<Result<Actor, String>>().cloned();
    let started = std::time::Instant::now();
    let response = next.run(request).await;
    let elapsed_ms = started.elapsed().as_millis();
    let (status, actor) = (response.status().as_u16(), actor.and_then(Result::ok).map(|actor| actor.0));
    if method.is_safe() {
        tracing::debug!(%method, path, status, elapsed_ms, ?actor, "API");
    } else {
        tracing::info!(%method, path, status, elapsed_ms, ?actor, "API");
    }
    response
}

/// The administrator of a request; who is none is refused.
struct Admin(Actor);

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AppError> {
        match parts.extensions.get::<Result<Actor, String>>() {
            Some(Ok(actor)) => Ok(Self(actor.clone())),
            Some(Err(why)) => Err(AppError::Forbidden(why.clone())),
            None => Err(AppError::Forbidden("the API is served on the Unix socket only".into())),
        }
    }
}

async fn status(State(api): State<Api>, _: Admin) -> Json<StatusView> {
    Json(StatusView {
        version: env!("CARGO_PKG_VERSION").into(),
        started: api.started,
        networks: api.appliance.config.networks.iter().map(|network| network.subnet.to_string()).collect(),
        nodes: api.appliance.view().node_count(),
        authority: api.appliance.authority.fingerprint(),
        ramdisk: api.appliance.ramdisk().as_ref().clone(),
    })
}

/// An empty answer to something that was removed.
fn removed() -> Response<Body> {
    StatusCode::NO_CONTENT.into_response()
}
