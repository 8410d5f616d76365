//! `zonectl events`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zone_api::{ApiError, ErrorKind, ZoneEvent};

use super::{Context, Done};
use crate::output::{Colour, Output, utc};

/// How soon a zoned that went away is looked for again.
const PACE: Duration = Duration::from_millis(500);

/// Show what happens to zones, as it happens, in UTC
///
/// Kinds: state, boot, reboot, halt, failure, oom, limit, config, note; lost, when it was not read in time. Goes on when zoned
/// is started anew. With --json each event is a document on a line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl events
  zonectl events payroll --since 3600 --json")]
pub(crate) struct Args {
    /// Zones; all when none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Tell first what the logs have of the last SECONDS
    #[arg(long, value_name = "SECONDS")]
    since: Option<u32>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mut since = args.since.map(|seconds| now() - f64::from(seconds));
    let mut told = Told { since: now().floor(), ..Told::default() };
    let mut broken = None;
    // A zoned that is not there now is an error; one that goes away is waited for.
    context.client.zones(false)?;
    loop {
        let ended = context.client.events(&args.names, since, |event| {
            if told.has(&event) {
                return Ok(());
            }
            show(&event, context.output)
                .inspect_err(|_| broken = Some(()))
                .map_err(|_| ApiError::new(ErrorKind::Failed, "write to stdout", "nobody reads it"))
        });
        if broken.is_some() {
            return Ok(0);
        }
        match ended {
            Err(error) if error.kind != ErrorKind::Unreachable => return Err(error.into()),
            _ => {}
        }
        // What the logs have of the time without zoned is told when it is back.
        since = Some(told.again());
        std::thread::sleep(PACE);
    }
}

/// What was told last: the logs, which know whole seconds, tell some of it again when zoned is back.
#[derive(Default)]
struct Told {
    /// Nothing from before this second is told again.
    since: f64,
    /// Zones and texts of that second and later.
    lines: Vec<(String, String)>,
    /// Those of them that were not told again yet.
    again: Vec<(String, String)>,
}

impl Told {
    /// Whether it was told before zoned went away; if not, it is now.
    fn has(&mut self, event: &ZoneEvent) -> bool {
        let is_it = |(zone, text): &(String, String)| *zone == event.zone && *text == event.text;
        if let Some(at) = self.again.iter().position(is_it) {
            self.again.swap_remove(at);
            return true;
        }
        if event.time.floor() > self.since {
            self.since = event.time.floor();
            self.lines.clear();
        }
        if event.kind != "state" && event.time >= self.since {
            self.lines.push((event.zone.clone(), event.text.clone()));
        }
        false
    }

    /// From when on the logs are to be asked.
    fn again(&mut self) -> f64 {
        self.again = self.lines.clone();
        self.since
    }
}

fn show(event: &ZoneEvent, output: &Output) -> Result<(), crate::failure::Failure> {
    if output.is_json() {
        let made = serde_json::to_string(event);
        let line = made.map_err(|e| ApiError::new(ErrorKind::Failed, "make JSON", e.to_string()))?;
        return output.text(&format!("{line}\n"));
    }
    let colour = match event.kind.as_str() {
        "failure" | "oom" | "lost" => Colour::Red,
        "limit" => Colour::Yellow,
        "boot" => Colour::Green,
        _ => Colour::Plain,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of day")]
    let time = utc(event.time as u64);
    let kind = output.paint(colour, &event.kind);
    output.text(&format!("{time}  {}  {kind}  {}\n", event.zone, event.text))
}
