//! What test programs say at their ends, summed.

use std::io::{BufRead, BufReader, Read, Write};

use anyhow::{Context, Result};

/// Sums of the lines `test result: …` of many test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    ignored: u64,
    measured: u64,
    filtered: u64,
    pub(crate) skipped: Vec<String>,
}

impl Counts {
    pub(crate) fn add(&mut self, line: &str) {
        if let Some((_, what)) = line.split_once("SKIPPED") {
            self.skipped.push(what.trim_start_matches([' ', ':']).to_owned());
        }
        let Some((_, counts)) = line.split_once("test result: ") else { return };
        for part in counts.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                "measured" => self.measured += count,
                "filtered" => self.filtered += count,
                _ => {}
            }
        }
    }

    /// The closing line, as cargo test has it for one program.
    pub(crate) fn line(&self, ok: bool, seconds: f64) -> String {
        let Self { passed, failed, ignored, measured, filtered, .. } = self;
        let word = if ok { "ok" } else { "FAILED" };
        format!(
            "test result: {word}. {passed} passed; {failed} failed; {ignored} ignored; {measured} measured; \
             {filtered} filtered out; finished in {seconds:.2}s"
        )
    }

    pub(crate) fn sum(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.measured += other.measured;
        self.filtered += other.filtered;
        self.skipped.extend(other.skipped);
    }

    /// Counts what is said until its end, and passes it on; `each` is told every line.
    pub(crate) fn hear(&mut self, said: impl Read, mut each: impl FnMut(&str)) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for line in BufReader::new(said).split(b'\n') {
            let line = line.context("read what the tests say")?;
            let text = String::from_utf8_lossy(&line);
            self.add(&text);
            each(&text);
            out.write_all(&[&line[..], b"\n"].concat()).context("write")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let mut total = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s",
            "test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
            "SKIPPED guests: ZONES_GUESTS names no folder",
        ] {
            total.add(line);
        }
        assert_eq!((total.passed, total.failed, total.ignored, total.filtered), (7, 1, 1, 2));
        assert_eq!(total.skipped, ["guests: ZONES_GUESTS names no folder"]);
        assert_eq!(
            total.line(false, 1.5),
            "test result: FAILED. 7 passed; 1 failed; 1 ignored; 0 measured; 2 filtered out; finished in 1.50s"
        );
    }
}
