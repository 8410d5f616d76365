//! `zonectl snapshot`

use super::{Context, Done};
use crate::words::Snap;

/// Keep the root of a zone as it is now under a name, or forget such a snapshot
///
/// A zone that runs is held still for a moment, which is told. The snapshot holds what a power cut at that moment would have
/// left, and takes no room but for what changes afterwards.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl snapshot payroll@before-upgrade
  zonectl snapshot -d payroll@before-upgrade")]
pub(crate) struct Args {
    /// Zone and name of the snapshot
    #[arg(value_name = "NAME@SNAP")]
    snap: Snap,
    /// Remove it; zones that were cloned from it keep what they are made of
    #[arg(short, long)]
    delete: bool,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let Snap { zone, name } = &args.snap;
    if args.delete {
        context.client.delete_snapshot(zone, name)?;
        return Ok(0);
    }
    let made = context.client.snapshot(zone, name)?;
    if context.output.is_json() {
        context.output.document(&made)?;
    } else if let Some(held) = made.held_us {
        context.output.remark(&format!("{zone} was held still for {:.1} ms", held as f64 / 1e3))?;
    }
    Ok(0)
}
