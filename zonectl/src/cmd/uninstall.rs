//! `zonectl uninstall`

use super::{Context, Done, confirm};

/// Empty the root of a zone, which is configured afterwards
///
/// On a terminal it asks first, unless -F is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zonectl uninstall payroll -F")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Do not ask
    #[arg(short = 'F', long)]
    force: bool,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let Args { name, force } = args;
    if !force {
        confirm(&format!("uninstall {name}"), &format!("Remove every file of {name}?"))?;
    }
    context.client.uninstall(name, *force)?;
    context.zone(name)
}
