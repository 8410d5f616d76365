//! `zonectl profile`

use std::fmt::Write as _;

use zone_api::ProfileChange;

use super::{Context, Done};
use crate::output::{Colour, Output};

/// Show what install changed in a zone's own files, or take it back
///
/// A server's files speak of disks, serial lines and addresses that a zone does not have. install adapts them, unless the zone
/// has profile=false, and writes down what was there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl profile payroll
  zonectl profile payroll --undo")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Put back what was there, but for files that were changed since
    #[arg(long)]
    undo: bool,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    if !args.undo {
        let changes = context.client.profile(&args.name)?;
        context
            .output
            .print(&changes, || changes.iter().map(|change| text(change, context.output)).collect())?;
        return Ok(0);
    }
    let kept = context.client.undo_profile(&args.name)?;
    let line = |change: &ProfileChange| format!("{} was changed since and stays\n", change.file);
    context.output.print(&kept, || kept.iter().map(line).collect())?;
    Ok(0)
}

/// A file, why it was changed, and its lines that were and that are.
fn text(change: &ProfileChange, output: &Output) -> String {
    let mut text = output.paint(Colour::Bold, &change.file);
    let _ = writeln!(text, ": {}", change.why.join("; "));
    let before: Vec<&str> = change.before.iter().flat_map(|text| text.lines()).collect();
    let after: Vec<&str> = change.after.lines().collect();
    for (mark, colour, these, others) in
        [('-', Colour::Red, &before, &after), ('+', Colour::Green, &after, &before)]
    {
        for line in these.iter().filter(|line| !others.contains(line)) {
            let shown: String = line.chars().flat_map(shown).collect();
            let _ = writeln!(text, "  {}", output.paint(colour, &format!("{mark} {shown}")));
        }
    }
    text
}

/// A guest's file is not to speak to the terminal.
fn shown(c: char) -> Vec<char> {
    if c.is_control() && c != '\t' { c.escape_default().collect() } else { vec![c] }
}
