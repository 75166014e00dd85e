//! Does `firstlight package …`.

use std::path::PathBuf;

use hyper::Method;

use crate::appliance::{PUSHED_AT_ONCE, PackageView, PushPackages, PushedPackage};
use crate::packages::names::Name;

use super::super::args::Package;
use super::super::client::Client;
use super::super::show::{answer, bytes, columns};
use super::super::{CliError, import};
use super::Context;

pub async fn package(client: &Client, command: Package, context: Context) -> Result<(), CliError> {
    match command {
        Package::Push { files, suite, component } => push(client, files, &suite, &component, context).await,
        Package::List => {
            let packages: Vec<PackageView> = client.get("/packages").await?;
            answer(context.output, &packages, |packages| {
                let headers = ["NAME", "VERSION", "ARCH", "SUITE", "SIZE", "SHA-256"];
                let rows = packages.iter().map(|package| {
                    let digest = package.sha256.to_string();
                    [
                        package.name.clone(),
                        package.version.clone(),
                        package.architecture.clone(),
                        format!("{}/{}", package.suite, package.component),
                        bytes(package.size),
                        digest.get(..12).unwrap_or(&digest).to_owned(),
                    ]
                });
                columns(headers, rows)
            })
        }
        Package::Remove { name, version, suite } => {
            let mut packages: Vec<PackageView> = client.get("/packages").await?;
            packages.retain(|package| package.name == name && package.version == version);
            packages.retain(|package| suite.as_ref().is_none_or(|suite| *suite == package.suite));
            if packages.is_empty() {
                return Err(CliError::Local(format!(
                    "there is no package {name} {version}; `firstlight package list` shows what there is"
                )));
            }
            for package in packages {
                client.send_json(Method::POST, "/packages/remove", &package).await?;
                let place = format!("{}/{}", package.suite, package.component);
                context.done(&format!("removed {name} {version} {} from {place}", package.architecture))?;
            }
            Ok(())
        }
    }
}

/// Sends the files, then has them taken in at once, each kind by itself: the index of a suite is written anew with each
/// push.
async fn push(
    client: &Client,
    files: Vec<PathBuf>,
    suite: &Name,
    component: &Name,
    context: Context,
) -> Result<(), CliError> {
    let is_rpm = |path: &PathBuf| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("rpm"));
    let (rpms, debs): (Vec<PathBuf>, Vec<PathBuf>) = files.into_iter().partition(is_rpm);
    let many = rpms.len() + debs.len() > 1;
    let bar = import::counter(rpms.len() + debs.len(), "packages sent", context.quiet || !many);
    // On a terminal, one bar for all of them.
    let quiet = context.quiet || (many && !bar.is_hidden());
    for batch in debs.chunks(PUSHED_AT_ONCE).chain(rpms.chunks(PUSHED_AT_ONCE)) {
        let mut sha256 = Vec::new();
        for file in batch {
            sha256.push(import::send(client, file, "package", quiet).await?);
            bar.inc(1);
        }
        let push = PushPackages { sha256, suite: suite.clone(), component: component.clone() };
        let pushed: Vec<PushedPackage> = client.call(Method::POST, "/packages", &push).await?;
        bar.suspend(|| {
            for PushedPackage { package, unchanged } in &pushed {
                let PackageView { name, version, architecture, size, .. } = package;
                let how = if *unchanged { "is there already" } else { "pushed" };
                let size = bytes(*size);
                context
                    .done(&format!("{name} {version} {architecture} {how}, {suite}/{component}, {size}"))?;
            }
            Ok::<_, CliError>(())
        })?;
    }
    bar.finish_and_clear();
    Ok(())
}
