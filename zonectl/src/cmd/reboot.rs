//! `zonectl reboot`

use super::{Context, Done};

/// Halt a zone and boot it again
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zonectl reboot payroll")]
pub(crate) struct Args {
    /// Zone
    name: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    context.client.reboot(&args.name)?;
    context.zone(&args.name)
}
