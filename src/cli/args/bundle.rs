//! `firstlight bundle …`, `firstlight vars …` and `firstlight job …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::model::{BundleName, BundleRef, GroupName, RoleName};

/// `firstlight bundle`
#[derive(Debug, Subcommand)]
pub enum Bundle {
    /// Check bundles and store them; nothing is stored unless all is well
    Push {
        /// Folders with a bundle.toml
        #[arg(required = true, value_name = "DIR")]
        folders: Vec<PathBuf>,
    },
    /// Check bundles as `push` does, without an appliance
    Check {
        /// Folders with a bundle.toml
        #[arg(required = true, value_name = "DIR")]
        folders: Vec<PathBuf>,
    },
    /// List bundles
    List,
    /// Show one bundle
    Show {
        /// name@version
        bundle: BundleRef,
    },
    /// Show what differs between two versions
    Diff {
        /// name@version
        from: BundleRef,
        /// name@version
        to: BundleRef,
    },
    /// Show exactly what a node would get; secrets are masked
    Render {
        /// Name, MAC, serial, IP or id prefix
        node: String,
    },
    /// Have the nodes of a group, or nodes, have bundles
    Pin {
        /// name@version
        #[arg(required = true)]
        bundles: Vec<BundleRef>,
        /// To whom
        #[command(flatten)]
        to: PinTo,
    },
    /// Take bundles away from nodes; what they brought is removed there
    Unpin {
        /// Names, without version
        #[arg(required = true)]
        bundles: Vec<BundleName>,
        /// From whom
        #[command(flatten)]
        to: PinTo,
    },
    /// Let nodes try again what failed before
    Retry {
        /// Name, MAC, serial, IP or id prefix
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Remove a bundle that nobody is pinned to
    Remove {
        /// name@version
        bundle: BundleRef,
    },
}

/// Who is pinned.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct PinTo {
    /// The nodes of this group
    #[arg(long)]
    pub group: Vec<GroupName>,
    /// This node: name, MAC, serial, IP or id prefix
    #[arg(long)]
    pub node: Vec<String>,
}

/// `firstlight vars`
#[derive(Debug, Subcommand)]
pub enum Vars {
    /// List what is set, and for whom
    List,
    /// Set variables
    Set {
        /// name=value; a value that is JSON is taken as that, anything else is text
        #[arg(required_unless_present = "secret", value_name = "NAME=VALUE")]
        values: Vec<String>,
        /// A secret, read from standard input and encrypted to the appliance here
        #[arg(long, value_name = "NAME")]
        secret: Option<String>,
        /// For whom
        #[command(flatten)]
        scope: VarScope,
    },
    /// Take variables away
    Unset {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// For whom
        #[command(flatten)]
        scope: VarScope,
    },
}

/// For whom variables are: every node unless said otherwise; nearer beats farther: node, role, group, every node.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct VarScope {
    /// For the nodes of this group
    #[arg(long)]
    pub group: Option<GroupName>,
    /// For the nodes of this role
    #[arg(long)]
    pub role: Option<RoleName>,
    /// For this node: name, MAC, serial, IP or id prefix
    #[arg(long)]
    pub node: Option<String>,
}

/// `firstlight job`
#[derive(Debug, Subcommand)]
pub enum Job {
    /// List jobs, newest first
    List {
        /// Only those of this node
        #[arg(long)]
        node: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one job
    Show {
        /// Its number
        job: u64,
    },
    /// Print the output of a job
    Log {
        /// Its number
        job: u64,
        /// Go on until it ends; exit with 1 when it fails
        #[arg(long, short)]
        follow: bool,
    },
}
