//! Hooks and playbooks: what bundles run on the way.

use std::path::PathBuf;
use std::time::Duration;

use super::check::decode;
use super::desired::Playbook;
use super::error::{Error, Result};
use super::host::Host;
use super::log::Lines;
use super::process::argv;
use super::root::New;

/// Longest of a hook.
const HOOK: Duration = Duration::from_secs(5 * 60);
/// Longest of a playbook.
const PLAYBOOK: Duration = Duration::from_secs(60 * 60);
/// Where a playbook lies while it runs.
const FOLDER: &str = "/var/lib/firstlight/playbook";

/// Runs a hook, where there is one; each line it writes goes to the log.
pub(super) fn run(
    host: &Host,
    lines: &mut Lines<'_>,
    bundle: &str,
    hook: &str,
    argv: &[String],
) -> Result<()> {
    if argv.is_empty() {
        return Ok(());
    }
    lines.say(bundle, hook, &format!("runs {}", argv.join(" ")));
    let what = format!("hook `{hook}` ({})", argv.join(" "));
    let environment = [("FIRSTLIGHT_BUNDLE", bundle), ("FIRSTLIGHT_HOOK", hook)];
    let done = host.place.end(argv, &environment, HOOK, &mut |line| lines.say(bundle, hook, line))?;
    done.good(&what).map(drop)
}

/// Runs a playbook on this host.
pub(super) fn play(host: &Host, lines: &mut Lines<'_>, bundle: &str, playbook: &Playbook) -> Result<()> {
    let places = ["/usr/bin/ansible-playbook", "/usr/local/bin/ansible-playbook", "/bin/ansible-playbook"];
    let mut there = false;
    for path in places {
        there |= host.root.look(path)?.is_some();
    }
    if !there {
        let why = "needs ansible-playbook, which this host does not have: add the package ansible-core (or ansible) to the bundle";
        return Err(Error::Plain(format!("playbook {} {why}", playbook.playbook)));
    }
    clear(host)?;
    let played = play_here(host, lines, bundle, playbook);
    clear(host)?;
    played
}

fn play_here(host: &Host, lines: &mut Lines<'_>, bundle: &str, playbook: &Playbook) -> Result<()> {
    for (path, content) in &playbook.files {
        host.root.put(&format!("{FOLDER}/files/{path}"), New::File(&decode(path, content)?, 0o700), 0, 0)?;
    }
    let variables = serde_json::to_vec(&playbook.variables).map_err(|_| {
        Error::Plain(format!("the variables of playbook {} can't be written", playbook.playbook))
    })?;
    host.root.put(&format!("{FOLDER}/variables.json"), New::File(&variables, 0o600), 0, 0)?;
    let command = argv(&[
        "ansible-playbook",
        "-c",
        "local",
        "-i",
        "localhost,",
        "-e",
        &format!("@{FOLDER}/variables.json"),
        &format!("{FOLDER}/files/{}", playbook.playbook),
    ]);
    lines.say(bundle, "ansible", &format!("plays {}", playbook.playbook));
    let environment = [
        ("ANSIBLE_NOCOLOR", "1"),
        ("ANSIBLE_RETRY_FILES_ENABLED", "0"),
        ("ANSIBLE_PYTHON_INTERPRETER", "auto_silent"),
    ];
    let done =
        host.place.end(&command, &environment, PLAYBOOK, &mut |line| lines.say(bundle, "ansible", line))?;
    done.good(&format!("playbook {}", playbook.playbook)).map(drop)
}

/// Takes the folder away; a former run may have been cut off.
fn clear(host: &Host) -> Result<()> {
    let Ok(inside) = std::path::Path::new(FOLDER).strip_prefix("/") else { return Ok(()) };
    if host.root.look(FOLDER)?.is_none() {
        return Ok(());
    }
    let path: PathBuf = host.root.path().join(inside);
    std::fs::remove_dir_all(&path).map_err(Error::file(&path.display().to_string(), "take it away"))
}
