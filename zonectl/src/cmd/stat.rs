//! `zonectl stat`

use std::time::Duration;

use zone_api::stat::{Figure, Line, Report, Sample};
use zone_api::{ApiError, ErrorKind};

use super::{Context, Done};
use crate::failure::Failure;
use crate::output::{Colour, Output, Table, utc};

/// Show what zones use, of their caps and of the host
///
/// Without INTERVAL one report, rates being averages since each zone's boot; with it one report every INTERVAL seconds,
/// COUNT times or until interrupted. %CAP is of the zone's cap, %SHR of the CPU time that its shares give it when all
/// zones want all. PSI is the share of the last ten seconds in which some task waited, on hosts with cgroup v2.
/// Numbers at the end are INTERVAL and COUNT. With --json a report is one document on one line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl stat
  zonectl stat payroll 5
  zonectl stat 1 10 --json")]
pub(crate) struct Args {
    /// Zones, and then INTERVAL in seconds and COUNT
    #[arg(value_name = "NAME|INTERVAL [COUNT]")]
    words: Vec<String>,
}

/// Zones, interval and count.
#[derive(Debug, PartialEq)]
struct Plan {
    names: Vec<String>,
    interval: Option<Duration>,
    count: Option<u64>,
}

fn plan(mut words: Vec<String>) -> Result<Plan, Failure> {
    let is_number = |word: &String| word.parse::<f64>().is_ok_and(f64::is_finite);
    let numbers = words.iter().rev().take(2).take_while(|word| is_number(word)).count();
    let mut numbers = words.split_off(words.len() - numbers).into_iter();
    let wrong = |why: String| ApiError::new(ErrorKind::Invalid, "stat", why);
    let interval = numbers.next().map(|word| {
        let seconds = word.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
        let seconds = seconds.filter(|s| *s >= Duration::from_millis(10));
        seconds
            .ok_or_else(|| wrong(format!("an interval of {word} seconds is too short; 0.01 is the shortest")))
    });
    let count = numbers.next().map(|word| {
        let count = word.parse().ok().filter(|count| *count > 0);
        count.ok_or_else(|| wrong(format!("{word} is no count of reports: 1 or more")))
    });
    Ok(Plan { names: words, interval: interval.transpose()?, count: count.transpose()? })
}

pub(crate) fn run(args: Args, context: &Context<'_>) -> Done {
    let plan = plan(args.words)?;
    let Some(interval) = plan.interval else {
        let report = Report::between(None, &context.client.stat(&plan.names)?);
        context.output.print(&report, || table(&report, context.output))?;
        return Ok(0);
    };
    let mut before: Sample = context.client.stat(&plan.names)?;
    let mut told = 0;
    while plan.count.is_none_or(|count| told < count) {
        std::thread::sleep(interval);
        let now = context.client.stat(&plan.names)?;
        let report = Report::between(Some(&before), &now);
        if context.output.is_json() {
            let line = serde_json::to_string(&report)
                .map_err(|e| ApiError::new(ErrorKind::Failed, "make JSON", e.to_string()))?;
            context.output.text(&format!("{line}\n"))?;
        } else {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of day")]
            let time = utc(report.time as u64);
            context.output.text(&format!("{time}\n{}\n", table(&report, context.output)))?;
        }
        before = now;
        told += 1;
    }
    Ok(0)
}

fn table(report: &Report, output: &Output) -> String {
    let psi = report.zones.iter().chain([&report.total]).any(|line| line.pressure.cpu.is_some());
    let mut headings = vec![
        "ZONE", "CPU", "%CPU", "%CAP", "%SHR", "MEM", "%MEM", "%CAP", "SWAP", "PROC", "LWP", "%CAP",
        "READ/s", "WRITE/s", "RECV/s", "SENT/s",
    ];
    if psi {
        headings.push("PSI cpu/mem/io");
    }
    let mut table = Table::new(&headings);
    for line in report.zones.iter().chain([&report.total]) {
        table.row(row(line, psi));
    }
    table.render(output)
}

fn row(line: &Line, psi: bool) -> Vec<(String, Colour)> {
    let plain = |text: String| (text, Colour::Plain);
    let of_cap = |figure: &Figure| {
        let colour = match figure.of_cap {
            Some(percent) if percent >= 95.0 => Colour::Red,
            Some(percent) if percent >= 80.0 => Colour::Yellow,
            _ => Colour::Plain,
        };
        (percent(figure.of_cap), colour)
    };
    let number = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.0}"));
    let mut row = vec![
        (line.name.clone(), if line.state.is_empty() { Colour::Bold } else { Colour::Plain }),
        plain(line.cpu.used.map_or_else(dash, |cpus| format!("{cpus:.2}"))),
        plain(percent(line.cpu.of_host)),
        of_cap(&line.cpu),
        plain(percent(line.cpu.of_share)),
        plain(bytes(line.memory.used)),
        plain(percent(line.memory.of_host)),
        of_cap(&line.memory),
        plain(bytes(line.swap.used)),
        plain(line.processes.map_or_else(dash, |count| count.to_string())),
        plain(number(line.lwps.used)),
        of_cap(&line.lwps),
        plain(bytes(line.read)),
        plain(bytes(line.written)),
        plain(bytes(line.received)),
        plain(bytes(line.sent)),
    ];
    if psi {
        let all = [line.pressure.cpu, line.pressure.memory, line.pressure.io];
        let all = all.map(|p| p.map_or_else(dash, |p| format!("{:.1}", p.some)));
        row.push(plain(all.join("/")));
    }
    row
}

fn dash() -> String {
    "-".to_owned()
}

pub(super) fn percent(value: Option<f64>) -> String {
    value.map_or_else(dash, |value| format!("{value:.1}"))
}

/// In the largest unit that leaves a number of 1 or more.
pub(super) fn bytes(value: Option<f64>) -> String {
    let Some(mut value) = value else { return dash() };
    for unit in ["", "K", "M", "G", "T"] {
        if value < 1024.0 {
            return if unit.is_empty() || value >= 100.0 {
                format!("{value:.0}{unit}")
            } else {
                format!("{value:.1}{unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1}P")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, seconds and count.
    type Planned = (Vec<String>, Option<f64>, Option<u64>);

    fn of(words: &[&str]) -> Result<Planned, u8> {
        let plan = plan(words.iter().map(|w| (*w).to_owned()).collect()).map_err(|e| e.status())?;
        Ok((plan.names, plan.interval.map(|i| i.as_secs_f64()), plan.count))
    }

    #[test]
    fn numbers_at_the_end_are_interval_and_count() {
        assert_eq!(of(&[]), Ok((vec![], None, None)));
        assert_eq!(of(&["a", "b"]), Ok((vec!["a".into(), "b".into()], None, None)));
        assert_eq!(of(&["a", "0.5"]), Ok((vec!["a".into()], Some(0.5), None)));
        assert_eq!(of(&["7", "1", "3"]), Ok((vec!["7".into()], Some(1.0), Some(3))));
        assert_eq!(of(&["0"]), Err(2));
        assert_eq!(of(&["1", "0"]), Err(2));
        assert_eq!(of(&["-1"]), Err(2));
    }

    #[test]
    fn bytes_have_units() {
        let shown = [0.0, 1023.0, 1024.0, 200.0 * 1024.0, 3.5 * 1048576.0].map(|b| bytes(Some(b)));
        assert_eq!(shown, ["0", "1023", "1.0K", "200K", "3.5M"]);
        assert_eq!(bytes(None), "-");
    }
}
