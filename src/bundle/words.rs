//! The small languages within a manifest: names, versions, paths, modes, units, durations.

use crate::model::{BundleName, BundleRef};

/// Names that a template has of its own; no variable may hide them.
pub(super) const RESERVED: &[&str] = &[
    "node",
    "role",
    "appliance",
    "cluster",
    "loop",
    "self",
    "super",
    "caller",
    "range",
    "dict",
    "namespace",
    "debug",
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "endif",
    "for",
    "endfor",
    "set",
    "endset",
    "macro",
    "call",
    "filter",
    "block",
    "with",
    "do",
    "include",
    "import",
    "from",
    "extends",
    "recursive",
    "varargs",
    "kwargs",
    "_",
];

/// What systemd has units of that can be enabled, started or restarted.
const SUFFIXES: &[&str] =
    &["service", "socket", "timer", "mount", "automount", "swap", "target", "path", "slice"];

/// A bundle's name, as everything that is pinned has: a DNS label.
pub(super) fn name(text: &str) -> Result<(), String> {
    let right = text.parse::<BundleName>().is_ok();
    right.then_some(()).ok_or_else(|| {
        "a name has a-z, 0-9 and '-', starts and ends with a letter or digit, and has 63 at most".into()
    })
}

/// A bundle's version, as in `name@version`.
pub(super) fn version(text: &str) -> Result<(), String> {
    let right = format!("x@{text}").parse::<BundleRef>().is_ok();
    right.then_some(()).ok_or_else(|| {
        "a version has letters, digits, '.', '_', '+' and '-', starts with none of '.' and '-', and has 64 at most".into()
    })
}

/// A variable's name: `[a-z_][a-z0-9_]{0,62}` and none that templates have already.
pub(super) fn variable(text: &str) -> Result<(), String> {
    if RESERVED.contains(&text) {
        return Err("templates have something of that name already; take another".into());
    }
    let right = text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    right.then_some(()).ok_or_else(|| {
        "a variable's name has a-z, 0-9 and '_', starts with a letter, and has 63 at most".into()
    })
}

/// A path on the node: absolute, one spelling only, and nothing that the kernel keeps.
pub(super) fn path(text: &str) -> Result<(), String> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err("it must be absolute: start it with '/'".into());
    };
    if text.len() > 1024 || rest.split('/').any(|part| part.len() > 255) {
        return Err("it is too long: 1024 bytes at most, and 255 for each part".into());
    }
    if text.chars().any(char::is_control) {
        return Err("it has a control character".into());
    }
    match rest.split('/').find(|part| matches!(*part, "" | "." | "..")) {
        Some("") => return Err("it has an empty part: no '//' and no '/' at its end".into()),
        Some(part) => return Err(format!("it may not have '{part}': write the path without it")),
        None => {}
    }
    let kernels = ["/proc", "/sys", "/dev"].into_iter().find(|kept| text == *kept || is_below(text, kept));
    if let Some(kept) = kernels {
        return Err(format!("{kept} is the kernel's; use a sysctl, a udev rule or a unit instead"));
    }
    let kept = "/run/firstlight";
    if text == kept || is_below(text, kept) {
        Err(format!("{kept} is the agent's own; take another folder of /run"))
    } else {
        Ok(())
    }
}

/// Whether `path` lies somewhere below `folder`.
pub(super) fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// A path within the bundle's folder.
pub(super) fn source(text: &str) -> Result<(), String> {
    if text.starts_with('/') {
        return Err("it must be relative to the bundle's folder".into());
    }
    if text.len() > 255 || text.is_empty() {
        return Err("it must have between 1 and 255 bytes".into());
    }
    if text.chars().any(|c| c.is_control() || c == '\\') {
        return Err("it has a control character or a '\\'".into());
    }
    match text.split('/').find(|part| part.is_empty() || part.starts_with('.')) {
        Some("..") => Err("it leaves the bundle's folder: no '..'".into()),
        Some(_) => {
            Err("it has an empty part, or one that starts with '.'; such files are not taken along".into())
        }
        // What ustar cannot hold is said when the folder is read, not when it is packed.
        None => tar::Header::new_ustar().set_path(text).map_err(|_| {
            "it is too long: a file's name has 100 bytes at most, the folders before it 155".to_owned()
        }),
    }
}

