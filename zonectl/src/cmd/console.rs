//! `zonectl console`

use super::{Context, Done};
use crate::session;

/// Use the console of a zone, through its reboots
///
/// ~. at the beginning of a line leaves, ~~ there is one ~. Where stdin is no terminal it is typed as it comes; at
/// its end the console is still read, until the zone ends, a line begins with ~. or a signal comes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl console payroll
  printf 'root\\n' | timeout 10 zonectl console payroll")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Take ~ as any other character
    #[arg(short = 'E', long)]
    no_escape: bool,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let session = context.client.console(&args.name)?;
    let what = format!("console {}", args.name);
    session::console(&what, session, context.output.is_quiet(), !args.no_escape)
}
