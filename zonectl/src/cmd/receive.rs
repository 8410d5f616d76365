//! `zonectl receive`

use super::{Context, Done};
use crate::progress::Reporter;

/// Make a zone of a stream that `zonectl send` wrote, or bring one forward by it
///
/// A zone that is not there is configured as the one that was sent. One that has the base of the stream, unchanged, becomes what
/// the stream's snapshot is. Nothing changes before the whole stream is here and its checksums are right.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl receive payroll < payroll.zone
  ssh other zonectl send payroll@monday | zonectl receive payroll")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Give up what the zone wrote since the base
    #[arg(short = 'F', long)]
    force: bool,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let name = &args.name;
    let mut reporter = Reporter::new(name, context.output.is_quiet() || context.output.is_json());
    let result = context.client.receive(name, args.force, std::io::stdin(), |p| reporter.take(p));
    reporter.end();
    result?;
    context.zone(name)
}
