//! `zonectl set`

use super::{Context, Done};
use crate::words::KeyValue;

/// Set properties of a zone, all of them or none
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl set payroll hostname=pay autoboot=true
  zonectl set payroll capped-memory.physical=512M bootargs=single,ro")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Properties; lists are comma-separated or TOML arrays
    #[arg(value_name = "KEY=VALUE", required = true)]
    settings: Vec<KeyValue>,
}

pub(crate) fn run(args: Args, context: &Context<'_>) -> Done {
    let edits: Vec<_> = args.settings.into_iter().map(KeyValue::into_edit).collect();
    let edited = context.client.edit(&args.name, &edits)?;
    context.edited(&args.name, &edited)
}
