//! `zonectl add`

use zone_api::Edit;

use super::{Context, Done};
use crate::words::{KeyValue, properties};

/// Add a resource to a zone
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl add payroll fs dir=/data special=/srv/payroll type=bind options=ro
  zonectl add payroll net physical=zones0 address=10.88.0.10/16")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// net, fs, device, rctl, attr, admin, capped-cpu or capped-memory
    resource: String,
    /// Its properties
    #[arg(value_name = "KEY=VALUE", required = true)]
    properties: Vec<KeyValue>,
}

pub(crate) fn run(args: Args, context: &Context<'_>) -> Done {
    let properties = properties(args.properties, &format!("add {} {}", args.name, args.resource))?;
    let edit = Edit::Add { resource: args.resource, properties };
    let edited = context.client.edit(&args.name, &[edit])?;
    context.edited(&args.name, &edited)
}
