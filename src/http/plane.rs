//! What booting machines fetch, on the management network: scripts, boot files, images; and their reports.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};

use crate::appliance::{AppError, Appliance, Next, Report};
use crate::boot::script::trouble;
use crate::model::{Arch, Artifact, Build, EventKind, ImageName, ImageRef, MacAddr};
use crate::tftp::BootFiles;

use super::answer::json_of;
use super::artifact::{self, Sent};
use super::listen::Ends;

/// Longest report, bytes.
const REPORT_BYTES: usize = 16 << 10;

/// What the handlers work with.
#[derive(Clone)]
struct Plane {
    appliance: Arc<Appliance>,
    files: Arc<BootFiles>,
}

/// The router of the management networks.
pub fn router(appliance: Arc<Appliance>, files: Arc<BootFiles>) -> Router {
    Router::new()
        .route("/boot/{mac}/script.ipxe", get(script))
        .route("/boot/files/{name}", get(boot_file))
        .route("/images/{name}/{version}/{arch}/{file}", get(image))
        .route("/agent/v1/report", post(report))
        .route("/agent/v1/next", get(next))
        .route("/healthz", get(async || "ok\n"))
        .fallback(nothing)
        .layer(tower_http::catch_panic::CatchPanicLayer::new())
        .with_state(Plane { appliance, files })
}

async fn nothing() -> AppError {
    AppError::NotFound("there is nothing here".into())
}

/// The script of the node at `mac`. What goes wrong is told to the person in front of the machine.
async fn script(
    State(plane): State<Plane>,
    Extension(ends): Extension<Ends>,
    Path(mac): Path<String>,
) -> Response<Body> {
    let base_url = format!("http://{}", ends.local);
    let Ok(mac) = mac.parse::<MacAddr>() else {
        return AppError::NotFound("that is no MAC address".into()).into_response();
    };
    let url = format!("{base_url}/boot/{}/script.ipxe", mac.hyphenated());
    let text = match plane.appliance.boot_script(mac, ends.peer, base_url).await {
        Ok(script) => script,
        Err(error) => {
            tracing::warn!(%mac, peer = %ends.peer, %error, "no boot script");
            trouble(&error.to_string(), &url)
        }
    };
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// A firmware's boot file, for UEFI HTTP boot.
async fn boot_file(
    State(plane): State<Plane>,
    Extension(ends): Extension<Ends>,
    Path(name): Path<String>,
    method: Method,
) -> Result<Response<Body>, AppError> {
    let Some(bytes) = plane.files.get(&name) else {
        return Err(AppError::NotFound("there is no such boot file".into()));
    };
    // UEFI asks for its length first.
    if method != Method::HEAD {
        // Small, and from memory: it is as good as sent.
        let sent = Sent { bytes: bytes.len() as u64, elapsed_ms: 0, complete: true };
        note(&plane.appliance, ends, name, sent);
    }
    Ok(([(CONTENT_TYPE, "application/efi")], bytes).into_response())
}

/// A kernel or a ramdisk of an image.
async fn image(
    State(plane): State<Plane>,
    Extension(ends): Extension<Ends>,
    Path((name, version, arch, file)): Path<(String, String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response<Body>, AppError> {
    let name: ImageName = name.parse()?;
    let image = ImageRef::new(name, &version)?;
    let arch: Arch = arch.parse()?;
    let artifact = find(&plane.appliance, &image, arch, &file)
        .ok_or_else(|| AppError::NotFound(format!("image {image} for {arch} has no such file")))?;
    let path = plane.appliance.blobs.path(artifact.sha256);
    let (appliance, asked) = (Arc::clone(&plane.appliance), format!("{image} {file}"));
    artifact::send(&path, artifact.sha256, &method, &headers, move |sent| note(&appliance, ends, asked, sent))
        .await
}

/// The artifact that a URL calls `kernel`, `initrd0`, `initrd1` …, `disk.index` or `disk.data`.
fn find(appliance: &Appliance, image: &ImageRef, arch: Arch, file: &str) -> Option<Artifact> {
    let world = appliance.view();
    match (world.image(image)?.builds.get(&arch)?, file) {
        (Build::Netboot(netboot), "kernel") => Some(netboot.kernel.clone()),
        (Build::Netboot(netboot), _) => {
            netboot.initrd.get(file.strip_prefix("initrd")?.parse::<usize>().ok()?).cloned()
        }
        (Build::Disk(disk), "disk.index") => Some(disk.index.clone()),
        (Build::Disk(disk), "disk.data") => Some(disk.data.clone()),
        (Build::Disk(_), _) => None,
    }
}

/// What a node says of itself.
async fn report(
    State(plane): State<Plane>,
    Extension(ends): Extension<Ends>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, AppError> {
    let token = bearer(&headers)?.to_owned();
    let report: Report = json_of(body, REPORT_BYTES).await?;
    plane.appliance.report(ends.peer, &token, report).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a node in discovery does next.
async fn next(
    State(plane): State<Plane>,
    Extension(ends): Extension<Ends>,
    headers: HeaderMap,
) -> Result<&'static str, AppError> {
    Ok(match plane.appliance.next(ends.peer, bearer(&headers)?)? {
        Next::Wait => "wait\n",
        Next::Reboot => "reboot\n",
    })
}

/// RFC 6750 section 2.1.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, AppError> {
    headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| AppError::Forbidden("this needs the header 'Authorization: Bearer TOKEN'".into()))
}

/// Puts a transfer on the node's timeline, without keeping the connection waiting.
fn note(appliance: &Arc<Appliance>, ends: Ends, file: String, sent: Sent) {
    let Sent { bytes, elapsed_ms, complete } = sent;
    tracing::info!(peer = %ends.peer, file, bytes, elapsed_ms, complete, "HTTP transfer");
    // Whoever asked for nothing of it, or for a part too small to boot from, is not told of.
    if bytes == 0 {
        return;
    }
    let appliance = Arc::clone(appliance);
    tokio::spawn(async move {
        let kind = EventKind::Sent { protocol: "http".into(), file, bytes, elapsed_ms, complete };
        if let Err(error) = appliance.note_transfer(ends.peer, kind).await {
            tracing::warn!(peer = %ends.peer, %error, "the transfer is not on the timeline");
        }
    });
}
