//! `zonectl shutdown`

use zone_api::Shutdown;

use super::{Context, Done};

/// Ask the init of a zone to end it, and wait
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl shutdown payroll
  zonectl shutdown payroll -r -t 60
  zonectl shutdown --all")]
pub(crate) struct Args {
    /// Zone
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// Every running zone, each before those that it is booted after
    #[arg(short, long)]
    all: bool,
    /// Boot it again afterwards
    #[arg(short, long, conflicts_with = "all")]
    reboot: bool,
    /// Seconds before it is halted
    #[arg(short, long, value_name = "SEC")]
    timeout: Option<u32>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let how = Shutdown { reboot: args.reboot, timeout: args.timeout };
    let Some(name) = &args.name else {
        context.client.shutdown_all(&how)?;
        if context.output.is_json() {
            context.output.document(&context.client.zones(true)?)?;
        }
        return Ok(0);
    };
    context.client.shutdown(name, &how)?;
    context.zone(name)
}
