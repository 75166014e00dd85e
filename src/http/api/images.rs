//! `/images`.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::appliance::views::{GcView, ImageView, VerifyView};
use crate::appliance::{AppError, ImportedBuild, ManifestBuild};

use super::super::answer::json;
use super::{Admin, Api, removed};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/images", get(list).post(import))
        .route("/images/gc", post(collect_garbage))
        .route("/images/{image}", get(show).delete(remove))
        .route("/images/{image}/verify", post(verify))
}

async fn list(State(api): State<Api>, _: Admin) -> Json<Vec<ImageView>> {
    Json(api.appliance.images())
}

async fn import(
    State(api): State<Api>,
    Admin(actor): Admin,
    body: Body,
) -> Result<(StatusCode, Json<ImportedBuild>), AppError> {
    let build: ManifestBuild = json(body).await?;
    let imported = api.appliance.import_image(build, actor).await?;
    let status = if imported.unchanged { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(imported)))
}

async fn show(
    State(api): State<Api>,
    _: Admin,
    Path(image): Path<String>,
) -> Result<Json<ImageView>, AppError> {
    Ok(Json(api.appliance.image(&image.parse()?)?))
}

async fn remove(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(image): Path<String>,
) -> Result<Response<Body>, AppError> {
    api.appliance.remove_image(image.parse()?, actor).await?;
    Ok(removed())
}

async fn verify(
    State(api): State<Api>,
    _: Admin,
    Path(image): Path<String>,
) -> Result<Json<VerifyView>, AppError> {
    Ok(Json(api.appliance.verify_image(&image.parse()?).await?))
}

async fn collect_garbage(State(api): State<Api>, _: Admin) -> Result<Json<GcView>, AppError> {
    Ok(Json(api.appliance.collect_garbage().await?))
}
