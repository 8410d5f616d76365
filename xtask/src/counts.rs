//! What test programs say at their ends, summed.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};

use anyhow::{Context, Result};

/// So many lines at the end of what a failed test said are said again.
const LAST_WORDS: usize = 30;

/// Sums of the lines `test result: …` of many test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    ignored: u64,
    measured: u64,
    filtered: u64,
    pub(crate) skipped: Vec<String>,
    /// The last words of each test that failed.
    failures: Vec<VecDeque<String>>,
    /// Whether what is heard is between `failures:` and the result.
    listing: bool,
}

impl Counts {
    pub(crate) fn add(&mut self, line: &str) {
        if let Some((_, what)) = line.split_once("SKIPPED") {
            self.skipped.push(what.trim_start_matches([' ', ':']).to_owned());
        }
        let Some((_, counts)) = line.split_once("test result: ") else { return self.listen(line) };
        self.listing = false;
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

    /// Keeps what a test program says of its failed tests at its end, as libtest has it: `failures:`, a piece for each
    /// under `---- NAME`, and `failures:` with the names alone; and what cargo says of a program that did not get there.
    fn listen(&mut self, line: &str) {
        if line.starts_with("error: test failed") {
            self.fail(line);
        } else if line.starts_with("---- ") {
            self.listing = true;
            self.failures.push(VecDeque::new());
        } else if line == "failures:" {
            self.listing = false;
        }
        let Some(words) = self.failures.last_mut().filter(|_| self.listing) else { return };
        if words.len() > LAST_WORDS {
            // The first says which test it is.
            words.remove(1);
        }
        words.push_back(line.to_owned());
    }

    /// Keeps the words of something else that failed; it is not counted.
    pub(crate) fn fail(&mut self, words: &str) {
        self.listing = false;
        self.failures.push(words.lines().map(str::to_owned).collect());
    }

    /// The tests that failed and their last words: what is above in the output, once more where it is looked for.
    pub(crate) fn failures(&self) -> String {
        let mut text = String::new();
        for line in self.failures.iter().flatten().filter(|line| !line.is_empty()) {
            text.push_str(line);
            text.push('\n');
        }
        text
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
        self.failures.extend(other.failures);
    }

    /// Counts what is said until its end, and passes it on to `out`; `each` is told every line.
    pub(crate) fn hear(
        &mut self,
        said: impl Read,
        mut out: impl Write,
        mut each: impl FnMut(&str),
    ) -> Result<()> {
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
    fn who_failed_is_said_again() {
        let mut total = Counts::default();
        let long = "word\n".repeat(50);
        let said = format!(
            "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\n{long}panicked at a.rs\n\n---- b stdout ----\npanicked at \
             b.rs\n\nfailures:\n    a\n    b\n\ntest result: FAILED. 0 passed; 2 failed\nother words\n"
        );
        said.lines().for_each(|line| total.add(line));
        total.add("error: test failed, to rerun pass `-p x --test y`");
        total.fail("fuzz z: FAILED\nits words");
        total.add("other words");
        let again = total.failures();
        let lines: Vec<_> = again.lines().collect();
        assert_eq!(lines.first(), Some(&"---- a stdout ----"));
        assert!(lines.contains(&"panicked at a.rs") && lines.len() < 40, "{lines:?}");
        let end = ["error: test failed, to rerun pass `-p x --test y`", "fuzz z: FAILED", "its words"];
        assert_eq!(lines[lines.len() - 5..lines.len() - 3], ["---- b stdout ----", "panicked at b.rs"]);
        assert_eq!(lines[lines.len() - 3..], end);
    }

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
