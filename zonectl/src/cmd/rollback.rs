//! `zonectl rollback`

use super::{Context, Done};
use crate::words::Snap;

/// Give a zone the root that it had at a snapshot
///
/// What the zone wrote since is gone, unless another snapshot has it; all snapshots stay. A zone that runs is halted, and booted
/// again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  zonectl rollback payroll@before-upgrade")]
pub(crate) struct Args {
    /// Zone and name of the snapshot
    #[arg(value_name = "NAME@SNAP")]
    snap: Snap,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    context.client.rollback(&args.snap.zone, &args.snap.name)?;
    context.zone(&args.snap.zone)
}
