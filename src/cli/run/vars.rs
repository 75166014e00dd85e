//! Does `firstlight vars …` and `firstlight node vars`.

use std::io::Read;

use hyper::Method;

use crate::appliance::{SetVariables, Target, VariableView};
use crate::bundle::secret;
use crate::model::Variables;

use super::super::CliError;
use super::super::args::{VarScope, Vars};
use super::super::client::{Client, segment};
use super::super::show::{answer, columns};
use super::Context;

/// `node vars`
pub async fn of_node(client: &Client, node: &str, context: Context) -> Result<(), CliError> {
    let found: Vec<VariableView> = client.get(&format!("/nodes/{}/variables", segment(node))).await?;
    answer(context.output, &found, |found| {
        let rows = found.iter().map(|one| [one.name.clone(), one.value.to_string(), one.origin.clone()]);
        columns(["VARIABLE", "VALUE", "FROM"], rows)
    })
}

pub async fn vars(client: &Client, command: Vars, context: Context) -> Result<(), CliError> {
    match command {
        Vars::List => {
            let all: Vec<(String, Variables)> = client.get("/variables").await?;
            answer(context.output, &all, |all| {
                let rows = all.iter().flat_map(|(scope, values)| {
                    values.iter().map(move |(name, value)| {
                        let closed = value.as_str().is_some_and(|text| text.starts_with(secret::ARMOR));
                        let value = if closed { secret::MASK.to_owned() } else { value.to_string() };
                        [scope.clone(), name.clone(), value]
                    })
                });
                columns(["FOR", "VARIABLE", "VALUE"], rows)
            })
        }
        Vars::Set { values, secret, scope } => {
            let mut set = Variables::new();
            for text in &values {
                let (name, value) = text
                    .split_once('=')
                    .ok_or_else(|| CliError::Local(format!("'{text}' is not NAME=VALUE")))?;
                let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
                set.insert(name.to_owned(), value);
            }
            if let Some(name) = secret {
                let mut text = String::new();
                // One byte more than may be, and the line break: too long a secret is refused, not cut.
                std::io::stdin()
                    .take(secret::LONGEST as u64 + 2)
                    .read_to_string(&mut text)
                    .map_err(|error| CliError::Local(format!("cannot read the secret: {error}")))?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                if text.len() > secret::LONGEST {
                    return Err(CliError::Local(format!("secret '{name}': {}", secret::SecretError::Long)));
                }
                let recipient: String = client.get("/secrets").await?;
                let closed =
                    secret::close(&recipient, text).map_err(|error| CliError::Local(error.to_string()))?;
                set.insert(name, closed.into());
            }
            let names: Vec<String> = set.keys().cloned().collect();
            change(client, scope, set, Vec::new()).await?;
            context.done(&format!("set {}", names.join(", ")))
        }
        Vars::Unset { names, scope } => {
            let shown = names.join(", ");
            change(client, scope, Variables::new(), names).await?;
            context.done(&format!("unset {shown}"))
        }
    }
}

async fn change(
    client: &Client,
    scope: VarScope,
    set: Variables,
    unset: Vec<String>,
) -> Result<(), CliError> {
    let target = match scope {
        VarScope { group: Some(group), .. } => Target::Group(group),
        VarScope { role: Some(role), .. } => Target::Role(role),
        VarScope { node: Some(node), .. } => Target::Node(node),
        _ => Target::Appliance,
    };
    let _: Variables = client.call(Method::POST, "/variables", &SetVariables { target, set, unset }).await?;
    Ok(())
}
