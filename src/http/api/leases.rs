//! `/leases`.

use std::net::Ipv4Addr;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Response;
use axum::routing::get;
use axum::{Json, Router};

use crate::appliance::AppError;
use crate::appliance::views::LeaseView;

use super::{Admin, Api, removed};

pub fn routes() -> Router<Api> {
    Router::new().route("/leases", get(list)).route("/leases/{ip}", get(show).delete(release))
}

fn address(text: &str) -> Result<Ipv4Addr, AppError> {
    text.parse().map_err(|_| AppError::Invalid(format!("'{text}' is not an IPv4 address")))
}

async fn list(State(api): State<Api>, _: Admin) -> Json<Vec<LeaseView>> {
    Json(api.appliance.leases())
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
