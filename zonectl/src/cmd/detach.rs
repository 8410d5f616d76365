//! `zonectl detach`

use super::{Context, Done};

/// Let go of a zone's folder, for another host or another name
///
/// The folder then holds all that attach needs: the root, the layers that it is made of, the snapshots, and zone.json with the
/// configuration. The zone is configured afterwards, and has no root.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl detach payroll
  zonectl detach -n payroll")]
pub(crate) struct Args {
    /// Zone, which does not run
    name: String,
    /// Only show the zone.json that would be written
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let path = context.client.zone(&args.name)?.path;
    let manifest = context.client.detach(&args.name, args.dry_run)?;
    if args.dry_run {
        context.output.made(&manifest)?;
        return Ok(0);
    }
    if context.output.is_json() {
        context.output.document(&serde_json::json!({"name": args.name, "path": path}))?;
        return Ok(0);
    }
    context.output.remark(&format!("{} is in {path}", args.name))?;
    Ok(0)
}
