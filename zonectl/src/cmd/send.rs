//! `zonectl send`

use std::io::IsTerminal;

use super::{Context, Done};
use crate::failure::Failure;
use crate::words::Origin;

/// Write a zone, or what changed in it since a snapshot, to stdout as one stream
///
/// The stream has the zone's configuration and root, checksums over all of it, and whole layers only. A zone that runs is held
/// still for a moment.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl send payroll > payroll.zone
  zonectl send payroll@monday | ssh other zonectl receive payroll
  zonectl send payroll@tuesday --base monday | ssh other zonectl receive payroll")]
pub(crate) struct Args {
    /// Zone, and the snapshot if it is not to be as it is now
    #[arg(value_name = "NAME[@SNAP]")]
    from: Origin,
    /// Snapshot that the receiver has: only what came after it is sent
    #[arg(long, value_name = "SNAP")]
    base: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let Origin { zone, snapshot } = &args.from;
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        return Err(Failure::usage(
            format!("send {zone}"),
            "stdout is a terminal: send it to a file or a pipe",
        ));
    }
    let base = args.base.as_deref().map(|base| base.rsplit_once('@').map_or(base, |(_, snap)| snap));
    context.client.send(zone, snapshot.as_deref(), base, &mut out)?;
    Ok(0)
}
