//! `zonectl log`

use std::time::Duration;

use zone_api::{ApiError, ErrorKind, LogLine};

use super::{Context, Done};
use crate::failure::Failure;
use crate::output::utc;

/// How often a log that is followed is looked at.
const PACE: Duration = Duration::from_millis(500);

/// Show what happened to a zone, oldest first, in UTC
///
/// With -f and --json each line is a document of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl log payroll
  zonectl log payroll -n 20 -f")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Only the last LINES
    #[arg(short = 'n', long, value_name = "LINES")]
    lines: Option<usize>,
    /// Go on with what happens, until interrupted or the zone is deleted
    #[arg(short, long)]
    follow: bool,
}

fn text(line: &LogLine) -> String {
    format!("{}  {}\n", utc(line.time), line.text)
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let all = context.client.log(&args.name)?;
    let skip = all.len().saturating_sub(args.lines.unwrap_or(usize::MAX));
    if !args.follow {
        let lines = &all[skip..];
        context.output.print(&lines, || lines.iter().map(text).collect())?;
        return Ok(0);
    }
    show(&all[skip..], context)?;
    let mut seen = all;
    loop {
        std::thread::sleep(PACE);
        let now = match context.client.log(&args.name) {
            Ok(now) => now,
            // A zoned that is started anew goes on with the same log.
            Err(error) if error.kind == ErrorKind::Unreachable => continue,
            Err(error) if error.kind == ErrorKind::NoSuchZone => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        show(&now[new(&seen, &now)..], context)?;
        seen = now;
    }
}

/// Where what is new begins; a log that was cut short at its beginning still has the last line that was seen.
fn new(seen: &[LogLine], now: &[LogLine]) -> usize {
    if now.starts_with(seen) {
        return seen.len();
    }
    let Some(last) = seen.last() else { return 0 };
    now.iter().rposition(|line| line == last).map_or(0, |at| at + 1)
}

fn show(lines: &[LogLine], context: &Context<'_>) -> Result<(), Failure> {
    for line in lines {
        let text = if context.output.is_json() {
            let made = serde_json::to_string(line);
            made.map_err(|e| ApiError::new(ErrorKind::Failed, "make JSON", e.to_string()))? + "\n"
        } else {
            text(line)
        };
        context.output.text(&text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_in_a_log() {
        let line = |time| LogLine { time, text: "booted".to_owned() };
        let lines = [line(1), line(2), line(3), line(4)];
        assert_eq!(new(&lines[..2], &lines), 2);
        assert_eq!(new(&[], &lines), 0);
        assert_eq!(new(&lines[..3], &lines[1..]), 2);
    }
}
