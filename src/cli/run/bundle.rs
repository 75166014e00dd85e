//! Does `firstlight bundle …` and `firstlight node bundles`.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde_json::json;

use crate::appliance::views::{GroupView, NodeView};
use crate::appliance::{BundleShown, BundleView, NodeBundles, PinBundles, PushBundle, PushedBundle};
use crate::bundle::desired::{Desired, DesiredBundle};
use crate::bundle::{self, check, needs};

use super::super::CliError;
use super::super::args::{Bundle, PinTo};
use super::super::client::{Client, segment};
use super::super::show::{ago, answer, block, bytes, clean, columns, or_dash};
use super::Context;
use super::order::each;

pub async fn bundle(
    client: impl Fn() -> Result<Client, super::super::client::ClientError>,
    command: Bundle,
    context: Context,
) -> Result<(), CliError> {
    match command {
        Bundle::Check { folders } => {
            let bundles: Vec<Arc<bundle::Bundle>> =
                folders.iter().map(|folder| read(folder).map(Arc::new)).collect::<Result<_, _>>()?;
            let find = |name: &str| bundles.iter().find(|one| one.manifest.name == name).map(Arc::clone);
            for (bundle, folder) in bundles.iter().zip(&folders) {
                needs::check(bundle, find)
                    .map_err(|error| CliError::Local(format!("{}:\n{error}", folder.display())))?;
                context.done(&format!("{} is well: {} files", bundle.reference(), bundle.sources.len()))?;
            }
            Ok(())
        }
        Bundle::Push { folders } => {
            // A mistake in the last one is told before the first is sent.
            let bundles: Vec<bundle::Bundle> =
                folders.iter().map(|folder| read(folder)).collect::<Result<_, _>>()?;
            let client = client()?;
            for bundle in bundles {
                let packed = bundle.pack().map_err(|error| CliError::Local(error.to_string()))?;
                let push = PushBundle { archive: STANDARD.encode(packed) };
                let pushed: PushedBundle = client.call(Method::POST, "/bundles", &push).await?;
                let how = if pushed.unchanged { "is there already" } else { "pushed" };
                let rendered = if pushed.rendered > 0 {
                    format!(", rendered for {} nodes", pushed.rendered)
                } else {
                    String::new()
                };
                let size = bytes(pushed.bundle.bundle.archive.size);
                context.done(&format!("{} {how}, {size}{rendered}", bundle.reference()))?;
            }
            Ok(())
        }
        Bundle::List => {
            let bundles: Vec<BundleView> = client()?.get("/bundles").await?;
            answer(context.output, &bundles, |bundles| {
                let rows = bundles.iter().map(|view| {
                    [
                        view.bundle.bundle.to_string(),
                        view.pinned_groups.len().to_string(),
                        view.pinned_nodes.len().to_string(),
                        format!("{} ago", ago(view.bundle.pushed)),
                        view.bundle.description.clone(),
                    ]
                });
                columns(["BUNDLE", "GROUPS", "NODES", "PUSHED", "DESCRIPTION"], rows)
            })
        }
        Bundle::Show { bundle } => {
            let shown: BundleShown = client()?.get(&format!("/bundles/{}", segment(bundle))).await?;
            answer(context.output, &shown, show)
        }
        Bundle::Diff { from, to } => {
            let path = format!("/bundles/diff?from={}&to={}", segment(from), segment(to));
            let text: String = client()?.get(&path).await?;
            answer(context.output, &text, |text| lines(text))
        }
        Bundle::Render { node } => {
            let desired: Desired =
                client()?.get(&format!("/nodes/{}/bundles/rendered", segment(node))).await?;
            answer(context.output, &desired, |desired| desired.bundles.iter().map(rendered).collect())
        }
        Bundle::Pin { bundles, to } => {
            let names: Vec<String> = bundles.iter().map(ToString::to_string).collect();
            let pins = PinBundles { add: bundles, remove: Vec::new() };
            pin(&client()?, &to, &pins, &format!("pinned to {}", names.join(", ")), context).await
        }
        Bundle::Unpin { bundles, to } => {
            let names: Vec<String> = bundles.iter().map(ToString::to_string).collect();
            let pins = PinBundles { add: Vec::new(), remove: bundles };
            pin(&client()?, &to, &pins, &format!("unpinned from {}", names.join(", ")), context).await
        }
        Bundle::Retry { nodes } => {
            let client = client()?;
            each(&nodes, async |node| {
                let path = format!("/nodes/{}/bundles/retry", segment(node));
                let view: NodeView = client.call(Method::POST, &path, &json!({})).await?;
                context.done(&format!("{} may try again", view.node.name))
            })
            .await
        }
        Bundle::Remove { bundle } => {
            client()?.order(Method::DELETE, &format!("/bundles/{}", segment(&bundle))).await?;
            context.done(&format!("removed {bundle}"))
        }
    }
}

