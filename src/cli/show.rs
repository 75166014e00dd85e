//! Answers as tables, JSON or YAML.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::appliance::Invited;
use crate::appliance::now;
use crate::appliance::views::{EventView, GroupView, HardwareView, ImageView, LeaseView, NodeView};
use crate::model::inventory::human_bytes;
use crate::model::{Build, Timestamp};

use super::CliError;
use super::args::Output;

/// Prints an answer: `table` is what a person sees.
pub fn answer<T: Serialize>(
    output: Output,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<(), CliError> {
    let text = match output {
        Output::Table => table(value),
        Output::Json => escaped(
            &(serde_json::to_string_pretty(value).map_err(|error| CliError::Local(error.to_string()))?
                + "\n"),
        ),
        Output::Yaml => serde_norway::to_string(value).map_err(|error| CliError::Local(error.to_string()))?,
    };
    print(&text)
}

/// Prints a value as JSON on a line of its own.
pub fn json_line(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|error| CliError::Local(error.to_string()))?;
    print(&(escaped(&text) + "\n"))
}

/// JSON with DEL and the C1 control characters as escapes too. RFC 8259 section 7 lets them stand as they are, but a
/// terminal may obey them; outside of strings there are none.
fn escaped(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut text, c| {
        if matches!(c, '\u{7f}'..='\u{9f}') {
            // Writing into a string cannot fail.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
        text
    })
}

/// Prints text; a reader that has gone away is not an error of ours.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Columns with headers; nothing but spaces between them, so that `awk` and people read it alike.
pub fn columns<const N: usize>(headers: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers);
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| clean(&cell))));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// `key: value` lines, aligned.
pub fn block(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0) + 2;
    rows.iter().fold(String::new(), |text, (key, value)| {
        let key = format!("{key}:");
        text + &format!("{key:<width$}{}\n", clean(value))
    })
}

