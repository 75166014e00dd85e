//! The entry: what was typed, a runtime that fits it, and an exit code.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use firstlight::agent;
use firstlight::cli::args::{Agent, Cli, Command};
use firstlight::cli::{self, CliError};
use firstlight::config::{Config, LogFormat};
use firstlight::serve;
use tracing_subscriber::EnvFilter;

/// A DHCP exchange is hundreds of small allocations on several threads: with the C library's allocator they are a fifth of its time. Without
/// huge pages: zeroing two megabytes at a time keeps the one writer, and all who wait for it, for longer than a commit.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long work beside the services may go on once they have ended.
const LAST_WORK: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    if agent::init::is_init() {
        agent::init::run();
    }
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // As a shell reports a program that SIGPIPE ended.
        Err(CliError::BrokenPipe) => ExitCode::from(141),
        Err(error) => {
            for line in error.lines() {
                // Standard error may be closed: no reason to panic.
                let _ = writeln!(std::io::stderr(), "firstlight: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    let mut runtime = if matches!(cli.command, Command::Serve { .. }) {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime =
        runtime.enable_all().build().map_err(|error| CliError::Local(format!("cannot start: {error}")))?;
    if matches!(cli.command, Command::Agent(Agent::Run { .. })) {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    }
    let Command::Serve { config, state_dir } = cli.command else {
        return runtime.block_on(cli::run(cli));
    };
    let mut config = Config::read(&config)?;
    if let Some(state_dir) = state_dir {
        config.state_dir = state_dir;
    }
    log(&config)?;
    let served = runtime.block_on(serve::run(config));
    // What was acknowledged is durable by now; a key that is being made must not hold up the end.
    runtime.shutdown_timeout(LAST_WORK);
    Ok(served?)
}

/// Sends log lines to standard error: for people, or one JSON object each. `RUST_LOG` beats the configuration.
fn log(config: &Config) -> Result<(), CliError> {
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| config.log_level.clone());
    let filter = EnvFilter::try_new(&level).map_err(|error| {
        CliError::Local(format!("log.level: '{level}' is not a filter ({error}); use info or debug"))
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
