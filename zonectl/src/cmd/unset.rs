//! `zonectl unset`

use zone_api::Edit;

use super::{Context, Done};

/// Give properties of a zone their defaults again
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zonectl unset payroll hostid")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Keys
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
}

pub(crate) fn run(args: Args, context: &Context<'_>) -> Done {
    let edits: Vec<_> = args.keys.into_iter().map(|key| Edit::Unset { key }).collect();
    let edited = context.client.edit(&args.name, &edits)?;
    context.edited(&args.name, &edited)
}
