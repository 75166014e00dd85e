//! Which variables are secret: what any bundle that was pushed says. Their values are stored encrypted only, and shown to nobody.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::bundle::Manifest;
use crate::bundle::manifest::Kind;
use crate::bundle::secret::{MASK, is_closed};
use crate::model::{BundleRef, Scope, Variables, World};

use super::{AppError, Appliance};

/// Variables that are secret, each with a bundle that says so.
pub(super) type SecretNames = BTreeMap<String, BundleRef>;

/// The variables that a bundle declares secret.
pub(super) fn declared(manifest: &Manifest) -> impl Iterator<Item = &str> {
    let secret = manifest.variables.iter().filter(|(_, variable)| variable.kind == Kind::Secret);
    secret.map(|(name, _)| name.as_str())
}

/// Refuses a new value of a secret that the store would keep readable.
pub(super) fn refuse_plain(set: &Variables, secrets: &SecretNames) -> Result<(), AppError> {
    for (name, value) in set {
        let Some(bundle) = secrets.get(name).filter(|_| !is_closed(value)) else { continue };
        return Err(AppError::Invalid(format!(
            "'{name}' is a secret of bundle {bundle}, and this value is not encrypted; set it with: firstlight vars set --secret {name} < FILE"
        )));
    }
    Ok(())
}

/// Refuses a bundle while a variable that it declares secret is stored readable.
pub(super) fn refuse_stored(world: &World, manifest: &Manifest) -> Result<(), AppError> {
    for name in declared(manifest) {
        for (scope, values) in world.all_variables() {
            if values.get(name).is_none_or(is_closed) {
                continue;
            }
            let (whose, option) = match scope {
                Scope::Appliance => ("every node".to_owned(), String::new()),
                Scope::Group(group) => (format!("group {group}"), format!(" --group {group}")),
                Scope::Role(role) => (format!("role {role}"), format!(" --role {role}")),
                Scope::Node(id) => {
                    let node = world.node(*id).map_or_else(|| id.to_string(), |node| node.name.to_string());
                    (format!("node {node}"), format!(" --node {node}"))
                }
            };
            return Err(AppError::Refused(format!(
                "variable '{name}' is secret in {}, and stored for {whose} so that everybody can read it; set it anew with: firstlight vars set --secret {name}{option} < FILE",
                manifest.reference()
            )));
        }
    }
    Ok(())
}

/// Puts a mask in the place of what must not be shown.
pub(super) fn hide(values: &mut Variables, secrets: &SecretNames) {
    for (name, value) in values.iter_mut() {
        if secrets.contains_key(name) && !is_closed(value) {
            *value = Value::from(MASK);
        }
    }
}

impl Appliance {
    /// The variables that bundles declare secret. A bundle whose archive is damaged says nothing.
    pub(super) fn secret_names(&self, world: &World) -> SecretNames {
        let mut names = SecretNames::new();
        for record in world.bundles() {
            match self.load(&record.bundle) {
                Ok(bundle) => {
                    let secrets = declared(&bundle.manifest);
                    names.extend(secrets.map(|name| (name.to_owned(), record.bundle.clone())));
                }
                Err(error) => tracing::warn!(bundle = %record.bundle, %error, "its secrets are not known"),
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::secret::{SecretKey, close};

    #[test]
    fn only_what_is_encrypted_or_empty_is_taken_for_a_secret() {
        let secrets = SecretNames::from([("key".into(), "serf@1".parse().expect("a reference"))]);
        let closed = close(&SecretKey::generate().recipient(), "hush").expect("it closes");
        for (name, value, taken) in [
            ("encrypted", json!({ "key": closed }), true),
            ("empty", json!({ "key": "" }), true),
            ("of another name", json!({ "other": "hush" }), true),
            ("readable", json!({ "key": "hush" }), false),
            ("a number", json!({ "key": 1234 }), false),
            ("a list", json!({ "key": [closed] }), false),
            ("too long for a secret", json!({ "key": closed.clone() + &"x".repeat(100 << 10) }), false),
        ] {
            let mut set = value.as_object().cloned().unwrap_or_default();
            let refused = refuse_plain(&set, &secrets);
            assert_eq!(refused.is_ok(), taken, "{name}: {refused:?}");
            hide(&mut set, &secrets);
            assert_eq!(set.get("key") == Some(&json!(MASK)), !taken, "{name}: {set:?}");
        }
    }
}
