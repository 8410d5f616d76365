//! `zonectl ledger`

use zone_api::LedgerEntry;

use super::{Context, Done};
use crate::output::{Colour, Output, Table, utc};

/// Show what a zone's brand did with the calls of its programs
///
/// It is counted through halts and reboots, until it is reset. A call that needs no help is the host kernel's and does not
/// stand here.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl ledger payroll
  zonectl ledger payroll --reset")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Forget it and count anew
    #[arg(long)]
    reset: bool,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    if args.reset {
        context.client.reset_ledger(&args.name)?;
        return context.zone(&args.name);
    }
    let entries = context.client.ledger(&args.name)?;
    context.output.print(&entries, || table(&entries, context.output))?;
    Ok(0)
}

fn table(entries: &[LedgerEntry], output: &Output) -> String {
    let mut table = Table::new(&["CALL", "ABI", "DONE", "COUNT", "NEEDS", "FIRST", "PROGRAM"]);
    for entry in entries {
        let colour = match entry.done.as_str() {
            "masked" | "unknown" => Colour::Yellow,
            _ => Colour::Plain,
        };
        table.row(vec![
            (entry.call.clone(), Colour::Plain),
            (entry.abi.clone(), Colour::Plain),
            (entry.done.clone(), colour),
            (entry.count.to_string(), Colour::Plain),
            (entry.needs.clone().unwrap_or_else(|| "-".to_owned()), Colour::Plain),
            (utc(entry.first), Colour::Plain),
            (entry.program.clone(), Colour::Plain),
        ]);
    }
    table.render(output)
}
