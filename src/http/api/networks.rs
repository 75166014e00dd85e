//! `/networks` and `/doctor`.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};

use crate::appliance::AppError;
use crate::appliance::networks::{Finding, NetworkView};

use super::{Admin, Api};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/networks", get(list))
        .route("/networks/{name}", get(show))
        .route("/doctor", get(findings))
}

async fn list(State(api): State<Api>, _: Admin) -> Json<Vec<NetworkView>> {
    Json(api.appliance.networks())
}

async fn show(
    State(api): State<Api>,
    _: Admin,
    Path(name): Path<String>,
) -> Result<Json<NetworkView>, AppError> {
    Ok(Json(api.appliance.network(&name)?))
}

async fn findings(State(api): State<Api>, _: Admin) -> Json<Vec<Finding>> {
    Json(api.appliance.findings())
}
