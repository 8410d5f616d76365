#![forbid(unsafe_code)]
//! zonectl, the command line of zoned: it reads words, asks the API, and prints what comes back.

mod cmd;
mod failure;
mod output;
mod progress;
mod session;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use zone_api::client::{Client, DEFAULT_SOCKET};
use zone_api::{ApiError, ErrorKind};

use crate::output::Output;

/// Administer zones: old and new userlands that run beside the host's own on its kernel.
#[derive(Debug, Parser)]
#[command(
    name = "zonectl",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:
  zonectl create payroll kernel=2.6.18
  zonectl install payroll tar:centos5-i386.tar.xz
  zonectl boot payroll
  zonectl login payroll
  zonectl run --kernel 2.6.18 -- uname -r

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such zone, 4 wrong state for this,
5 zoned not reachable, 6 not permitted. login and run give the program's own status,
128+N for signal N."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: cmd::Verb,
}

/// Options that every verb takes, before or after it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every verb")]
struct Global {
    /// Socket of zoned [default: ZONED_SOCKET, else /run/zoned/zoned.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print one JSON document on stdout
    #[arg(long, global = true)]
    json: bool,
    /// Print only what was asked for, and errors
    #[arg(short, long, global = true)]
    quiet: bool,
}

impl Global {
    fn client(&self) -> Client {
        let named = || std::env::var_os("ZONED_SOCKET").filter(|s| !s.is_empty()).map(PathBuf::from);
        Client::new(self.socket.clone().or_else(named).unwrap_or_else(|| DEFAULT_SOCKET.into()))
    }
}

/// The same with the verbs alone whose programs somebody waits for: building all the others takes a tenth of such a call.
#[derive(Debug, Parser)]
struct Brief {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: cmd::Brief,
}

/// The command line; what is wrong with it, all of [`Cli`] says.
fn words() -> Result<Cli, clap::Error> {
    if std::env::args_os().nth(1).is_some_and(|word| word == "run" || word == "login")
        && let Ok(Brief { global, verb }) = Brief::try_parse()
    {
        return Ok(Cli { global, verb: verb.into() });
    }
    Cli::try_parse()
}

fn main() -> ExitCode {
    let cli = match words() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(cli.global.json, cli.global.quiet);
    let status = match cli.verb.run(&cmd::Context { client: cli.global.client(), output: &output }) {
        Ok(status) => status,
        Err(failure) => output.failure(&failure),
    };
    ExitCode::from(status)
}

/// What clap says about the words; help and version are no errors.
fn usage(error: &clap::Error) -> ExitCode {
    // A reader that went away (`zonectl help | head -1`) has seen what it wanted.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let ours = std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json");
    if ours {
        let text = error.to_string();
        let why = text.lines().next().unwrap_or("").trim_start_matches("error: ");
        let error = ApiError::new(ErrorKind::Invalid, "read the command line", why);
        Output::new(true, true).error_document(&error);
    }
    ExitCode::from(ErrorKind::Invalid.exit_code())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_verb_has_an_example() {
        Cli::command().debug_assert();
        let mut command = Cli::command();
        command.build();
        for verb in command.get_subcommands().filter(|v| v.get_name() != "help") {
            let example = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(example.contains(&format!("zonectl {}", verb.get_name())), "{}", verb.get_name());
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_verb() {
        for words in [["zonectl", "--json", "list"], ["zonectl", "list", "--json"]] {
            assert!(Cli::try_parse_from(words).unwrap().global.json);
        }
        let cli = Cli::try_parse_from(["zonectl", "login", "z", "ls", "--json"]).unwrap();
        assert!(!cli.global.json, "words of the program are its own");
    }
}
