//! `zonectl login`

use super::{Context, Done};
use crate::session::{self, Pty, Stdout};

/// Run a program in a running zone; without one, the user's login shell
///
/// On a terminal the program gets a pty. Where stdin or stdout is no terminal, stdin, stdout and stderr are
/// three pipes, and SIGINT, SIGTERM, SIGHUP and SIGQUIT go to the program. The exit status is the
/// program's own; 128+N when signal N ended it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl login payroll
  zonectl login payroll -u anna -- id
  zonectl login payroll tar -c -C /etc . > etc.tar
  zonectl login payroll < script.sh")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// User in the zone [default: root]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Use a pty in any case
    #[arg(short = 't', long = "tty", overrides_with = "no_tty")]
    tty: bool,
    /// Use no pty in any case
    #[arg(short = 'T', long = "no-tty", overrides_with = "tty")]
    no_tty: bool,
    /// Program and its arguments
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: Args, context: &Context<'_>) -> Done {
    let Args { name, user, tty, no_tty, command } = args;
    let pty = match (tty, no_tty) {
        (true, _) => Pty::Always,
        (_, true) => Pty::Never,
        _ => Pty::Fitting,
    };
    let login = session::request(user, command, pty);
    let mut session = context.client.login(&name, &login)?;
    let end = session::program(&format!("login {name}"), &mut session, login.tty.is_some(), Stdout::Ours)?;
    Ok(end.status)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn parsed(words: &[&str]) -> Args {
        let words = [&["zonectl", "login"], words].concat();
        match crate::Cli::try_parse_from(words).unwrap().verb {
            crate::cmd::Verb::Login(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_after_the_program_are_its_own() {
        let args = parsed(&["z", "-u", "anna", "ls", "-la", "--user", "x", "--", "y"]);
        assert_eq!(args.user.as_deref(), Some("anna"));
        assert_eq!(args.command, ["ls", "-la", "--user", "x", "--", "y"]);
        assert_eq!(parsed(&["z", "--", "-t"]).command, ["-t"]);
        assert_eq!(parsed(&["-u", "anna", "z"]).command, [""; 0]);
    }
}
