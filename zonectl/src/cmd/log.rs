//! `zonectl log`

use super::{Context, Done};
use crate::output::utc;

/// Show what happened to a zone, oldest first, in UTC
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zonectl log payroll")]
pub(crate) struct Args {
    /// Zone
    name: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let lines = context.client.log(&args.name)?;
    context
        .output
        .print(&lines, || lines.iter().map(|l| format!("{}  {}\n", utc(l.time), l.text)).collect())?;
    Ok(0)
}
