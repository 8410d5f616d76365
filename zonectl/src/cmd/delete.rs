//! `zonectl delete`

use serde_json::json;

use super::{Context, Done, confirm};

/// Forget a configured zone
///
/// On a terminal it asks first. -F does not ask, and halts and uninstalls the zone where needed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zonectl delete payroll -F")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Do not ask; halt and uninstall it first
    #[arg(short = 'F', long)]
    force: bool,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let Args { name, force } = args;
    if !force {
        confirm(&format!("delete {name}"), &format!("Forget the configuration of {name}?"))?;
    }
    context.client.delete(name, *force)?;
    if context.output.is_json() {
        context.output.document(&json!({"name": name, "deleted": true}))?;
    }
    Ok(0)
}
