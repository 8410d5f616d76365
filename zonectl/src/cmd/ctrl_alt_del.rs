//! `zonectl ctrl-alt-del`

use super::{Context, Done};

/// Press Ctrl-Alt-Del in a zone
///
/// Its init gets SIGINT, as from a kernel, and does what its inittab or units say: mostly it reboots. It is not waited for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zonectl ctrl-alt-del payroll")]
pub(crate) struct Args {
    /// Zone
    name: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    context.client.ctrl_alt_del(&args.name)?;
    context.zone(&args.name)
}
