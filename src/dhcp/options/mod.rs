//! Options that the configuration adds to replies, by name or number.
//!
//! [`table`] is the field's list of them ([`pxe`]: within option 43), [`value`] makes bytes of what an operator writes, [`write`] puts all options of a reply
//! into a datagram: in order, long ones divided (RFC 3396), and into the spare fields of the header where there is no room else
//! (RFC 2132 section 9.3).

pub mod pxe;
pub mod table;
pub mod value;
pub mod write;

use std::collections::BTreeMap;

pub use table::{Known, find, is_for_boot};
pub use value::{Kind, parse};
pub use write::{Limits, write};

/// RFC 2132 section 8.4.
pub const VENDOR_OPTIONS: u8 = 43;

/// Options by number, each as its bytes.
pub type Options = BTreeMap<u8, Vec<u8>>;

/// Reads options as they are configured: a table of names or numbers, and a text, a number, `true`, `false` or a list of those.
///
/// # Errors
/// The first that is wrong, with its name.
pub fn from_table(table: &serde_json::Value) -> Result<Options, String> {
    let table = table.as_object().ok_or("DHCP options are a table: { ntp-servers = [\"10.0.0.1\"] }")?;
    let mut options = Options::new();
    for (key, value) in table {
        let named = |why: String| format!("{key}: {why}");
        let (code, kind) = find(key).map_err(named)?;
        if let (VENDOR_OPTIONS, serde_json::Value::Object(pxe)) = (code, value) {
            if options.insert(code, pxe::from_table(pxe).map_err(named)?).is_some() {
                return Err(named(format!("option {code} is there twice")));
            }
            continue;
        }
        let items = match value {
            serde_json::Value::Array(items) => items.iter().map(item).collect::<Option<Vec<String>>>(),
            value => item(value).map(|item| vec![item]),
        };
        let items =
            items.ok_or_else(|| named("it has a text, a number, true, false or a list of those".into()))?;
        let bytes = parse(kind, &items).map_err(named)?;
        if options.insert(code, bytes).is_some() {
            return Err(named(format!("option {code} is there twice")));
        }
    }
    Ok(options)
}

fn item(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// What counts of these layers, the farthest first: the nearer wins, option by option.
pub fn merge<'a>(layers: impl IntoIterator<Item = &'a Options>) -> Options {
    layers.into_iter().flatten().map(|(code, bytes)| (*code, bytes.clone())).collect()
}
