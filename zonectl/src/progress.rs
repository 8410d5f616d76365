//! The progress of a long operation: a bar on a terminal, few lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use zone_api::Progress;

/// From here on units are bytes: no userland has so many packages, no archive so few bytes.
const FEWEST_BYTES: u64 = 20_000;

/// How long a log stays silent about a step that goes on.
const SILENCE: Duration = Duration::from_secs(10);

/// Shows progress on stderr and keeps the notes for a final document.
#[derive(Debug)]
pub(crate) struct Reporter {
    zone: String,
    show: Show,
    step: String,
    total: Option<u64>,
    /// Lines that zoned found worth showing.
    pub(crate) notes: Vec<String>,
}

#[derive(Debug)]
enum Show {
    Nothing,
    Bar(ProgressBar),
    Lines { last: Instant },
}

impl Reporter {
    pub(crate) fn new(zone: &str, silent: bool) -> Self {
        let show = if silent {
            Show::Nothing
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(100));
            Show::Bar(bar)
        } else {
            Show::Lines { last: Instant::now() }
        };
        Self { zone: zone.to_owned(), show, step: String::new(), total: None, notes: Vec::new() }
    }

    /// Shows one event.
    pub(crate) fn take(&mut self, progress: Progress) {
        match progress {
            Progress::Step { step, total } => self.begin(step, total),
            Progress::At { done } => self.at(done),
            Progress::Note { text } => {
                match &self.show {
                    Show::Nothing => {}
                    Show::Bar(bar) => bar.suspend(|| say(&format!("{}: {text}", self.zone))),
                    Show::Lines { .. } => say(&format!("{}: {text}", self.zone)),
                }
                self.notes.push(text);
            }
            Progress::Verified(_) | Progress::Done | Progress::Failed { .. } => {}
        }
    }

    fn begin(&mut self, step: String, total: Option<u64>) {
        match &mut self.show {
            Show::Nothing => {}
            Show::Bar(bar) => {
                bar.set_style(style(total, 0));
                bar.set_length(total.unwrap_or(0));
                bar.reset();
                bar.set_message(crate::output::shown(&format!("{}: {step}", self.zone)));
            }
            Show::Lines { last } => {
                *last = Instant::now();
                let size = total.map(|t| format!(" ({})", amount(t))).unwrap_or_default();
                say(&format!("{}: {step}{size}", self.zone));
            }
        }
        self.step = step;
        self.total = total;
    }

    fn at(&mut self, done: u64) {
        match &mut self.show {
            Show::Nothing => {}
            Show::Bar(bar) => {
                if self.total.is_none() {
                    bar.set_style(style(None, done));
                }
                bar.set_position(done);
            }
            Show::Lines { last } if last.elapsed() >= SILENCE => {
                *last = Instant::now();
                let of = self.total.map(|t| format!(" of {}", amount(t))).unwrap_or_default();
                say(&format!("{}: {}, {}{of}", self.zone, self.step, amount(done)));
            }
            Show::Lines { .. } => {}
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&mut self) {
        if let Show::Bar(bar) = &self.show {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.end();
    }
}

fn say(line: &str) {
    // Progress is a courtesy: where nobody can see it, the work goes on.
    let _ = writeln!(io::stderr(), "{}", crate::output::shown(line));
}

/// Bytes or packages, as people write them.
fn amount(units: u64) -> String {
    if units < FEWEST_BYTES { units.to_string() } else { indicatif::HumanBytes(units).to_string() }
}

fn style(total: Option<u64>, done: u64) -> ProgressStyle {
    let template = match (total, done.max(total.unwrap_or(0)) >= FEWEST_BYTES) {
        (Some(_), true) => "{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        (Some(_), false) => "{msg} [{wide_bar}] {pos}/{len} {eta}",
        (None, true) => "{spinner} {msg} {bytes} {bytes_per_sec}",
        (None, false) => "{spinner} {msg} {elapsed}",
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_bytes_where_they_are_many() {
        assert_eq!(amount(120), "120");
        assert_eq!(amount(3 << 20), "3.00 MiB");
    }

    #[test]
    fn every_template_is_valid() {
        for total in [None, Some(10), Some(1 << 30)] {
            for done in [0, 1 << 30] {
                let bar = ProgressBar::hidden();
                bar.set_style(style(total, done));
            }
        }
    }

    #[test]
    fn notes_are_kept_even_in_silence() {
        let mut reporter = Reporter::new("z", true);
        reporter.take(Progress::Step { step: "unpacking".into(), total: None });
        reporter.take(Progress::Note { text: "i386 userland".into() });
        assert_eq!(reporter.notes, ["i386 userland"]);
    }
}
