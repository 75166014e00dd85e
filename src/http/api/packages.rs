//! `/packages`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::appliance::{AppError, PackageView, PushPackages, PushedPackage};

use super::super::answer::json;
use super::{Admin, Api, removed};

pub fn routes() -> Router<Api> {
    Router::new().route("/packages", get(list).post(push)).route("/packages/remove", post(remove))
}

async fn list(State(api): State<Api>, _: Admin) -> Json<Vec<PackageView>> {
    Json(api.appliance.package_list())
}

async fn push(
    State(api): State<Api>,
    Admin(actor): Admin,
    body: Body,
) -> Result<(StatusCode, Json<Vec<PushedPackage>>), AppError> {
    let push: PushPackages = json(body).await?;
    let pushed = api.appliance.push_packages(push, actor).await?;
    let new = pushed.iter().any(|pushed| !pushed.unchanged);
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(pushed)))
}

async fn remove(State(api): State<Api>, Admin(actor): Admin, body: Body) -> Result<Response<Body>, AppError> {
    let package: PackageView = json(body).await?;
    api.appliance.remove_package(package, actor).await?;
    Ok(removed())
}
