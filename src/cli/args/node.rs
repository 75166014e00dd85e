//! `firstlight node …`

use clap::Subcommand;

use crate::model::{GroupName, NodeName};

/// `firstlight node`
#[derive(Debug, Subcommand)]
pub enum Node {
    /// List nodes
    List {
        /// Only those of this group
        #[arg(long)]
        group: Option<GroupName>,
        /// Only those in this state
        #[arg(long)]
        state: Option<String>,
    },
    /// Show all of one node
    Show {
        /// Name, MAC, serial, IP or id prefix
        node: String,
    },
    /// Vouch for nodes, so that they get their image
    Approve {
        /// Name, MAC, serial, IP or id prefix
        #[arg(required_unless_present = "all")]
        nodes: Vec<String>,
        /// All that wait for it
        #[arg(long, conflicts_with = "nodes")]
        all: bool,
    },
    /// Pin nodes to an image; it beats their group's
    #[command(override_usage = "firstlight node pin [OPTIONS] <NODE>... <IMAGE>")]
    Pin {
        /// Nodes (name, MAC, serial, IP or id prefix), then the image (name@version)
        #[arg(num_args = 2.., required = true, value_name = "NODE... IMAGE")]
        nodes_and_image: Vec<String>,
    },
    /// Remove nodes' own pins
    Unpin {
        /// Name, MAC, serial, IP or id prefix
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Rename a node, or move it between groups
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Set {
        /// Name, MAC, serial, IP or id prefix
        node: String,
        /// Its new name
        #[arg(long, group = "change")]
        name: Option<NodeName>,
        /// The group to join
        #[arg(long, group = "change", conflicts_with = "no_group")]
        group: Option<GroupName>,
        /// Leave the group
        #[arg(long, group = "change")]
        no_group: bool,
    },
    /// Print what happened to a node, with durations
    Timeline {
        /// Name, MAC, serial, IP or id prefix
        node: String,
        /// At most so many of the newest events
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Tell where a node's last boot stands, and why
    Explain {
        /// Name, MAC, serial, IP or id prefix
        node: String,
    },
}
