//! The nodes as an inventory for Ansible (<https://docs.ansible.com/ansible/latest/dev_guide/developing_inventory.html>).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bundle::lay_over;
use crate::bundle::secret::ARMOR;
use crate::model::{Node, State, World};

use super::Appliance;
use super::secrecy::SecretNames;
use super::views::address_of;
use super::wanted::{layers, role_of};

/// What an inventory script prints for `--list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Variables of hosts.
    #[serde(rename = "_meta")]
    pub meta: Meta,
    /// Groups by name: `GROUP`, `role_ROLE`, `cluster_NAME` and `state_STATE`, with `-` as `_`.
    #[serde(flatten)]
    pub groups: BTreeMap<String, Hosts>,
}

/// Variables of hosts, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// By the host's name.
    pub hostvars: BTreeMap<String, Map<String, Value>>,
}

/// A group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hosts {
    /// Its hosts.
    pub hosts: Vec<String>,
}

impl Appliance {
    /// All nodes that somebody vouched for. Secrets stay here.
    pub fn inventory(&self) -> Inventory {
        let world = self.view();
        let secrets = self.secret_names(&world);
        let mut inventory = Inventory::default();
        let in_service = |node: &&Node| node.state.is_trusted() && node.state != State::Retired;
        let mut nodes: Vec<&Node> = world.nodes().filter(in_service).collect();
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        for node in nodes {
            let name = node.name.to_string();
            let role = role_of(&world, node);
            let cluster = world.cluster_of(node.id).map(|cluster| cluster.name.clone());
            let group = node.group.as_ref().map(ToString::to_string);
            let groups = [
                group.clone(),
                role.as_ref().map(|role| format!("role_{role}")),
                cluster.as_ref().map(|cluster| format!("cluster_{cluster}")),
                Some(format!("state_{}", node.state.name())),
            ];
            for group in groups.into_iter().flatten() {
                inventory.groups.entry(group.replace('-', "_")).or_default().hosts.push(name.clone());
            }
            inventory.meta.hostvars.insert(name, variables(&world, node, &secrets, role, group, cluster));
        }
        inventory
    }
}

fn variables(
    world: &World,
    node: &Node,
    secrets: &SecretNames,
    role: Option<String>,
    group: Option<String>,
    cluster: Option<String>,
) -> Map<String, Value> {
    let mut all = Map::new();
    for (_, values) in layers(world, node) {
        let closed = |value: &Value| value.as_str().is_some_and(|text| text.trim_start().starts_with(ARMOR));
        let plain = values.iter().filter(|(name, value)| !secrets.contains_key(*name) && !closed(value));
        lay_over(&mut all, &plain.map(|(name, value)| (name.clone(), value.clone())).collect());
    }
    if let Some(ip) = address_of(world, node) {
        all.insert("ansible_host".into(), ip.to_string().into());
    }
    let own = [
        ("firstlight_state", Some(node.state.name().to_owned())),
        ("firstlight_role", role),
        ("firstlight_group", group),
        ("firstlight_cluster", cluster),
        ("firstlight_image", world.pin_of(node).map(ToString::to_string)),
        ("firstlight_serial", Some(node.identity.serial.clone()).filter(|serial| !serial.is_empty())),
        ("firstlight_mac", node.macs.first().map(ToString::to_string)),
    ];
    all.extend(own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?)))));
    all
}
