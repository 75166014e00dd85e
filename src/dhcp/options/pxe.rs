//! The options of PXE within option 43 (PXE specification 2.1, table 2-1), by name.

use std::net::Ipv4Addr;

use super::item;

/// `PXE_END`.
const END: u8 = 255;
/// `PXE_BOOT_ITEM`: type and layer.
const BOOT_ITEM: u8 = 71;
/// Longest option 43: one that is divided no ROM reads.
const LONGEST: usize = 255;

/// How a sub-option is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A number of 8 bits.
    Byte,
    /// An address.
    Address,
    /// Servers by type: `15 10.77.0.5 10.77.0.6`.
    Servers,
    /// Lines of a menu by type: `0 Boot from disk`.
    Menu,
    /// Seconds and a text: `10 Press F8 for a menu`.
    Prompt,
    /// Type and layer: `15 0`.
    Item,
}

const NAMES: [(&str, u8, Form); 6] = [
    ("discovery-control", 6, Form::Byte),
    ("discovery-multicast-address", 7, Form::Address),
    ("boot-servers", 8, Form::Servers),
    ("boot-menu", 9, Form::Menu),
    ("menu-prompt", 10, Form::Prompt),
    ("boot-item", BOOT_ITEM, Form::Item),
];

/// The bytes of option 43 from a table: `{ discovery-control = 3, boot-menu = ["0 Boot from disk", "15 Install"] }`.
///
/// # Errors
/// The first sub-option that is wrong, with its name.
pub fn from_table(table: &serde_json::Map<String, serde_json::Value>) -> Result<Vec<u8>, String> {
    let mut parts: Vec<(u8, Vec<u8>)> = Vec::new();
    for (name, value) in table {
        let named = |why: String| format!("{name}: {why}");
        let (_, code, form) = NAMES.iter().find(|(known, ..)| known == name).ok_or_else(|| unknown(name))?;
        let items = match value {
            serde_json::Value::Array(items) => items.iter().map(item).collect::<Option<Vec<String>>>(),
            value => item(value).map(|item| vec![item]),
        };
        let items = items.ok_or_else(|| named("it has a text, a number or a list of those".into()))?;
        parts.push((*code, encode(*form, &items).map_err(named)?));
    }
    parts.sort();
    let mut bytes = Vec::new();
    for (code, data) in parts {
        let length =
            u8::try_from(data.len()).map_err(|_| format!("sub-option {code} is longer than 255 bytes"))?;
        bytes.extend([code, length]);
        bytes.extend(data);
    }
    bytes.push(END);
    match bytes.len() {
        1 => Err("it is empty".into()),
        length if length > LONGEST => Err(format!("it has {length} bytes; {LONGEST} are the most")),
        _ => Ok(bytes),
    }
}

/// The line of its menu that a client chose, from its option 43: type and layer as they stand there.
pub fn boot_item(mut vendor: &[u8]) -> Option<[u8; 4]> {
    while let [code, length, rest @ ..] = vendor {
        // Padding has no length.
        if *code == 0 {
            vendor = vendor.get(1..)?;
            continue;
        }
        let (data, rest) = rest.split_at_checked(usize::from(*length)).filter(|_| *code != END)?;
        if *code == BOOT_ITEM {
            return data.try_into().ok();
        }
        vendor = rest;
    }
    None
}

/// Option 43 of the answer to who chose that line.
pub fn chosen(item: [u8; 4]) -> Vec<u8> {
    [&[BOOT_ITEM, 4], &item[..], &[END]].concat()
}

fn encode(form: Form, items: &[String]) -> Result<Vec<u8>, String> {
    let list = matches!(form, Form::Servers | Form::Menu);
    if items.is_empty() || (items.len() > 1 && !list) {
        let wanted = if list { "one or more values" } else { "one value" };
        return Err(format!("it has {wanted}, not {}", items.len()));
    }
    let mut bytes = Vec::new();
    for item in items {
        bytes.extend(one(form, item.trim())?);
    }
    Ok(bytes)
}

