//! The index as text: one line a fact, so that a person can read it in a broken ramdisk.
//!
//! ```text
//! firstlight-modules 1
//! release 6.1.0
//! builtin vfat
//! module sd_mod lib/modules/6.1.0/kernel/drivers/scsi/sd_mod.ko
//! depends scsi_mod
//! before crc32c
//! after x
//! alias scsi:t_0x00*
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;

use thiserror::Error;

use super::index::{Index, Module};

/// The first line; another number is another format.
const HEADER: &str = "firstlight-modules 1";
/// An index may have this many bytes.
pub const LONGEST_INDEX: u64 = 64 << 20;

/// Why an index is not read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IndexError {
    /// It is too long.
    #[error("the module index has {0} bytes, more than {LONGEST_INDEX}; build the ramdisk anew")]
    Long(usize),
    /// It begins otherwise.
    #[error("the module index does not begin with `{HEADER}`; build the ramdisk anew with this version")]
    Header,
    /// A line is not understood.
    #[error("line {number} of the module index is wrong: `{line}`; build the ramdisk anew")]
    Line {
        /// Counted from 1.
        number: usize,
        /// The line, shortened.
        line: String,
    },
}

/// Writes `index`. A name with white space in it, which no kernel has, is left out.
pub fn write(index: &Index) -> String {
    let sound = |name: &&String| !name.is_empty() && !name.contains(char::is_whitespace);
    let mut text = format!("{HEADER}\nrelease {}\n", index.release());
    for name in index.builtin().iter().filter(sound) {
        let _ = writeln!(text, "builtin {name}");
    }
    for module in index.modules().iter().filter(|module| sound(&&module.name)) {
        let _ = writeln!(text, "module {} {}", module.name, module.path);
        for (key, names) in
            [("depends", &module.depends), ("before", &module.before), ("after", &module.after)]
        {
            for name in names.iter().filter(sound) {
                let _ = writeln!(text, "{key} {name}");
            }
        }
        for alias in module.aliases.iter().filter(|alias| !alias.is_empty() && !alias.contains('\n')) {
            let _ = writeln!(text, "alias {alias}");
        }
    }
    text
}

/// Reads what [`write`] wrote.
pub fn parse(text: &str) -> Result<Index, IndexError> {
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > LONGEST_INDEX {
        return Err(IndexError::Long(text.len()));
    }
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, line)| line) != Some(HEADER) {
        return Err(IndexError::Header);
    }
    let (mut release, mut builtin) = (String::new(), BTreeSet::new());
    let mut modules: Vec<Module> = Vec::new();
    for (number, line) in lines {
        let wrong = || IndexError::Line { number: number + 1, line: line.chars().take(80).collect() };
        let (key, value) = line.split_once(' ').ok_or_else(wrong)?;
        let list = match (key, modules.last_mut()) {
            ("release", _) => {
                value.clone_into(&mut release);
                continue;
            }
            ("builtin", _) => {
                builtin.insert(value.to_owned());
                continue;
            }
            ("module", _) => {
                let (name, path) = value.split_once(' ').ok_or_else(wrong)?;
                if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                    return Err(wrong());
                }
                modules.push(Module { name: name.into(), path: path.into(), ..Module::default() });
                continue;
            }
            ("depends", Some(module)) => &mut module.depends,
            ("before", Some(module)) => &mut module.before,
            ("after", Some(module)) => &mut module.after,
            ("alias", Some(module)) => &mut module.aliases,
            _ => return Err(wrong()),
        };
        list.push(value.to_owned());
    }
    Ok(Index::new(&release, modules, builtin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_survives_being_written_and_read() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let modules = vec![
            Module {
                name: "ext4".into(),
                path: "lib/modules/6.1.0/kernel/fs/ext4/ext4.ko".into(),
                depends: words(&["jbd2"]),
                before: words(&["crc32c"]),
                after: words(&["x"]),
                aliases: words(&["fs_ext4", "dmi:*:svnA B:*"]),
            },
            Module { name: "jbd2".into(), path: "lib/jbd2.ko".into(), ..Module::default() },
        ];
        let index = Index::new("6.1.0", modules, words(&["vfat"]).into_iter().collect());
        let text = write(&index);
        let read = parse(&text).expect("our own index");
        assert_eq!(read.modules(), index.modules());
        assert_eq!(read.builtin(), index.builtin());
        assert_eq!(read.release(), "6.1.0");
        assert_eq!(write(&read), text);
    }

    #[test]
    fn a_broken_index_is_refused_with_the_line() {
        for (name, text, error) in [
            ("empty", "", "does not begin"),
            ("another version", "firstlight-modules 2\n", "does not begin"),
            ("an alias of nothing", "firstlight-modules 1\nalias x\n", "line 2"),
            ("an unknown word", "firstlight-modules 1\nrelease 6\nmodul x y\n", "line 3"),
            ("a module without a file", "firstlight-modules 1\nmodule x\n", "line 2"),
            ("a way out of the ramdisk", "firstlight-modules 1\nmodule x lib/../../etc/x\n", "line 2"),
            ("an absolute file", "firstlight-modules 1\nmodule x /etc/x\n", "line 2"),
        ] {
            let told = parse(text).expect_err(name).to_string();
            assert!(told.contains(error), "{name}: {told}");
        }
    }
}