/// A unit: `NAME.SUFFIX`.
pub(super) fn unit(text: &str) -> Result<(), String> {
    let Some((stem, suffix)) = text.rsplit_once('.').filter(|(_, suffix)| SUFFIXES.contains(suffix)) else {
        return Err(format!("a unit's name ends in one of .{}", SUFFIXES.join(", .")));
    };
    let right = !stem.is_empty()
        && !stem.starts_with(['@', '-', '.'])
        && text.len() <= 255
        && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b));
    right
        .then_some(())
        .ok_or_else(|| format!("what stands before .{suffix} has letters, digits and : - _ . \\ @ only"))
}

/// A command line: words and bytes of each are bounded, and the first names a program.
pub(super) fn argv(words: &[String]) -> Result<(), String> {
    const WORDS: usize = 256;
    const BYTES: usize = 32 << 10;
    if words.first().is_none_or(|word| word.trim().is_empty()) {
        return Err("its first word is blank, and has to name a program; /bin/true does nothing".into());
    }
    if words.len() > WORDS || words.iter().any(|word| word.len() > BYTES) {
        return Err(format!(
            "{WORDS} words are the most, and {BYTES} bytes of each; put the rest into a file"
        ));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err("a word has a zero byte".into());
    }
    Ok(())
}

/// Where TCP is connected to: `ADDRESS:PORT`.
pub(super) fn address(text: &str) -> Result<(), String> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let port = parts.and_then(|(_, port)| port.parse::<u16>().ok()).unwrap_or_default();
    if port == 0 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it is not ADDRESS:PORT, such as 127.0.0.1:2379".into());
    }
    Ok(())
}

/// What a check asks for: an address that starts with `http://`.
pub(super) fn url(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("http://").filter(|rest| !rest.is_empty() && !rest.starts_with('/'));
    if rest.is_none() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it is no address that starts with http://, such as http://127.0.0.1:2379/health".into());
    }
    Ok(())
}

/// Whether a unit is the pattern of others: `NAME@.SUFFIX`.
pub(super) fn is_unit_template(unit: &str) -> bool {
    unit.rsplit_once('.').is_some_and(|(stem, _)| stem.ends_with('@'))
}

/// Permission bits: three or four octal digits; told with four.
pub(super) fn mode(text: &str) -> Result<String, String> {
    if !matches!(text.len(), 3 | 4) || !text.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        return Err("a mode is three or four octal digits in quotes, such as \"0644\"".into());
    }
    Ok(format!("{text:0>4}"))
}

/// A user or group: what `useradd` takes, or a number.
pub(super) fn account(text: &str) -> Result<(), String> {
    let right = text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-$".contains(&b));
    right
        .then_some(())
        .ok_or_else(|| "a user or group has letters, digits, '_', '.' and '-', 32 at most".into())
}

/// A package's name as apt or dnf has it.
pub(super) fn package(text: &str) -> Result<(), String> {
    let right = text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b));
    right
        .then_some(())
        .ok_or_else(|| "a package's name has letters, digits and . _ + - only, no architecture".into())
}

/// An exact version of a package, as apt or dnf has it.
pub(super) fn package_version(text: &str) -> Result<(), String> {
    let right = text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+:~^-".contains(&b));
    right.then_some(()).ok_or_else(|| "a package's version has letters, digits and . _ + : ~ ^ - only".into())
}

/// The name of a service, as DNS SRV has it (RFC 6335 section 5.1): 1 to 63 of letters, digits and '-'.
pub(super) fn service(text: &str) -> Result<(), String> {
    let right = (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    right
        .then_some(())
        .ok_or_else(|| "a service's name has a-z, 0-9 and '-', and neither starts nor ends with '-'".into())
}

/// A duration in whole seconds, between 1 and `most`: `5s`, `2m`, `1h`.
pub(super) fn seconds(text: &str, most: u32) -> Result<u32, String> {
    let wrong = || format!("a duration is a whole number and s, m or h, such as \"5s\", and {most}s at most");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err(wrong()),
    };
    let number = text.get(..text.len() - 1).filter(|number| number.bytes().all(|b| b.is_ascii_digit()));
    number
        .and_then(|number| number.parse::<u32>().ok())
        .and_then(|number| number.checked_mul(unit))
        .filter(|seconds| (1..=most).contains(seconds))
        .ok_or_else(wrong)
}

/// Whether a text is a template: it has something to fill in.
pub(super) fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
}
