//! Completion scripts and man pages.

use std::io::Write;

use clap::CommandFactory;

use super::super::CliError;
use super::super::args::Cli;

pub fn completions(shell: clap_complete::Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "firstlight", &mut script);
    let mut out = std::io::stdout().lock();
    out.write_all(&script)?;
    Ok(out.flush()?)
}

pub fn man(dir: Option<&std::path::Path>) -> Result<(), CliError> {
    let command = Cli::command();
    if let Some(dir) = dir {
        let failed =
            |error| CliError::Local(format!("cannot write man pages into {}: {error}", dir.display()));
        std::fs::create_dir_all(dir).map_err(failed)?;
        return clap_mangen::generate_to(command, dir).map_err(failed);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    let mut out = std::io::stdout().lock();
    out.write_all(&page)?;
    Ok(out.flush()?)
}
