//! `/clusters`.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::appliance::{AppError, ClusterView, InitCluster, JoinCluster, LeaveCluster, ServiceView};

use super::super::answer::json;
use super::{Admin, Api, removed};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/clusters", get(list).post(init))
        .route("/clusters/{cluster}", get(show).delete(remove))
        .route("/clusters/{cluster}/join", post(join))
        .route("/clusters/{cluster}/leave", post(leave))
        .route("/clusters/{cluster}/services", get(services))
}

async fn list(State(api): State<Api>, _: Admin) -> Json<Vec<ClusterView>> {
    Json(api.appliance.clusters())
}

async fn init(
    State(api): State<Api>,
    Admin(actor): Admin,
    body: Body,
) -> Result<(StatusCode, Json<ClusterView>), AppError> {
    let init: InitCluster = json(body).await?;
    Ok((StatusCode::CREATED, Json(api.appliance.init_cluster(init, actor).await?)))
}

async fn show(
    State(api): State<Api>,
    _: Admin,
    Path(cluster): Path<String>,
) -> Result<Json<ClusterView>, AppError> {
    Ok(Json(api.appliance.cluster(&cluster.parse()?)?))
}

async fn services(
    State(api): State<Api>,
    _: Admin,
    Path(cluster): Path<String>,
) -> Result<Json<Vec<ServiceView>>, AppError> {
    Ok(Json(api.appliance.cluster_services(&cluster.parse()?)?))
}

async fn join(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(cluster): Path<String>,
    body: Body,
) -> Result<Json<ClusterView>, AppError> {
    let joining: JoinCluster = json(body).await?;
    Ok(Json(api.appliance.join_cluster(cluster.parse()?, joining, actor).await?))
}

async fn leave(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(cluster): Path<String>,
    body: Body,
) -> Result<Json<ClusterView>, AppError> {
    let leaving: LeaveCluster = json(body).await?;
    Ok(Json(api.appliance.leave_cluster(cluster.parse()?, leaving, actor).await?))
}

async fn remove(
    State(api): State<Api>,
    Admin(actor): Admin,
    Path(cluster): Path<String>,
) -> Result<Response<Body>, AppError> {
    api.appliance.remove_cluster(cluster.parse()?, actor).await?;
    Ok(removed())
}
