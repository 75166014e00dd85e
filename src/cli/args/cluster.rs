//! `firstlight cluster …`

use clap::Subcommand;

use crate::cluster::RoleRule;
use crate::model::{ClusterName, RoleName};

/// `firstlight cluster`
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Make a cluster
    Init {
        /// Its name
        cluster: ClusterName,
        /// The node that forms it, as its first control member
        #[arg(long, value_name = "NODE")]
        seed: Option<String>,
        /// Who gets which role by itself, in this order: control=3, control=3:GROUP, worker, …
        #[arg(long = "rule", value_name = "ROLE[=COUNT][:GROUP]", value_parser = rule)]
        rules: Vec<RoleRule>,
    },
    /// List clusters
    List,
    /// Show the members of a cluster, and what they wait for
    Show {
        /// Its name
        cluster: ClusterName,
    },
    /// Show what the cluster's members offer, and where
    Services {
        /// Its name
        cluster: ClusterName,
    },
    /// Have nodes join
    Join {
        /// Its name
        cluster: ClusterName,
        /// Name, MAC, serial, IP or id prefix
        #[arg(required = true)]
        nodes: Vec<String>,
        /// Their role; by the cluster's rules unless given
        #[arg(long)]
        role: Option<RoleName>,
    },
    /// Give a member another role: it leaves the old one first
    Role {
        /// Its name
        cluster: ClusterName,
        /// Name, MAC, serial, IP or id prefix
        node: String,
        /// The role
        role: RoleName,
        /// Whatever stands against it
        #[arg(long)]
        force: bool,
    },
    /// Take a node out: its services leave the others first
    Leave {
        /// Its name
        cluster: ClusterName,
        /// Name, MAC, serial, IP or id prefix
        node: String,
        /// Whatever stands against it; a node that is dead is forgotten
        #[arg(long)]
        force: bool,
    },
    /// Forget a cluster that has no members
    Remove {
        /// Its name
        cluster: ClusterName,
    },
}

/// Reads `ROLE[=COUNT][:GROUP]`.
fn rule(text: &str) -> Result<RoleRule, String> {
    let (rest, group) = text.split_once(':').map_or((text, None), |(rest, group)| (rest, Some(group)));
    let (role, count) = rest.split_once('=').map_or((rest, None), |(role, count)| (role, Some(count)));
    let role: RoleName = role.parse().map_err(|error: crate::model::IdError| error.to_string())?;
    let count =
        count.map(str::parse::<u32>).transpose().map_err(|_| format!("'{text}': the count is no number"))?;
    Ok(RoleRule { role: role.to_string(), count, group: group.map(str::to_owned) })
}
