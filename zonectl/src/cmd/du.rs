//! `zonectl du`

use zone_api::DiskUse;

use super::{Context, Done, stat};
use crate::output::{Colour, Table};

/// Tell where the disk went: what each zone has as its own, and what it shares
///
/// OWN is the zone's folder, LAYERS what only it and its snapshots are made of, SHARED what others are made of too. Each shared
/// layer is counted once below, so that the figures add up.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl du
  zonectl --json du")]
pub(crate) struct Args {
    /// Zones [default: all]
    names: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let mut found = context.client.disk_use()?;
    let is_all = args.names.is_empty();
    if !is_all {
        for name in &args.names {
            // For its error.
            context.client.zone(name)?;
        }
        found.zones.retain(|zone| args.names.contains(&zone.name));
    }
    context.output.print(&found, || table(&found, is_all).render(context.output))?;
    Ok(0)
}

fn table(found: &DiskUse, is_all: bool) -> Table {
    let mut table = Table::new(&["NAME", "OWN", "LAYERS", "SHARED"]);
    let size = |bytes: u64| (stat::bytes(Some(bytes as f64)), Colour::Plain);
    for zone in &found.zones {
        table.row(vec![
            (zone.name.clone(), Colour::Plain),
            size(zone.own),
            size(zone.layers),
            size(zone.shared),
        ]);
    }
    if is_all {
        for (name, bytes) in [
            ("(shared)", found.shared),
            ("(images)", found.images),
            ("(unused)", found.unused),
            ("(total)", found.total),
        ] {
            table.row(vec![(name.to_owned(), Colour::Bold), size(bytes)]);
        }
    }
    table
}
