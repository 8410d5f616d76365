//! `zonectl clone`

use super::{Context, Done};
use crate::words::Origin;

/// Make a zone whose root begins as another's, as it is now or as it was at a snapshot
///
/// The new zone is configured as the other one is, without what only one zone can have; if it is configured already, that stays.
/// Nothing is copied: the clone takes room for what it changes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl clone payroll payroll-test
  zonectl clone payroll@before-upgrade payroll-old")]
pub(crate) struct Args {
    /// Zone, and the snapshot if it is not to be as it is now
    #[arg(value_name = "SRC[@SNAP]")]
    from: Origin,
    /// New zone, or one that is configured and has no root
    #[arg(value_name = "DST")]
    to: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let Origin { zone, snapshot } = &args.from;
    let cloned = context.client.clone_zone(zone, snapshot.as_deref(), &args.to)?;
    if context.output.is_json() {
        let zone = context.client.zone(&args.to)?;
        context.output.document(&serde_json::json!({"zone": zone, "notes": cloned.notes}))?;
        return Ok(0);
    }
    for note in &cloned.notes {
        context.output.remark(note)?;
    }
    Ok(0)
}
