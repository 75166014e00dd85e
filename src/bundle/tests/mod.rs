//! Bundles as their authors write them, well and badly: [`manifests`], [`variables`] and secrets, [`rendering`], and whatever else is
//! given ([`hostile`]).

mod hostile;
mod manifests;
mod rendering;
mod variables;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::facts::ClusterFacts;
use super::render::Secrets;
use super::*;

fn sources(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

const HEAD: &str = "name = \"a\"\nversion = \"1\"\n";

/// Version 1 of the bundle of this name, with the rest of its manifest.
fn bundle(name: &str, rest: &str, files: &[(&str, &str)]) -> Arc<Bundle> {
    let text = format!("name = \"{name}\"\nversion = \"1\"\n{rest}");
    Arc::new(Bundle::new(text, sources(files)).unwrap_or_else(|error| panic!("{error}")))
}

fn about() -> About {
    let mut about = About { role: Some("control".into()), ..About::default() };
    about.node.name = "n1".into();
    about.cluster = Some(ClusterFacts { name: "prod".into(), ..ClusterFacts::default() });
    about
}

/// What a node gets of these, secrets masked; or why it gets nothing, a line each.
fn rendered(bundles: &[Arc<Bundle>], values: &Merged) -> Result<Rendered, String> {
    render(bundles, values, &about(), Secrets::Masked).map_err(|errors| {
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        told.join("\n")
    })
}