fn read(folder: &std::path::Path) -> Result<bundle::Bundle, CliError> {
    let bundle = bundle::Bundle::read(folder)
        .map_err(|error| CliError::Local(format!("{}:\n{error}", folder.display())))?;
    for path in check::unused(&bundle.manifest, &bundle.sources) {
        // A warning only: nobody has to read it.
        eprintln!("{}: {path} is named nowhere in bundle.toml", folder.display());
    }
    Ok(bundle)
}

async fn pin(
    client: &Client,
    to: &PinTo,
    pins: &PinBundles,
    what: &str,
    context: Context,
) -> Result<(), CliError> {
    for group in &to.group {
        let path = format!("/groups/{}/bundles", segment(group));
        let view: GroupView = client.call(Method::POST, &path, pins).await?;
        context.done(&format!("group {group} ({} nodes) {what}", view.nodes.len()))?;
    }
    each(&to.node, async |node| {
        let path = format!("/nodes/{}/bundles", segment(node));
        let view: NodeView = client.call(Method::POST, &path, pins).await?;
        context.done(&format!("{} {what}", view.node.name))
    })
    .await
}

/// `node bundles`
pub async fn of_node(client: &Client, node: &str, context: Context) -> Result<(), CliError> {
    let found: NodeBundles = client.get(&format!("/nodes/{}/bundles", segment(node))).await?;
    answer(context.output, &found, |found| {
        let names: Vec<String> = found.desired.iter().map(ToString::to_string).collect();
        let applied = found.observed.clone().unwrap_or_default();
        let short = |digest: &str| digest.get(..12).unwrap_or(digest).to_owned();
        let last = applied.last.as_ref().map(|last| {
            let why = if last.reason.is_empty() { String::new() } else { format!(": {}", last.reason) };
            format!("{:?} in {} ms{why}", last.result, last.elapsed_ms)
        });
        let mut rows = vec![
            ("node", found.node.to_string()),
            ("desired", names.join(", ")),
            ("observed", applied.bundles.join(", ")),
            ("generation", format!("{} (number {})", short(&applied.generation), applied.number)),
            ("standing", [found.standing.as_str(), found.reason.as_str()].join(" ").trim().to_owned()),
            ("last", or_dash(last)),
        ];
        if !applied.drift.is_empty() {
            rows.push(("changed by hand", applied.drift.join(", ")));
        }
        if !applied.unhealthy.is_empty() {
            rows.push(("unhealthy", applied.unhealthy.join(", ")));
        }
        for unknown in &found.unknown {
            rows.push(("unknown variable", unknown.clone()));
        }
        block(&rows)
    })
}

fn lines(text: &str) -> String {
    text.lines().fold(String::new(), |all, line| all + &clean(line) + "\n")
}

fn show(shown: &BundleShown) -> String {
    let view = &shown.view;
    let head = block(&[
        ("bundle", view.bundle.bundle.to_string()),
        ("description", view.bundle.description.clone()),
        ("needs", shown.needs.join(", ")),
        ("pushed", view.bundle.pushed.to_string()),
        ("size", bytes(view.bundle.archive.size)),
        ("groups", view.pinned_groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        ("nodes", view.pinned_nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    ]);
    let rows = shown.variables.iter().map(|(name, variable)| {
        let default = variable.default.as_ref().map(ToString::to_string);
        [name.clone(), variable.kind.clone(), or_dash(default), variable.description.clone()]
    });
    let files = shown.sources.iter().map(|(path, size)| [path.clone(), size.to_string()]);
    let variables = columns(["VARIABLE", "TYPE", "DEFAULT", "FOR"], rows);
    format!("{head}\n{variables}\n{}", columns(["FILE", "BYTES"], files))
}

fn rendered(bundle: &DesiredBundle) -> String {
    // Writing into a string cannot fail.
    let mut text = format!("==> {} <==\n", bundle.bundle);
    for package in &bundle.packages {
        let version = package.version.as_deref().unwrap_or("");
        let name = package.apt.as_deref().or(package.dnf.as_deref()).unwrap_or("?");
        let _ = writeln!(text, "package {name} {version}");
    }
    for unit in &bundle.units {
        let (enabled, running) = (unit.enabled, unit.running);
        let _ = writeln!(text, "unit {} enabled={enabled} running={running}", unit.name);
    }
    for file in &bundle.files {
        let _ = writeln!(text, "--- {} {} {}:{}", file.path, file.mode, file.owner, file.group);
        let content = STANDARD.decode(&file.content).unwrap_or_default();
        match String::from_utf8(content) {
            Ok(content) => text += &lines(&content),
            Err(error) => drop(writeln!(text, "({} bytes, binary)", error.as_bytes().len())),
        }
    }
    text
}
