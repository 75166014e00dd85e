//! What a node needs to know to use the repositories: files for apt and dnf.

use thiserror::Error;

use super::names::Name;

/// Where apt's file belongs.
pub const APT_PATH: &str = "/etc/apt/sources.list.d/firstlight.sources";
/// Where dnf's file belongs.
pub const DNF_PATH: &str = "/etc/yum.repos.d/firstlight.repo";
/// Where the public key belongs for dnf.
pub const DNF_KEY_PATH: &str = "/etc/pki/rpm-gpg/RPM-GPG-KEY-firstlight";

/// Why no file can be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SourcesError {
    /// Not a base URL.
    #[error("{0:?} is no base URL; give one such as http://192.0.2.1/packages, without blanks")]
    Url(String),
    /// Not a path.
    #[error("{0:?} is no absolute path without blanks")]
    Path(String),
    /// Not a key.
    #[error("the public key is no armored OpenPGP key")]
    Key,
}

/// How apt knows the key. The text within the file needs apt 2.3.10 (Debian 12, Ubuntu 22.04).
#[derive(Debug, Clone, Copy)]
pub enum SignedBy<'a> {
    /// The armored key, written into the file.
    Inline(&'a str),
    /// A file on the node.
    File(&'a str),
}

/// The text of [`APT_PATH`] (deb822 style, sources.list(5)). `base` is the URL of `/packages`.
pub fn apt(
    base: &str,
    suites: &[Name],
    components: &[Name],
    signed_by: SignedBy<'_>,
) -> Result<String, SourcesError> {
    apt_at(&format!("{}/apt", checked_base(base)?), suites, components, signed_by)
}

/// The same for a mirror of a distribution, signed by the distribution's key.
pub fn apt_mirror(
    base: &str,
    mirror: &Name,
    suites: &[Name],
    components: &[Name],
    signed_by: SignedBy<'_>,
) -> Result<String, SourcesError> {
    apt_at(&format!("{}/mirror/{mirror}", checked_base(base)?), suites, components, signed_by)
}

fn apt_at(
    url: &str,
    suites: &[Name],
    components: &[Name],
    signed_by: SignedBy<'_>,
) -> Result<String, SourcesError> {
    let join = |names: &[Name]| names.iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
    let signed_by = match signed_by {
        SignedBy::File(path) => format!(" {}", checked_path(path)?),
        SignedBy::Inline(key) => {
            let armored = key.trim_start().starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----");
            if !armored || key.chars().any(|c| c.is_control() && c != '\n') {
                return Err(SourcesError::Key);
            }
            let line =
                |line: &str| if line.trim().is_empty() { "\n .".to_owned() } else { format!("\n {line}") };
            key.trim().lines().map(line).collect()
        }
    };
    Ok(format!(
        "# Written by firstlight.\nTypes: deb\nURIs: {url}\nSuites: {}\nComponents: {}\nSigned-By:{signed_by}\n",
        join(suites),
        join(components)
    ))
}

/// The text of [`DNF_PATH`]: a section for each component. `base` is the URL of `/packages`, `key_path` the file of
/// the public key on the node. The metadata is signed and holds the digests of the packages, which need not be signed
/// themselves.
pub fn dnf(base: &str, suite: &Name, components: &[Name], key_path: &str) -> Result<String, SourcesError> {
    let (base, key) = (checked_base(base)?, checked_path(key_path)?);
    let section = |component: &Name| {
        format!(
            "[firstlight-{suite}-{component}]\nname=firstlight {suite} {component}\nbaseurl={base}/dnf/{suite}/{component}/\nenabled=1\nrepo_gpgcheck=1\ngpgcheck=0\ngpgkey=file://{key}\nmetadata_expire=60\n"
        )
    };
    let sections: Vec<_> = components.iter().map(section).collect();
    Ok(format!("# Written by firstlight.\n{}", sections.join("\n")))
}

/// The section of a mirror's repository, whose metadata lies in `path/repodata` below the mirror. Its packages are
/// signed by the distribution's key at `key_path`, which is the way of distributions.
pub fn dnf_mirror(base: &str, mirror: &Name, path: &str, key_path: &str) -> Result<String, SourcesError> {
    let key = checked_path(key_path)?;
    let base = checked_base(&format!("{}/mirror/{mirror}/{}", checked_base(base)?, path.trim_matches('/')))?
        .to_owned();
    let id: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Ok(format!(
        "[firstlight-{mirror}-{id}]\nname=firstlight mirror {mirror} {path}\nbaseurl={base}/\nenabled=1\nrepo_gpgcheck=0\ngpgcheck=1\ngpgkey=file://{key}\n",
        id = id.trim_matches('-'),
    ))
}

fn checked_base(base: &str) -> Result<&str, SourcesError> {
    let rest = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://"));
    let fits = |rest: &str| {
        !rest.is_empty()
            && rest.len() < 1024
            && rest.bytes().all(|c| c.is_ascii_graphic() && !b"\"'\\#$%".contains(&c))
    };
    if rest.is_some_and(fits) {
        Ok(base.trim_end_matches('/'))
    } else {
        Err(SourcesError::Url(base.chars().take(120).collect()))
    }
}

/// Whether a key's file on a node can be written into a source.
pub(super) fn is_key_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|c| c.is_ascii_alphanumeric() || b"/._+-".contains(&c))
}

fn checked_path(path: &str) -> Result<&str, SourcesError> {
    if is_key_path(path) { Ok(path) } else { Err(SourcesError::Path(path.chars().take(120).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_for_nodes() {
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<Name>>();
        let key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(
            apt("http://192.0.2.1/packages/", &names(&["bookworm"]), &names(&["main", "lab"]), SignedBy::Inline(key)),
            Ok("# Written by firstlight.\nTypes: deb\nURIs: http://192.0.2.1/packages/apt\nSuites: bookworm\nComponents: main lab\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\n".to_owned())
        );
        let text =
            dnf("https://a.example/packages", &names(&["el9"])[0], &names(&["main"]), DNF_KEY_PATH).unwrap();
        assert!(text.contains("\nbaseurl=https://a.example/packages/dnf/el9/main/\n"), "{text}");
        // dnf takes two repositories of one id for one: that of another suite has another.
        assert!(text.contains("\n[firstlight-el9-main]\n"), "{text}");
        assert!(text.contains(
            "\nrepo_gpgcheck=1\ngpgcheck=0\ngpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-firstlight\n"
        ));
        let mirror = &names(&["rocky"])[0];
        let text = dnf_mirror("http://a/packages", mirror, "9/BaseOS/x86_64/os", "/etc/key").unwrap();
        assert!(text.starts_with("[firstlight-rocky-9-BaseOS-x86-64-os]\n"), "{text}");
        assert!(text.contains("\nbaseurl=http://a/packages/mirror/rocky/9/BaseOS/x86_64/os/\n"), "{text}");
        let text =
            apt_mirror("http://a/packages", mirror, &names(&["a"]), &names(&["main"]), SignedBy::File("/k"));
        assert!(text.unwrap().contains("\nURIs: http://a/packages/mirror/rocky\n"));
        for base in ["", "ftp://a/", "http://", "http://a b/", "http://a/\nTrusted: yes"] {
            assert!(
                matches!(dnf(base, &names(&["el9"])[0], &[], DNF_KEY_PATH), Err(SourcesError::Url(_))),
                "{base:?}"
            );
        }
    }
}
