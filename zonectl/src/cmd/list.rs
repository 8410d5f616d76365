//! `zonectl list`

use zone_api::{ApiError, ErrorKind, State, Zone};

use super::{Context, Done};
use crate::failure::Failure;
use crate::output::{Colour, Output, Table};

/// List zones that run
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl list -c
  zonectl list -cp | while IFS=: read -r id name state rest; do echo $name $state; done")]
pub(crate) struct Args {
    /// All zones, in whatever state
    #[arg(short, long, conflicts_with = "installed")]
    configured: bool,
    /// Installed zones, running or not
    #[arg(short, long)]
    installed: bool,
    /// One line a zone for scripts, zoneid:zonename:state:zonepath:uuid:brand:ip-type, with - where there is no
    /// id, \: for a colon in a value and \\ for a backslash
    #[arg(short, long)]
    parseable: bool,
    /// Only these, in whatever state
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    // Which of them count is decided here, so that -i and names need no more than the one question.
    let zones = choose(context.client.zones(true)?, args)?;
    context.output.print(&zones, || {
        if args.parseable { zones.iter().map(parseable).collect() } else { table(&zones, context.output) }
    })?;
    Ok(0)
}

fn choose(mut zones: Vec<Zone>, args: &Args) -> Result<Vec<Zone>, Failure> {
    if let Some(missing) = args.names.iter().find(|n| zones.iter().all(|z| z.name != **n)) {
        let why = format!("there is no zone {missing}");
        return Err(ApiError::new(ErrorKind::NoSuchZone, format!("list {missing}"), why).into());
    }
    zones.retain(|zone| {
        let installed = !matches!(zone.state, State::Configured | State::Incomplete);
        if args.names.is_empty() {
            args.configured || installed && (args.installed || zone.state != State::Installed)
        } else {
            args.names.contains(&zone.name)
        }
    });
    Ok(zones)
}

fn id(zone: &Zone) -> String {
    zone.id.map_or_else(|| "-".to_owned(), |id| id.to_string())
}

fn parseable(zone: &Zone) -> String {
    let fields =
        [&id(zone), &zone.name, zone.state.word(), &zone.path, &zone.uuid, &zone.brand, &zone.ip_type];
    let mut line = fields.map(|f| f.replace('\\', "\\\\").replace(':', "\\:")).join(":");
    line.push('\n');
    line
}

fn table(zones: &[Zone], output: &Output) -> String {
    let notes = zones.iter().any(|z| note(z).is_some());
    let linked = zones.iter().any(|z| !z.addresses.is_empty());
    let mut headings = vec!["ID", "NAME", "STATUS", "PATH", "BRAND", "IP"];
    if linked {
        headings.push("ADDRESS");
    }
    if notes {
        headings.push("NOTE");
    }
    let mut table = Table::new(&headings);
    for zone in zones {
        let colour = match zone.state {
            State::Running => Colour::Green,
            State::Incomplete => Colour::Red,
            State::Ready | State::ShuttingDown | State::Down => Colour::Yellow,
            State::Configured | State::Installed => Colour::Plain,
        };
        let mut row = vec![
            (id(zone), Colour::Plain),
            (zone.name.clone(), Colour::Plain),
            (zone.state.word().to_owned(), colour),
            (zone.path.clone(), Colour::Plain),
            (zone.brand.clone(), Colour::Plain),
            (zone.ip_type.clone(), Colour::Plain),
        ];
        if linked {
            let address = zone.addresses.first().and_then(|a| a.split('/').next());
            row.push((address.unwrap_or_default().to_owned(), Colour::Plain));
        }
        if notes {
            row.push((note(zone).unwrap_or_default(), Colour::Plain));
        }
        table.row(row);
    }
    table.render(output)
}

/// What a person should know beside the state.
fn note(zone: &Zone) -> Option<String> {
    let busy = zone.busy.as_ref().map(|verb| format!("{verb} under way"));
    match (busy, &zone.reason) {
        (Some(busy), Some(reason)) => Some(format!("{busy}; {reason}")),
        (Some(one), None) => Some(one),
        (None, reason) => reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str, state: State) -> Zone {
        Zone {
            id: (state == State::Running).then_some(7),
            name: name.to_owned(),
            state,
            path: format!("/z:a/{name}"),
            uuid: "u-1".to_owned(),
            brand: "linux".to_owned(),
            kernel: None,
            ip_type: "exclusive".to_owned(),
            busy: None,
            reason: None,
            init_pid: None,
            ephemeral: false,
            addresses: Vec::new(),
        }
    }

    fn chosen(words: &[&str]) -> Result<Vec<String>, u8> {
        use clap::Parser;
        let words = [&["zonectl", "list"], words].concat();
        let crate::cmd::Verb::List(args) = crate::Cli::try_parse_from(words).unwrap().verb else {
            panic!("list is list")
        };
        let all = vec![
            zone("c", State::Configured),
            zone("x", State::Incomplete),
            zone("i", State::Installed),
            zone("r", State::Running),
            zone("d", State::ShuttingDown),
        ];
        choose(all, &args).map(|zones| zones.into_iter().map(|z| z.name).collect()).map_err(|e| e.status())
    }

    #[test]
    fn which_zones() {
        assert_eq!(chosen(&[]).unwrap(), ["r", "d"]);
        assert_eq!(chosen(&["-i"]).unwrap(), ["i", "r", "d"]);
        assert_eq!(chosen(&["-cp"]).unwrap(), ["c", "x", "i", "r", "d"]);
        assert_eq!(chosen(&["i", "c"]).unwrap(), ["c", "i"]);
        assert_eq!(chosen(&["i", "nobody"]), Err(3));
    }

    #[test]
    fn colons_do_not_make_fields() {
        assert_eq!(parseable(&zone("a", State::Running)), "7:a:running:/z\\:a/a:u-1:linux:exclusive\n");
        let mut odd = zone("a", State::ShuttingDown);
        odd.path = "/a\\".to_owned();
        assert_eq!(parseable(&odd), "-:a:shutting_down:/a\\\\:u-1:linux:exclusive\n");
    }

    #[test]
    fn a_reason_adds_a_column() {
        let output = Output::new(false, false);
        let plain = table(&[zone("a", State::Running)], &output);
        assert!(!plain.contains("NOTE"));
        let mut dead = zone("a", State::Installed);
        dead.reason = Some("its monitor was killed by signal 9".to_owned());
        dead.busy = Some("boot".to_owned());
        let text = table(&[dead], &output);
        assert!(text.contains("boot under way; its monitor was killed by signal 9"), "{text}");
    }
}
