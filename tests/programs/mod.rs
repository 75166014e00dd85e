//! Programs that a test runs and that must succeed, and folders that test programs share.
#![allow(dead_code, reason = "each test uses its part")]

use std::fs::File;
use std::path::Path;
use std::process::Command;

/// Runs a command; its standard output. Panics with what it said unless it succeeds.
pub fn ok(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {}{text}", String::from_utf8_lossy(&output.stderr));
    text
}

/// [`ok`] for a program of this host and its words.
pub fn run(program: &str, words: &[&str]) -> String {
    ok(Command::new(program).args(words))
}

/// Keeps other test programs out of a folder that they share, which is made when it is not there, until the answer is dropped.
pub fn alone_in(folder: &Path) -> File {
    std::fs::create_dir_all(folder).expect("make the folder");
    let lock = File::create(folder.join("lock")).expect("a lock");
    lock.lock().expect("lock it");
    lock
}
