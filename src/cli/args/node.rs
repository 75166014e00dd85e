//! `firstlight node …`

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
    },
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
