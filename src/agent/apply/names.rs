//! Users and groups by name: the host's own files first, then whatever directory its `getent` asks.

use std::time::Duration;

use super::error::{Error, Result};
use super::process::{Place, argv};
use super::root::Root;

/// Largest `/etc/passwd` that is read, bytes.
const LARGEST: u64 = 16 << 20;

/// The numbers of user `owner` and group `group`, for the file `path`.
pub(super) fn numbers(
    root: &Root,
    place: &Place,
    path: &str,
    owner: &str,
    group: &str,
) -> Result<(u32, u32)> {
    let missing =
        |kind: &'static str, name: &str| Error::NoSuchName { path: path.into(), kind, name: name.into() };
    let uid = find(root, place, "passwd", owner)?.ok_or_else(|| missing("user", owner))?;
    let gid = find(root, place, "group", group)?.ok_or_else(|| missing("group", group))?;
    Ok((uid, gid))
}

fn find(root: &Root, place: &Place, database: &str, name: &str) -> Result<Option<u32>> {
    if name == "root" {
        return Ok(Some(0));
    }
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let text = root.read(&format!("/etc/{database}"), LARGEST)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    if let Some(number) = text.lines().find_map(|line| number(line, name)) {
        return Ok(Some(number));
    }
    let asked = place.end(&argv(&["getent", database, name]), &[], Duration::from_secs(10), &mut |_| ());
    Ok(asked.ok().and_then(|done| done.lines.iter().find_map(|line| number(line, name))))
}

/// The number in a line `name:x:1000:…`, of passwd(5) and group(5) alike.
fn number(line: &str, name: &str) -> Option<u32> {
    let mut fields = line.split(':');
    (fields.next()? == name).then_some(())?;
    fields.nth(1)?.parse().ok()
}
