//! `firstlight node …`

use std::path::PathBuf;

use clap::Subcommand;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};

use crate::model::{GroupName, ImageRef, NodeName};

/// Every name that [`State::name`](crate::model::State::name) gives, in the order of a life.
const STATES: [&str; 12] = [
    "discovered",
    "enrolled",
    "installing",
    "booting",
    "configuring",
    "ready",
    "draining",
    "reloading",
    "retiring",
    "retired",
    "failed",
    "quarantined",
];

/// `firstlight node`
#[derive(Debug, Subcommand)]
pub enum Node {
    /// List nodes
    List {
        /// Only those of this group
        #[arg(long)]
        group: Option<GroupName>,
        /// Only those in this state
        #[arg(long, value_parser = PossibleValuesParser::new(STATES))]
        state: Option<String>,
        /// Only those that fit, such as 'memory>=64GiB and disk.nvme>0'
        #[arg(long = "where", value_name = "EXPRESSION")]
        filter: Option<String>,
    },
    /// Show what a node is made of
    Hardware {
        /// Name, MAC, serial, IP or id prefix
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
    },
    /// Show which bundles a node should have, and has
    Bundles {
        /// Name, MAC, serial, IP or id prefix
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
    },
    /// Show the variables of a node's bundles, and where each value comes from
    Vars {
        /// Name, MAC, serial, IP or id prefix
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
    },
    /// Show what of it is different since the boot before
    Diff {
        /// Name, MAC, serial, IP or id prefix
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
    },
    /// Show all of one node
    Show {
        /// Name, MAC, serial, IP or id prefix
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
    },
    /// Vouch for nodes, so that they get their image
    Approve {
        /// Name, MAC, serial, IP or id prefix
        #[arg(required_unless_present = "all", value_parser = NonEmptyStringValueParser::new())]
        nodes: Vec<String>,
        /// All that wait for it
        #[arg(long, conflicts_with = "nodes")]
        all: bool,
    },
    /// Pin nodes to an image; it beats their group's
    Pin {
        /// Name, MAC, serial, IP or id prefix
        #[arg(required = true, value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
        nodes: Vec<String>,
        /// name@version
        image: ImageRef,
    },
    /// Remove nodes' own pins
    Unpin {
        /// Name, MAC, serial, IP or id prefix
        #[arg(required = true, value_parser = NonEmptyStringValueParser::new())]
        nodes: Vec<String>,
    },
    /// Rename a node, or move it between groups
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Set {
        /// Name, MAC, serial, IP or id prefix
        #[arg(value_parser = NonEmptyStringValueParser::new())]
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
        /// Its role; '' for none. In a cluster, its services leave the old role first
        #[arg(long, group = "change")]
        role: Option<String>,
        /// The disk that its image is installed on, such as 'smallest nvme' or serial=X; '' for what the image says
        #[arg(long, group = "change", value_name = "RULE")]
        disk: Option<String>,
        /// Whether a disk that holds data may be overwritten
        #[arg(long, group = "change", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
        allow_wipe: Option<bool>,
        /// Give it its role whatever stands against it, as the majority of its cluster
        #[arg(long, requires = "role")]
        force: bool,
    },
    /// Restart nodes into what they have, once they have given up their work
    Reload {
        /// Name, MAC, serial, IP or id prefix
        #[arg(required = true, value_parser = NonEmptyStringValueParser::new())]
        nodes: Vec<String>,
        /// Whatever stands against it, as the majority of a cluster
        #[arg(long)]
        force: bool,
    },
    /// Install nodes' pinned image again, or a newer one, once they have given up their work
    #[command(visible_alias = "upgrade")]
    Install {
        /// Name, MAC, serial, IP or id prefix
        #[arg(required = true, value_parser = NonEmptyStringValueParser::new())]
        nodes: Vec<String>,
        /// Whatever stands against it, as the majority of a cluster
        #[arg(long)]
        force: bool,
    },
    /// Erase every disk of nodes, and keep them
    Wipe {
        /// Name, MAC, serial, IP or id prefix
        #[arg(required = true, value_parser = NonEmptyStringValueParser::new())]
        nodes: Vec<String>,
        /// Whatever stands against it, as the majority of a cluster, or bundles that do not take their leave
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Take nodes out of service: erase their disks, free their addresses, forget their secrets
    Retire {
        /// Name, MAC, serial, IP or id prefix
        #[arg(required = true, value_parser = NonEmptyStringValueParser::new())]
        nodes: Vec<String>,
        /// Leave the disks as they are; a host that runs takes away what bundles brought
        #[arg(long)]
        no_wipe: bool,
        /// Whatever stands against it, as the majority of a cluster, or bundles that do not take their leave
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Say what the next boot of nodes is for, once
    Boot {
        /// What for; 'usual' takes back what was said, and orders that have not begun
        #[arg(value_parser = PossibleValuesParser::new(["local", "image", "rescue", "memtest", "usual"]))]
        what: String,
        /// Name, MAC, serial, IP or id prefix
        #[arg(required = true, value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
        nodes: Vec<String>,
    },
    /// Print what a node's firmware, installers and kernels logged
    Console {
        /// Name, MAC, serial, IP or id prefix
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
        /// At most so many of the newest events are looked at
        #[arg(long, default_value_t = 1000)]
        limit: usize,
        /// Go on with what comes next
        #[arg(long, short)]
        follow: bool,
        /// Tell the time in UTC, not in this host's time zone
        #[arg(long)]
        utc: bool,
    },
    /// Make a token with which one host, installed by others, can enrol by itself
    Invite {
        /// What the node will be called; its host name unless given
        #[arg(long)]
        name: Option<NodeName>,
        /// The group it will join
        #[arg(long)]
        group: Option<GroupName>,
        /// For how many hours it is good
        #[arg(long, default_value_t = 1)]
        hours: u64,
    },
    /// Take in hosts that were installed by others, over SSH
    Adopt(Adopt),
    /// Print what happened to a node, with durations
    Timeline {
        /// Name, MAC, serial, IP or id prefix
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
        /// At most so many of the newest events
        #[arg(long, default_value_t = 1000)]
        limit: usize,
        /// Go on with what happens next
        #[arg(long, short)]
        follow: bool,
        /// Tell the time in UTC, not in this host's time zone
        #[arg(long)]
        utc: bool,
    },
    /// Tell where a node's last boot stands, and why
    Explain {
        /// Name, MAC, serial, IP or id prefix
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        node: String,
    },
}

/// `firstlight node adopt`
#[derive(Debug, clap::Args)]
pub struct Adopt {
    /// Their addresses
    #[arg(required = true, value_name = "HOST", value_parser = NonEmptyStringValueParser::new())]
    pub hosts: Vec<String>,
    /// Who to log in as; who is not root needs sudo without a password
    #[arg(long, default_value = "root")]
    pub user: String,
    /// The private key to log in with; ssh's own choice unless given
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The SSH port
    #[arg(long, default_value_t = 22)]
    pub port: u16,
    /// The group that they join
    #[arg(long)]
    pub group: Option<GroupName>,
    /// Where they reach the appliance, https://ADDRESS:PORT; what the appliance says unless given
    #[arg(long, value_name = "URL")]
    pub agent_url: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::State;

    #[test]
    fn states_are_all_that_there_are() {
        let read = |name: &str| {
            let from = json!({ "state": "ready" });
            serde_json::from_value::<State>(json!({ "state": name, "reason": "x", "from": from }))
        };
        for name in STATES {
            assert_eq!(read(name).expect(name).name(), name);
        }
        // serde tells which there are: "unknown variant `x`, expected one of `discovered`, …".
        let told = read("x").expect_err("no state").to_string();
        let names: Vec<&str> = told.split('`').skip(3).step_by(2).collect();
        assert_eq!(names, STATES);
    }
}
