//! `/leases`.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Response;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::super::answer::json;
use crate::appliance::AppError;
use crate::appliance::leases::{ImportLeases, ImportReport};
use crate::appliance::views::LeaseView;

use super::{Admin, Api, removed};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/leases", get(list))
        .route("/leases/import", post(import))
        .route("/leases/{ip}", get(show).delete(release))
}

fn address(text: &str) -> Result<IpAddr, AppError> {
    text.parse().map_err(|_| AppError::Invalid(format!("'{text}' is not an IP address")))
}

async fn list(State(api): State<Api>, _: Admin) -> Json<Vec<LeaseView>> {
    Json(api.appliance.leases())
}

async fn import(
    State(api): State<Api>,
    Admin(actor): Admin,
    body: Body,
) -> Result<Json<ImportReport>, AppError> {
    let import: ImportLeases = json(body).await?;
    Ok(Json(api.appliance.import_leases(import, actor).await?))
}

async fn show(State(api): State<Api>, _: Admin, Path(ip): Path<String>) -> Result<Json<LeaseView>, AppError> {
    Ok(Json(api.appliance.lease(address(&ip)?)?))
}

async fn release(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(ip): Path<String>,
) -> Result<Response<Body>, AppError> {
    api.appliance.release_lease(address(&ip)?, actor).await?;
    Ok(removed())
}
