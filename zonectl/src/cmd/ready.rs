//! `zonectl ready`

use zone_api::Boot;

use super::{Context, Done};

/// Make the platform of a zone and start nothing in it
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  zonectl ready payroll")]
pub(crate) struct Args {
    /// Zone
    name: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    context.client.ready(&args.name, &Boot::default())?;
    context.zone(&args.name)
}
