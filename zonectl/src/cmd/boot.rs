//! `zonectl boot`

use zone_api::Boot;

use super::{Context, Done};

/// Boot an installed or ready zone
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl boot payroll
  zonectl boot payroll -i /bin/sh -- -c \"exec /etc/rc\"
  zonectl boot payroll -i none")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Another init for this boot: a path in the zone; none is our reaper alone
    #[arg(short, long, value_name = "INIT")]
    init: Option<String>,
    /// Words for init, instead of the configuration's bootargs
    #[arg(last = true, value_name = "ARG")]
    args: Vec<String>,
}

pub(crate) fn run(args: Args, context: &Context<'_>) -> Done {
    let words = (!args.args.is_empty()).then_some(args.args);
    context.client.boot(&args.name, &Boot { init: args.init, args: words })?;
    context.zone(&args.name)
}
