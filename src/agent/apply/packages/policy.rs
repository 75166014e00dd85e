//! Keeps packages from starting their services before their configuration is there.
//!
//! Debian's maintainer scripts ask `/usr/sbin/policy-rc.d` first (invoke-rc.d(8)): 101 means no.

use std::fmt::Write;

/// Where it is asked for.
pub const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Stopping is allowed, and starting of what ran before: a package that is upgraded comes back by itself.
pub fn script(running: &[String]) -> String {
    let mut text = String::from(
        "#!/bin/sh\n# By firstlight while it installs packages; it takes this file away again.\n",
    );
    text.push_str(
        "while [ \"${1#--}\" != \"$1\" ]; do shift; done\ncase \"$2\" in stop|force-stop) exit 0;; esac\n",
    );
    text.push_str("case \"$1\" in\n");
    let plain = |name: &&String| name.chars().all(|c| c.is_ascii_alphanumeric() || ":_.@-".contains(c));
    for name in running.iter().filter(plain) {
        let stem = name.strip_suffix(".service").unwrap_or(name);
        let _never_fails = writeln!(text, "{name}|{stem}) exit 0;;");
    }
    text.push_str("esac\nexit 101\n");
    text
}
