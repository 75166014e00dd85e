//! The rules that values from the appliance keep: paths, names, command lines.

use std::collections::BTreeMap;
use std::path::Path;

use super::check::CheckedFile;
use super::error::{Error, Result};

/// Words of one command line, and bytes of each.
const WORDS: (usize, usize) = (256, 32 << 10);
/// Ends of unit names (systemd.unit(5)) that a bundle may bring.
const UNIT_KINDS: [&str; 8] = ["service", "socket", "timer", "path", "mount", "target", "slice", "automount"];
/// Trees that are no files of the host.
const FOREIGN: [&str; 4] = ["/proc", "/sys", "/dev", "/run/firstlight"];

/// Absolute, normal, and a place where files may be.
pub(super) fn path_allowed(path: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::refused(format!("file path `{}`", path.escape_debug()), why));
    let parts = path.strip_prefix('/').unwrap_or_default();
    if parts.is_empty() || path.len() > 4000 {
        return refuse("must be absolute, like /etc/default/etcd");
    }
    if parts.split('/').any(|part| part.is_empty() || part == "." || part == ".." || part.len() > 255) {
        return refuse("must be normal: no empty part, no `.` or `..`, no slash at the end");
    }
    if path.contains(|c: char| c.is_control()) {
        return refuse("has a control character");
    }
    if FOREIGN
        .iter()
        .any(|tree| path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    {
        return refuse("lies where no files of the host are");
    }
    Ok(())
}

/// No path twice, none below another.
pub(super) fn apart(files: &[CheckedFile]) -> Result<()> {
    let mut paths = BTreeMap::new();
    for file in files {
        if let Some(other) = paths.insert(file.path.as_str(), file.bundle.as_str()) {
            let both = format!("is brought by both {other} and {}", file.bundle);
            return Err(Error::refused(format!("file {}", file.path), both));
        }
    }
    for file in files {
        let mut above = Path::new(&file.path).parent();
        while let Some(folder) = above {
            if paths.contains_key(folder.to_string_lossy().as_ref()) {
                return Err(Error::refused(
                    format!("file {}", file.path),
                    format!("lies below {}, a file", folder.display()),
                ));
            }
            above = folder.parent();
        }
    }
    Ok(())
}

pub(super) fn few(count: usize, most: usize, what: &str) -> Result<()> {
    if count <= most {
        Ok(())
    } else {
        Err(Error::refused(format!("{count} {what}"), format!("are more than {most}")))
    }
}

/// Letters, digits and `more`; not empty, does not start like an option.
pub(super) fn word(text: &str, what: &str, more: &str, longest: usize) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    if text.is_empty() || text.len() > longest || !text.chars().all(good) || text.starts_with(['-', '.']) {
        let why = format!(
            "may have letters, digits and {more} only, {longest} at most, and starts with none of `-` and `.`"
        );
        return Err(Error::refused(format!("{what} `{}`", text.escape_debug()), why));
    }
    Ok(())
}

pub(super) fn unit_name(name: &str) -> Result<()> {
    word(name, "unit", ":_.@\\-", 255)?;
    match name.rsplit_once('.') {
        Some((_, kind)) if UNIT_KINDS.contains(&kind) => Ok(()),
        _ => Err(Error::refused(
            format!("unit `{name}`"),
            format!("must end in one of .{}", UNIT_KINDS.join(", .")),
        )),
    }
}

pub(super) fn words(argv: &[String]) -> Result<()> {
    let long = argv.len() > WORDS.0 || argv.iter().any(|word| word.len() > WORDS.1 || word.contains('\0'));
    let blank = argv.first().is_some_and(String::is_empty);
    if long || blank {
        Err(Error::refused("a command line", "is empty in front, or too long"))
    } else {
        Ok(())
    }
}