fn one(form: Form, text: &str) -> Result<Vec<u8>, String> {
    let wrong = |example: &str| format!("'{text}' is not right; write it as {example}");
    let (first, rest) = text.split_once(' ').map_or((text, ""), |(first, rest)| (first, rest.trim()));
    let number = || first.parse::<u16>().ok().map(u16::to_be_bytes);
    let length = |length: usize| u8::try_from(length).ok();
    let bytes = match form {
        Form::Byte => return text.parse().map(|byte: u8| vec![byte]).map_err(|_| wrong("3")),
        Form::Address => {
            let ip = text.parse::<Ipv4Addr>().map_err(|_| wrong("224.1.2.3"))?;
            return Ok(ip.octets().to_vec());
        }
        Form::Servers => {
            let servers: Option<Vec<Ipv4Addr>> = rest.split_whitespace().map(|ip| ip.parse().ok()).collect();
            let servers = servers.filter(|servers| !servers.is_empty());
            let encode = |servers: Vec<Ipv4Addr>| {
                let mut bytes = number()?.to_vec();
                bytes.push(length(servers.len())?);
                bytes.extend(servers.iter().flat_map(Ipv4Addr::octets));
                Some(bytes)
            };
            servers.and_then(encode).ok_or_else(|| wrong("'15 10.77.0.5 10.77.0.6'"))?
        }
        Form::Menu => {
            let line = || Some([&number()?[..], &[length(rest.len())?], rest.as_bytes()].concat());
            line().filter(|_| !rest.is_empty()).ok_or_else(|| wrong("'15 Install'"))?
        }
        Form::Prompt => {
            let seconds = first.parse::<u8>().map_err(|_| wrong("'10 Press F8 for a menu'"))?;
            [&[seconds], rest.as_bytes()].concat()
        }
        Form::Item => {
            let layer = if rest.is_empty() { Some(0) } else { rest.parse::<u16>().ok() };
            let both = number().zip(layer).map(|(kind, layer)| [kind, layer.to_be_bytes()].concat());
            both.ok_or_else(|| wrong("'15 0'"))?
        }
    };
    Ok(bytes)
}

fn unknown(name: &str) -> String {
    let alike = |known: &str| strsim::jaro_winkler(known, name);
    let near = NAMES.iter().max_by(|a, b| alike(a.0).total_cmp(&alike(b.0)));
    let near = near.map_or_else(String::new, |(near, ..)| format!("; did you mean '{near}'?"));
    format!("option 43 has no '{name}'{near} Others are given as a whole: \"43\" = \"0x0601…ff\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(json: &str) -> Result<String, String> {
        let table: serde_json::Value = serde_json::from_str(json).expect("JSON");
        from_table(table.as_object().expect("a table")).map(hex::encode)
    }

    #[test]
    fn sub_options_have_names() {
        for (rule, json, expected) in [
            ("PXE 2.1 tag 6: PXE_DISCOVERY_CONTROL", r#"{"discovery-control": 8}"#, "060108ff"),
            (
                "tag 7: DISCOVERY_MCAST_ADDR",
                r#"{"discovery-multicast-address": "224.0.1.2"}"#,
                "0704e0000102ff",
            ),
            (
                "tag 8: PXE_BOOT_SERVERS",
                r#"{"boot-servers": ["15 10.77.0.5 10.77.0.6", "0 10.77.0.1"]}"#,
                "0812000f020a4d00050a4d0006000001",
            ),
            (
                "tag 9: PXE_BOOT_MENU",
                r#"{"boot-menu": ["0 Disk", "15 Go on"]}"#,
                "090f0000044469736b000f05476f206f6eff",
            ),
            ("tag 10: PXE_MENU_PROMPT", r#"{"menu-prompt": "10 F8"}"#, "0a030a4638ff"),
            ("tag 71: PXE_BOOT_ITEM", r#"{"boot-item": "15"}"#, "4704000f0000ff"),
            ("in order", r#"{"menu-prompt": "0 x", "discovery-control": 3}"#, "0601030a020078ff"),
        ] {
            let told = bytes(json).expect(rule);
            assert!(told.starts_with(expected) && told.ends_with("ff"), "{rule}: {told}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        let long = format!(r#"{{"boot-menu": ["0 {}", "1 {}"]}}"#, "x".repeat(130), "y".repeat(130));
        for (json, message) in [
            ("{}", "empty"),
            (r#"{"boot-server": "15 10.77.0.5"}"#, "did you mean 'boot-servers'"),
            (r#"{"boot-servers": "15"}"#, "write it as '15 10.77.0.5 10.77.0.6'"),
            (r#"{"boot-menu": "Install"}"#, "write it as '15 Install'"),
            (r#"{"discovery-control": 256}"#, "'256' is not right"),
            (r#"{"discovery-control": [1, 2]}"#, "one value, not 2"),
            (r#"{"menu-prompt": {}}"#, "a text, a number"),
            (long.as_str(), "longer than 255"),
        ] {
            let told = bytes(json).expect_err(message);
            assert!(told.contains(message), "{told}");
        }
    }
    #[test]
    fn what_a_client_chose() {
        let item = [0, 15, 0, 0];
        for (rule, vendor, expected) in [
            ("PXE 2.1 tag 71: type and layer", vec![71, 4, 0, 15, 0, 0, 255], Some(item)),
            ("behind others and padding", vec![6, 1, 8, 0, 0, 71, 4, 0, 15, 0, 0], Some(item)),
            ("no choice", vec![6, 1, 8, 255], None),
            ("behind the end", vec![255, 71, 4, 0, 15, 0, 0], None),
            ("of another length", vec![71, 3, 0, 15, 0, 255], None),
            ("cut off", vec![71, 4, 0, 15], None),
            ("a sub-option that is cut off", vec![6, 9, 8, 71, 4, 0, 15, 0, 0], None),
            ("nothing", vec![], None),
        ] {
            assert_eq!(boot_item(&vendor), expected, "{rule}");
        }
        assert_eq!(boot_item(&chosen(item)), Some(item));
    }
}
