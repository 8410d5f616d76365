//! `zonectl snapshots`

use std::fmt::Write as _;

use zone_api::Snapshot;

use super::{Context, Done};
use crate::output::{Colour, Output, utc};

/// List the snapshots of a zone, as the tree that they make
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  zonectl snapshots payroll")]
pub(crate) struct Args {
    /// Zone
    name: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let all = context.client.snapshots(&args.name)?;
    context.output.print(&all, || tree(&all, context.output))?;
    Ok(0)
}

/// Each below the one that it came after; an asterisk is where the zone stands.
fn tree(all: &[Snapshot], output: &Output) -> String {
    let is_known =
        |name: &Option<String>| name.as_ref().is_some_and(|name| all.iter().any(|s| s.name == *name));
    let mut text = String::new();
    // Children are put on in reverse, to be taken off in order.
    let mut open: Vec<(&Snapshot, usize)> =
        all.iter().rev().filter(|s| !is_known(&s.parent)).map(|s| (s, 0)).collect();
    while let Some((snapshot, depth)) = open.pop() {
        let mark = if snapshot.current { "* " } else { "  " };
        let name = output.paint(Colour::Bold, &snapshot.name);
        let _ = writeln!(text, "{mark}{}{name}  {}", "  ".repeat(depth), utc(snapshot.made));
        let children: Vec<&Snapshot> = all
            .iter()
            .filter(|s| s.parent.as_deref() == Some(&snapshot.name) && s.name != snapshot.name)
            .collect();
        // Only a fork goes deeper: most zones have one line of snapshots.
        let deeper = depth + usize::from(children.len() > 1);
        open.extend(children.into_iter().rev().map(|child| (child, deeper)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_are_indented() {
        let snap = |name: &str, made, parent: Option<&str>| Snapshot {
            name: name.into(),
            made,
            parent: parent.map(str::to_owned),
            current: name == "d",
            layers: Vec::new(),
            held_us: None,
        };
        let all =
            [snap("a", 0, None), snap("b", 1, Some("a")), snap("c", 2, Some("b")), snap("d", 3, Some("b"))];
        let text = tree(&all, &Output::new(false, false));
        let lines: Vec<&str> =
            text.lines().map(|line| line.split("  1970").next().unwrap_or_default()).collect();
        assert_eq!(lines, ["  a", "  b", "    c", "*   d"]);
    }
}
