//! `zonectl attach`

use std::fmt::Write as _;

use zone_api::Attach;

use super::{Context, Done};
use crate::words;

/// Make a zone of a folder that was detached, here or on another host
///
/// A zone that is not configured is configured as the one that was detached. With -n it is only told what of this host differs, and
/// whether the zone would boot.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl attach -n payroll /srv/payroll
  zonectl attach payroll /srv/payroll")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Folder of the detached zone
    path: String,
    /// Only tell what differs
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Attach it though it would not boot here
    #[arg(short = 'F', long)]
    force: bool,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let attach = Attach { path: words::absolute(&args.path)?, dry: args.dry_run, force: args.force };
    let attached = context.client.attach(&args.name, &attach)?;
    context.output.print(&attached, || {
        let mut text = String::new();
        for line in &attached.differences {
            let _ = writeln!(text, "{}: {line}", args.name);
        }
        for line in &attached.findings {
            let _ = writeln!(text, "{}: would not boot: {line}", args.name);
        }
        text
    })?;
    Ok(u8::from(args.dry_run && !attached.findings.is_empty()))
}
