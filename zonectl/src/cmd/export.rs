//! `zonectl export`

use serde_json::json;

use super::{Context, Done};

/// Print the configuration of a zone as TOML, as create -f takes it
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zonectl export payroll > payroll.toml")]
pub(crate) struct Args {
    /// Zone
    name: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let toml = context.client.config(&args.name)?;
    context.output.print(&json!({"name": args.name, "toml": toml}), || toml.clone())?;
    Ok(0)
}
