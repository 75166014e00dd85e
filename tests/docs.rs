//! Completion scripts in a real bash, man pages in a real man.

use std::path::Path;
use std::process::Command;

fn firstlight() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_firstlight"))
}

#[test]
fn they_load_and_have_no_warnings() {
    let folder = tempfile::tempdir().expect("a folder");
    // The words typed so far; what bash offers for the last.
    for (words, offered) in [
        ("firstlight node ap", "approve"),
        ("firstlight image re", "remove"),
        ("firstlight node list --state re", "ready reloading retiring retired"),
        ("firstlight node timeline --f", "--follow"),
        ("firstlight node list --output y", "yaml"),
    ] {
        let script = format!(
            "source <({} completions bash) && COMP_WORDS=({words}) && COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) && \
             _firstlight firstlight \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\" && echo \"${{COMPREPLY[*]}}\"",
            firstlight().display()
        );
        let output = Command::new("bash").args(["-c", &script]).output().expect("run bash");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), offered, "{words}: {output:?}");
    }
    for shell in ["zsh", "fish"] {
        let output = Command::new(firstlight()).args(["completions", shell]).output().expect("run the CLI");
        assert!(output.status.success() && output.stdout.len() > 1000, "{shell}");
    }
    let status = Command::new(firstlight()).arg("man").arg(folder.path()).status().expect("run the CLI");
    assert!(status.success());
    let pages: Vec<_> = std::fs::read_dir(folder.path())
        .expect("read")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(pages.len() > 20, "{} pages", pages.len());
    for page in pages {
        let output = Command::new("man")
            .args(["--warnings", "-l"])
            .arg(&page)
            .env("MANPAGER", "cat")
            .output()
            .expect("run man");
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
    }
}
