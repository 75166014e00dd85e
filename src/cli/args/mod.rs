//! What can be typed; [`node`] has the commands on nodes.

mod bundle;
mod cluster;
mod node;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::agent::credentials::FOLDER as AGENT_FOLDER;
use crate::config::DEFAULT_PATH;
use crate::model::{GroupName, ImageRef, Subnet};
use crate::packages::names::Name;

pub use bundle::{Bundle, Job, PinTo, VarScope, Vars};
pub use cluster::Cluster;
pub use node::{Adopt, Node};

/// Where the appliance listens for administrators unless said otherwise.
const DEFAULT_SERVER: &str = "unix:/run/firstlight/firstlight.sock";

/// Takes bare servers from first power-on to a working, tracked member of a cluster.
#[derive(Debug, Parser)]
#[command(name = "firstlight", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// The appliance to talk to
    #[arg(long, global = true, env = "FIRSTLIGHT_SERVER", value_name = "unix:PATH", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// How answers are printed
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Print without colours, as with `NO_COLOR` in the environment
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Print no progress and no confirmations
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs; what follows is one object a line.
    Json,
    /// For people who want all of it.
    Yaml,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the appliance: DHCP, TFTP, HTTP and the admin API
    Serve {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
        config: PathBuf,
        /// Where state and images lie, instead of where the configuration says
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
    },
    /// Write a configuration for this host
    Init(Init),
    /// Tell what the appliance serves, and since when
    Status,
    /// Servers
    #[command(subcommand)]
    Node(Node),
    /// Named sets of nodes that share an image
    #[command(subcommand)]
    Group(Group),
    /// What nodes boot
    #[command(subcommand)]
    Image(Image),
    /// Post-boot configuration of nodes
    #[command(subcommand)]
    Bundle(Bundle),
    /// Nodes that work together
    #[command(subcommand)]
    Cluster(Cluster),
    /// Variables of bundles
    #[command(subcommand)]
    Vars(Vars),
    /// Long runs on nodes, with their output
    #[command(subcommand)]
    Job(Job),
    /// Packages that nodes install
    #[command(subcommand)]
    Package(Package),
    /// Who holds which address
    #[command(subcommand)]
    Lease(Lease),
    /// The networks and their addresses
    #[command(subcommand)]
    Network(Network),
    /// Tell what should be looked at
    Doctor,
    /// What happened
    #[command(subcommand)]
    Event(Event),
    /// The nodes as an inventory for Ansible: `ansible-playbook -i SCRIPT`, where SCRIPT runs this with "$@"
    #[command(group = clap::ArgGroup::new("what").required(true))]
    Inventory {
        /// All groups, hosts and variables
        #[arg(long, group = "what")]
        list: bool,
        /// The variables of one host
        #[arg(long, group = "what", value_name = "NAME")]
        host: Option<String>,
    },
    /// The agent of an installed host
    #[command(subcommand)]
    Agent(Agent),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder, or print the first of them
    Man {
        /// The folder
        dir: Option<PathBuf>,
    },
}

/// `firstlight agent`
#[derive(Debug, Subcommand)]
pub enum Agent {
    /// Run it: signs of life to the appliance, and what the appliance orders
    Run {
        /// Where its settings and its certificate lie
        #[arg(long, value_name = "DIR", default_value = AGENT_FOLDER)]
        dir: PathBuf,
    },
    /// Join an appliance with a token of `firstlight node invite`
    Enrol {
        /// Where the appliance listens for agents, https://ADDRESS:PORT; the first that answers is used
        // In place of the global option of this name, so of the same id.
        #[arg(long = "server", id = "server", required = true, value_name = "URL")]
        servers: Vec<String>,
        /// The token; - reads it from standard input
        #[arg(long, value_name = "TOKEN")]
        token: String,
        /// Where its settings and its certificate will lie
        #[arg(long, value_name = "DIR", default_value = AGENT_FOLDER)]
        dir: PathBuf,
        /// Do not install and start the systemd unit
        #[arg(long)]
        no_unit: bool,
    },
}

