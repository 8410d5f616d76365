//! `cargo xtask hold`: the known ways out of a zone, each in zones of every kind and without its guard; a table of all.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::counts::Counts;
use crate::{cargo, matrix, packages};

/// What a test says of one attempt, after `hold:`, in this order and with tabs between.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    attempt: String,
    /// A kind of zone, or [`REAL`].
    place: String,
    result: String,
    guard: String,
}

/// The place where the guard is not.
const REAL: &str = "real";

impl Line {
    fn read(text: &str) -> Option<Self> {
        // A machine's console has more at the ends of its lines.
        let (_, rest) = text.trim_end().split_once("hold:\t")?;
        let mut words = rest.splitn(4, '\t').map(str::to_owned);
        let (attempt, place, result) = (words.next()?, words.next()?, words.next()?);
        Some(Self { attempt, place, result, guard: words.next()? })
    }
}

/// All of it, or what is done in a machine alone.
pub(crate) fn run(machine_alone: bool) -> Result<()> {
    crate::be_root()?;
    packages::for_matrix()?;
    let begin = Instant::now();
    let mut lines = Vec::new();
    let mut counts = Counts::default();
    let mut ok = true;
    for test in ["escapes", "hold"].into_iter().filter(|_| !machine_alone) {
        let mut command = cargo();
        command.args(["test", "--workspace", "--test", test]).stdout(Stdio::piped());
        if test == "hold" {
            // A zoned each, and what they say at their ends.
            command.args(["--", "--nocapture", "--test-threads=2"]);
        }
        ok &= heard(command, &mut counts, &mut lines)?;
    }
    println!("\nin a machine of qemu, where nothing is lost:");
    let real = format!("::{REAL}");
    let tests: [(&str, &[&str]); 2] = [
        ("escapes", &["--test-threads=2", &real]),
        ("neighbours", &["--test-threads=1", "connections", "without_a_guard"]),
    ];
    let machine = matrix::these(&tests, &mut |line| lines.extend(Line::read(line)))?;
    ok &= machine.failed == 0;
    counts.sum(machine);
    print!("\n{}", table(&lines));
    println!("\n{}", counts.line(ok, begin.elapsed().as_secs_f64()));
    ensure!(ok, "not all of it holds");
    Ok(())
}

/// Runs a test, passes on what it says, and keeps its lines; whether it ended well.
fn heard(mut command: Command, counts: &mut Counts, lines: &mut Vec<Line>) -> Result<bool> {
    let mut child = command.spawn().context("run cargo test")?;
    let said = child.stdout.take().context("its output is a pipe")?;
    counts.hear(said, std::io::stdout(), |line| lines.extend(Line::read(line)))?;
    Ok(child.wait().context("wait for cargo test")?.success())
}

/// A row for each attempt and answer that it had, with the places that had it; then what shows that it is real.
fn table(lines: &[Line]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for line in lines {
        if !names.contains(&line.attempt.as_str()) {
            names.push(&line.attempt);
        }
    }
    let mut text = String::new();
    for name in names {
        let of = || lines.iter().filter(|line| line.attempt == name);
        let guard = of().next().map_or("", |line| &line.guard);
        text += &format!("{name}: {guard}\n");
        let mut answers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for line in of().filter(|line| line.place != REAL) {
            answers.entry(&line.result).or_default().push(&line.place);
        }
        for (result, mut places) in answers {
            places.sort_unstable();
            text += &format!("    {result:<40} {}\n", places.join(" "));
        }
        let mut real: Vec<&str> =
            of().filter(|line| line.place == REAL).map(|line| line.result.as_str()).collect();
        real.sort_unstable();
        real.dedup();
        if real.len() > 1 {
            real.retain(|result| *result != "not there");
        }
        text += &format!("    without it {}\n", if real.is_empty() { "not shown" } else { &real[0] });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_gathered() {
        let said = [
            "hold:\tids\tnative\theld: EPERM\tthe id map",
            "hold:\tids\t2.6.18\theld: EPERM\tthe id map\r",
            "test ids::native ... ok",
            "[ 1.0] hold:\tids\treal\tworks: outside\tthe id map",
        ];
        let lines: Vec<Line> = said.iter().filter_map(|line| Line::read(line)).collect();
        assert_eq!(lines.len(), 3);
        let text = table(&lines);
        assert!(text.starts_with("ids: the id map\n    held: EPERM "), "{text}");
        assert!(text.ends_with(" 2.6.18 native\n    without it works: outside\n"), "{text}");
    }
}
