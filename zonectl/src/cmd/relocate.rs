//! `zonectl move`

use super::{Context, Done};
use crate::words;

/// Put a zone's own files into another folder
///
/// Its layers, which other zones may share, stay where zoned keeps them. To another file system the files are copied.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  zonectl move payroll /srv/payroll")]
pub(crate) struct Args {
    /// Zone, which does not run
    name: String,
    /// Folder, which is made, or is empty
    path: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    context.client.relocate(&args.name, &words::absolute(&args.path)?)?;
    context.zone(&args.name)
}