/// What a node or a file told of itself must not command the terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// `None` as a dash.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// How long ago, to the two largest units: `3m 4s`.
pub fn ago(at: Timestamp) -> String {
    let seconds = now().since(at).as_secs();
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Bytes as people read them, in binary units.
pub fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// `node list`
pub fn nodes(nodes: &[NodeView]) -> String {
    let headers = ["NAME", "MAC", "IP", "STATE", "IMAGE", "GROUP", "FIRMWARE", "SINCE"];
    let rows = nodes.iter().map(|view| {
        let node = &view.node;
        [
            node.name.to_string(),
            or_dash(node.macs.first()),
            or_dash(view.ip),
            node.state.to_string(),
            image_of(view),
            or_dash(node.group.as_ref()),
            or_dash(node.firmware),
            ago(node.state_since),
        ]
    });
    columns(headers, rows)
}

/// What it runs, and what it should run when that is something else.
fn image_of(view: &NodeView) -> String {
    match (&view.node.observed.image, &view.desired) {
        (Some(observed), Some(desired)) if observed != desired => format!("{observed} → {desired}"),
        (Some(observed), _) => observed.to_string(),
        (None, Some(desired)) => format!("→ {desired}"),
        (None, None) => "-".into(),
    }
}

/// `node show`
pub fn node(view: &NodeView) -> String {
    let node = &view.node;
    let observed = &node.observed;
    let mut rows = vec![
        ("name", node.name.to_string()),
        ("id", node.id.to_string()),
        ("mac", node.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        ("ip", or_dash(view.ip)),
        ("state", format!("{} (for {})", node.state, ago(node.state_since))),
    ];
    rows.extend(node.state.reason().map(|reason| ("reason", reason.to_owned())));
    rows.extend(node.waits_for.as_ref().map(|reason| ("waits", reason.clone())));
    rows.extend([
        ("group", or_dash(node.group.as_ref())),
        ("own pin", or_dash(node.pin.as_ref())),
        ("desired", or_dash(view.desired.as_ref())),
        ("runs", or_dash(observed.image.as_ref())),
        ("kernel", or_dash(observed.kernel.as_ref())),
        ("architecture", or_dash(node.arch)),
        ("firmware", or_dash(node.firmware)),
        ("uuid", or_dash(node.uuid.as_ref())),
        ("first seen", node.first_seen.to_string()),
        ("last ready", or_dash(observed.ready_at)),
    ]);
    rows.extend(
        node.installed.as_ref().map(|there| ("installed", format!("{} on disk {}", there.image, there.disk))),
    );
    rows.extend(node.order.map(|order| ("ordered", order.to_string())));
    rows.extend(node.next_boot.map(|what| ("next boot", what.to_string())));
    if let Some(heard) = &view.heard {
        let progress = heard.progress.filter(|progress| progress.total > 0);
        let percent =
            progress.map(|progress| format!(", {} of {}", bytes(progress.done), bytes(progress.total)));
        let text = format!(
            "{} ago: {} {}{}",
            ago(heard.at),
            heard.phase,
            heard.message,
            percent.unwrap_or_default()
        );
        rows.push(("agent", text.trim_end().to_owned()));
    }
    if let Some(facts) = &observed.facts {
        rows.extend([
            ("vendor", facts.vendor.clone()),
            ("product", facts.product.clone()),
            ("serial", facts.serial.clone()),
            ("processors", facts.cpus.to_string()),
            ("memory", format!("{} MiB", facts.memory_mib)),
        ]);
    }
    block(&rows)
}

/// `node hardware`
pub fn hardware(view: &HardwareView) -> String {
    let made_of = &view.inventory;
    let system = &made_of.system;
    let mut rows = vec![
        ("node", view.node.to_string()),
        ("told", view.told.to_string()),
        ("system", format!("{} {}", system.vendor, system.product)),
        ("serial", or_dash(Some(&system.serial).filter(|serial| !serial.is_empty()))),
        ("uuid", or_dash(Some(&system.uuid).filter(|uuid| !uuid.is_empty()))),
        ("asset tag", or_dash(Some(&system.asset_tag).filter(|tag| !tag.is_empty()))),
        ("firmware", format!("{} {}", system.bios_version, system.bios_date)),
        ("secure boot", or_dash(made_of.secure_boot)),
        (
            "processors",
            format!(
                "{} ({} sockets, {} cores, {} threads)",
                made_of.cpus.model, made_of.cpus.sockets, made_of.cpus.cores, made_of.cpus.threads
            ),
        ),
        ("memory", human_bytes(made_of.memory.total_bytes)),
    ];
    rows.extend(made_of.memory.dimms.iter().map(|dimm| {
        let text = [dimm.kind.as_str(), dimm.manufacturer.as_str(), dimm.part.as_str(), dimm.serial.as_str()];
        ("  module", format!("{}: {} {}", dimm.locator, human_bytes(dimm.size_bytes), text.join(" ").trim()))
    }));
    rows.extend(made_of.disks.iter().map(|disk| {
        let wear = disk.wear_percent_used.map(|wear| format!(", {wear}% worn")).unwrap_or_default();
        let text =
            format!("{}: {} {} {}{wear}", disk.name, human_bytes(disk.size_bytes), disk.model, disk.serial);
        ("disk", text)
    }));
    rows.extend(made_of.nics.iter().map(|nic| {
        let at = nic.lldp.as_ref().map(|lldp| format!(", at {} {}", lldp.system_name, lldp.port));
        let link = if nic.link { "up" } else { "down" };
        ("port", format!("{}: {} {}, {link}{}", nic.name, nic.mac, nic.driver, at.unwrap_or_default()))
    }));
    rows.extend(made_of.bmc.as_ref().map(|bmc| ("bmc", format!("{} {}", bmc.kind, or_dash(bmc.address)))));
    rows.extend(made_of.tpm.as_ref().map(|tpm| ("tpm", tpm.version.clone())));
    rows.extend(made_of.clock_skew_ms.map(|skew| ("clock", format!("{:+.1} s", skew_seconds(skew)))));
    block(&rows)
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn skew_seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// `node diff`
pub fn diff(view: &HardwareView) -> String {
    match (view.before, view.changes.as_slice()) {
        (None, _) => format!("{} told what it is made of once only, {}\n", view.node, view.told),
        (Some(before), []) => format!("nothing of {} is different since {before}\n", view.node),
        (Some(before), changes) => format!("since {before}:\n  {}\n", changes.join("\n  ")),
    }
}

/// `node invite`
pub fn invited(invited: &Invited) -> String {
    let server = invited.servers.first().cloned().unwrap_or_else(|| "https://APPLIANCE:8443".into());
    format!(
        "{}\n\nOn the host, as root, before {}:\n  firstlight agent enrol --server {server} --token {}\n",
        invited.token, invited.expires, invited.token
    )
}

/// `group list`
pub fn groups(groups: &[GroupView]) -> String {
    let rows = groups.iter().map(|view| {
        let pin = or_dash(view.group.pin.as_ref());
        [view.group.name.to_string(), pin, view.nodes.len().to_string(), ago(view.group.created)]
    });
    columns(["NAME", "IMAGE", "NODES", "AGE"], rows)
}

/// `group show`
pub fn group(view: &GroupView) -> String {
    let nodes = view.nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    block(&[
        ("name", view.group.name.to_string()),
        ("pin", or_dash(view.group.pin.as_ref())),
        ("created", view.group.created.to_string()),
        ("nodes", if nodes.is_empty() { "-".into() } else { nodes }),
    ])
}

/// `image list`
pub fn images(images: &[ImageView]) -> String {
    let rows = images.iter().map(|view| {
        let archs = view.image.builds.keys().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let pins = view.pinned_groups.len() + view.pinned_nodes.len();
        [view.image.image.to_string(), archs, bytes(view.size), pins.to_string(), ago(view.image.imported)]
    });
    columns(["IMAGE", "ARCHITECTURES", "SIZE", "PINS", "AGE"], rows)
}

/// `image show`
pub fn image(view: &ImageView) -> String {
    let mut rows = vec![
        ("image", view.image.image.to_string()),
        ("imported", view.image.imported.to_string()),
        ("size", bytes(view.size)),
    ];
    rows.extend(view.pinned_groups.iter().map(|group| ("pinned by", format!("group {group}"))));
    rows.extend(view.pinned_nodes.iter().map(|node| ("pinned by", format!("node {node}"))));
    for (arch, build) in &view.image.builds {
        rows.push(("build", format!("{arch}, {}", build.kind())));
        match build {
            Build::Netboot(netboot) => rows.push(("  cmdline", netboot.cmdline.clone())),
            Build::Disk(disk) => {
                rows.push(("  disk", bytes(disk.raw_size)));
                rows.extend(disk.plan.disk.as_ref().map(|rule| ("  installs on", rule.clone())));
                rows.extend(
                    disk.plan
                        .data_partition
                        .as_ref()
                        .map(|data| ("  keeps", format!("partition '{}', {}", data.label, bytes(data.size)))),
                );
            }
        }
        for artifact in build.artifacts() {
            rows.push((
                "  file",
                format!("{} {} ({})", artifact.sha256, artifact.name, bytes(artifact.size)),
            ));
        }
    }
    block(&rows)
}

/// `lease list`
pub fn leases(leases: &[LeaseView]) -> String {
    let rows = leases.iter().map(|lease| {
        let kind = if lease.reserved { "reserved" } else { "sticky" };
        let state = if lease.active { "active" } else { lease.state.name() };
        [
            lease.ip.to_string(),
            or_dash(lease.mac.as_ref()),
            or_dash(lease.node.as_ref()),
            state.into(),
            kind.into(),
            lease.expires.to_string(),
        ]
    });
    columns(["IP", "MAC", "NODE", "STATE", "KIND", "EXPIRES"], rows)
}

/// `event list`, and each line of `event follow`
pub fn event(view: &EventView) -> String {
    let event = &view.event;
    let name = event.name.as_ref().map_or("-", |name| name.as_str());
    let actor = event.actor.as_ref().map(|actor| format!(" (by {actor})")).unwrap_or_default();
    clean(&format!("{}  {name:<16} {}{actor}", event.at, view.text)) + "\n"
}

/// `event list`
pub fn events(events: &[EventView]) -> String {
    events.iter().map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_cannot_command_the_terminal() {
        let text = "a\u{1b}[2J\u{9b}2J\u{7f}é";
        let json = escaped(&serde_json::to_string(text).expect("JSON"));
        assert_eq!(json, r#""a\u001b[2J\u009b2J\u007fé""#);
        assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
    }

    #[test]
    fn tables_line_up_and_cannot_command_the_terminal() {
        let rows = [["n1".to_owned(), "\u{1b}[2Jx".to_owned()], ["longer-name".to_owned(), "y".to_owned()]];
        let text = columns(["NAME", "WHAT"], rows);
        assert_eq!(text, "NAME         WHAT\nn1           ?[2Jx\nlonger-name  y\n");
        assert_eq!(block(&[("a", "1".into()), ("long", "2\n3".into())]), "a:    1\nlong: 2?3\n");
    }
}
