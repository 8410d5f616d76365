//! `zonectl halt`

use super::{Context, Done};

/// End a zone at once
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zonectl halt payroll")]
pub(crate) struct Args {
    /// Zone
    name: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    context.client.halt(&args.name)?;
    context.zone(&args.name)
}
