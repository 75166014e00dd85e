//! Does `firstlight package …`.

use hyper::Method;

use crate::appliance::{PackageView, PushPackage, PushedPackage};

use super::super::args::Package;
use super::super::client::Client;
use super::super::show::{answer, bytes, columns};
use super::super::{CliError, import};
use super::Context;

pub async fn package(client: &Client, command: Package, context: Context) -> Result<(), CliError> {
    match command {
        Package::Push { files, suite, component } => {
            for file in files {
                let sha256 = import::send(client, &file, "package", context.quiet).await?;
                let push = PushPackage { sha256, suite: suite.clone(), component: component.clone() };
                let pushed: PushedPackage = client.call(Method::POST, "/packages", &push).await?;
                let PackageView { name, version, architecture, size, .. } = &pushed.package;
                let how = if pushed.unchanged { "is there already" } else { "pushed" };
                let size = bytes(*size);
                context
                    .done(&format!("{name} {version} {architecture} {how}, {suite}/{component}, {size}"))?;
            }
            Ok(())
        }
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
