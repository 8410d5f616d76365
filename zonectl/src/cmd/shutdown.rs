//! `zonectl shutdown`

use zone_api::Shutdown;

use super::{Context, Done};

/// Ask the init of a zone to end it, and wait
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl shutdown payroll
  zonectl shutdown payroll -r -t 60")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Boot it again afterwards
    #[arg(short, long)]
    reboot: bool,
    /// Seconds before it is halted
    #[arg(short, long, value_name = "SEC")]
    timeout: Option<u32>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    context.client.shutdown(&args.name, &Shutdown { reboot: args.reboot, timeout: args.timeout })?;
    context.zone(&args.name)
}
