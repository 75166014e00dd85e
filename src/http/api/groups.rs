//! `/groups`.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Deserialize;

use crate::appliance::AppError;
use crate::appliance::views::GroupView;
use crate::model::GroupName;

use super::super::answer::json;
use super::nodes::Pin;
use super::{Admin, Api, removed};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/groups", get(list).post(create))
        .route("/groups/{group}", get(show).delete(delete))
        .route("/groups/{group}/pin", put(pin).delete(unpin))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    name: GroupName,
}

async fn list(State(api): State<Api>, _: Admin) -> Json<Vec<GroupView>> {
    Json(api.appliance.groups())
}

async fn create(
    State(api): State<Api>,
    Admin(actor): Admin,
    body: Body,
) -> Result<(StatusCode, Json<GroupView>), AppError> {
    let new: NewGroup = json(body).await?;
    Ok((StatusCode::CREATED, Json(api.appliance.create_group(new.name, actor).await?)))
}

async fn show(
    State(api): State<Api>,
    _: Admin,
    Path(group): Path<String>,
) -> Result<Json<GroupView>, AppError> {
    Ok(Json(api.appliance.group(&group.parse()?)?))
}

async fn delete(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(group): Path<String>,
) -> Result<Response<Body>, AppError> {
    api.appliance.delete_group(group.parse()?, actor).await?;
    Ok(removed())
}

async fn pin(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(group): Path<String>,
    body: Body,
) -> Result<Json<GroupView>, AppError> {
    let pin: Pin = json(body).await?;
    Ok(Json(api.appliance.pin_group(group.parse()?, Some(pin.image), actor).await?))
}

async fn unpin(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(group): Path<String>,
) -> Result<Json<GroupView>, AppError> {
    Ok(Json(api.appliance.pin_group(group.parse()?, None, actor).await?))
}
