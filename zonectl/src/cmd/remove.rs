//! `zonectl remove`

use zone_api::Edit;

use super::{Context, Done};
use crate::words::{KeyValue, properties};

/// Remove a resource from a zone
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl remove payroll fs dir=/data
  zonectl remove payroll capped-cpu")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// net, fs, device, rctl, attr, admin, capped-cpu or capped-memory
    resource: String,
    /// What the one to remove must match
    #[arg(value_name = "KEY=VALUE")]
    properties: Vec<KeyValue>,
}

pub(crate) fn run(args: Args, context: &Context<'_>) -> Done {
    let properties = properties(args.properties, &format!("remove {} {}", args.name, args.resource))?;
    let edit = Edit::Remove { resource: args.resource, properties };
    let edited = context.client.edit(&args.name, &[edit])?;
    context.edited(&args.name, &edited)
}