/// `firstlight init`
#[derive(Debug, Args)]
pub struct Init {
    /// Where to write it
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// The interface on the management network; chosen when there is one that fits
    #[arg(long)]
    pub interface: Option<String>,
    /// The management network; that of the interface's address unless given
    #[arg(long)]
    pub subnet: Option<Subnet>,
    /// Replace a configuration that is there
    #[arg(long)]
    pub force: bool,
}

/// `firstlight group`
#[derive(Debug, Subcommand)]
pub enum Group {
    /// List groups
    List,
    /// Show one group
    Show {
        /// Its name
        group: GroupName,
    },
    /// Make a group
    Create {
        /// Its name
        group: GroupName,
    },
    /// Pin a group to an image
    Pin {
        /// Its name
        group: GroupName,
        /// name@version
        image: ImageRef,
    },
    /// Remove a group's pin
    Unpin {
        /// Its name
        group: GroupName,
    },
    /// Remove a group that has no nodes
    Delete {
        /// Its name
        group: GroupName,
    },
}

/// `firstlight image`
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Import images from manifests
    Import {
        /// The manifests
        #[arg(required = true, value_name = "MANIFEST")]
        manifests: Vec<PathBuf>,
    },
    /// List images
    List,
    /// Show one image
    Show {
        /// name@version
        image: ImageRef,
    },
    /// Read an image's files again and compare their digests
    Verify {
        /// name@version
        image: ImageRef,
    },
    /// Remove an image that nobody is pinned to
    Remove {
        /// name@version
        image: ImageRef,
    },
    /// Remove files that no image names any more
    Gc,
}

/// `firstlight package`
#[derive(Debug, Subcommand)]
pub enum Package {
    /// Take packages (.deb or .rpm) into the signed repositories below /packages
    Push {
        /// The package files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The suite, such as bookworm or el9: for nodes of that system; one of another name, such as stable, is for all
        #[arg(long, default_value = "stable")]
        suite: Name,
        /// The component
        #[arg(long, default_value = "main")]
        component: Name,
    },
    /// List packages
    List,
    /// Take a package out of the repositories; nodes that have it keep it
    Remove {
        /// Its name
        name: String,
        /// Its version
        #[arg(id = "package_version", value_name = "VERSION")]
        version: String,
        /// Only from this suite
        #[arg(long)]
        suite: Option<Name>,
    },
}

/// `firstlight lease`
#[derive(Debug, Subcommand)]
pub enum Lease {
    /// List leases
    List,
    /// Show one lease
    Show {
        /// The address
        ip: IpAddr,
    },
    /// Take over the leases and reservations of another server: each client keeps its address
    Import {
        /// Which server wrote the file
        #[arg(long, value_enum)]
        from: ImportFrom,
        /// Its lease file, or its configuration with reservations; '-' for standard input
        file: PathBuf,
        /// Tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Take an address back
    Release {
        /// The address
        ip: IpAddr,
    },
}

/// A server whose files can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ImportFrom {
    /// dnsmasq: dnsmasq.leases, or dhcp-host= lines
    Dnsmasq,
    /// Kea: kea-leases4.csv, or kea-dhcp4.conf
    Kea,
    /// ISC dhcpd: dhcpd.leases, or dhcpd.conf
    Isc,
}

/// `firstlight network`
#[derive(Debug, Subcommand)]
pub enum Network {
    /// List networks, and how full they are
    List,
    /// Show one network
    Show {
        /// Its subnet, its interface, or an address in it
        network: String,
    },
}

/// `firstlight event`
#[derive(Debug, Subcommand)]
pub enum Event {
    /// List events, oldest first
    List {
        /// Only those of this node
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        node: Option<String>,
        /// At most so many of the newest
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Print events as they happen
    Follow {
        /// Begin with so many past ones
        #[arg(long, default_value_t = 0)]
        limit: usize,
    },
}
