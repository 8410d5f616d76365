//! What zonectl prints: tables and lines for people, documents for programs.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::json;
use zone_api::{ApiError, ErrorKind};

use crate::failure::Failure;

/// How this call prints.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    colour: bool,
}

/// Select Graphic Rendition parameters (console_codes(4)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Plain,
    Bold,
    Red,
    Green,
    Yellow,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
        }
    }
}

/// Whether a stream may be coloured: a terminal, and the user did not say no (no-color.org).
fn may_colour(terminal: bool) -> bool {
    let set = |key| std::env::var_os(key).filter(|v| !v.is_empty());
    terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|t| t != "dumb")
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, colour: may_colour(io::stdout().is_terminal()) }
    }

    /// The same for what goes to stderr.
    pub(crate) fn for_stderr(&self) -> Self {
        Self { colour: may_colour(io::stderr().is_terminal()), ..*self }
    }

    /// Whether the answer goes to a program.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether nothing but what was asked for is wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints a document, or for people whatever `text` makes.
    pub(crate) fn print<T: Serialize>(
        &self,
        document: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.json { self.document(document) } else { self.text(&text()) }
    }

    /// Prints a document, indented for eyes on a terminal.
    pub(crate) fn document<T: Serialize>(&self, document: &T) -> Result<(), Failure> {
        let pretty = io::stdout().is_terminal();
        let made =
            if pretty { serde_json::to_string_pretty(document) } else { serde_json::to_string(document) };
        let mut text = made.map_err(|e| ApiError::new(ErrorKind::Failed, "make JSON", e.to_string()))?;
        text.push('\n');
        self.made(&text)
    }

    /// Prints a document that is made.
    pub(crate) fn made(&self, json: &str) -> Result<(), Failure> {
        write(&harmless(json, |c| format!("\\u{:04x}", u32::from(c))))
    }

    /// Prints text, in which what a guest may have put for a terminal to do is shown and not done.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        if self.json { self.made(text) } else { write(&shown(text)) }
    }

    /// Prints a line that a quiet call leaves out, as does one that prints a document.
    pub(crate) fn remark(&self, line: &str) -> Result<(), Failure> {
        if self.json || self.quiet { Ok(()) } else { self.text(&format!("{line}\n")) }
    }

    /// A word in a colour, where stdout takes colours.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        paint(self.colour && colour != Colour::Plain, colour, text)
    }

    /// Says what failed; gives the exit status.
    pub(crate) fn failure(&self, failure: &Failure) -> u8 {
        if let Failure::Error(error, _) = failure {
            if self.json {
                self.error_document(error);
            }
            let colour = may_colour(io::stderr().is_terminal());
            let mut text = format!("{} {error}\n", paint(colour, Colour::Red, "zonectl:"));
            if let Some(hint) = &error.hint {
                text.push_str(&format!("{} {hint}\n", paint(colour, Colour::Bold, "hint:")));
            }
            // Nobody is left to be told about a stderr that is gone.
            let _ = io::stderr().write_all(shown(&text).as_bytes());
        }
        failure.status()
    }

    /// An error on stdout, for a program that reads documents there.
    pub(crate) fn error_document(&self, error: &ApiError) {
        let ApiError { kind, what, why, hint } = error;
        let document = json!({"error": {"kind": kind, "what": what, "why": why, "hint": hint}});
        // The exit status tells as well, so a stdout that is gone changes nothing.
        let _ = self.document(&document);
    }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|e| Failure::stdout(&e))
}

/// The text without anything that a terminal would act on.
pub(crate) fn shown(text: &str) -> String {
    harmless(text, |c| c.escape_default().to_string())
}

/// The text with everything that a terminal would act on in another form, but for line ends, tabs and colours: names of a
/// guest's files and programs may hold any byte, and terminals answer, retitle and paste (console_codes(4)).
fn harmless(text: &str, shown: impl Fn(char) -> String) -> String {
    let acts = |c: char| {
        c.is_control() && c != '\n' && c != '\t'
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(acts) {
        let (before, from) = rest.split_at(at);
        safe.push_str(before);
        let length = colour_of(from);
        if length > 0 {
            safe.push_str(&from[..length]);
            rest = &from[length..];
        } else {
            let c = from.chars().next().unwrap_or_default();
            safe.push_str(&shown(c));
            rest = &from[c.len_utf8()..];
        }
    }
    safe + rest
}

/// Length of the colour that the text begins with, `ESC [ NUMBERS m`; 0 where that is none.
fn colour_of(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else { return 0 };
    let length = parameters.bytes().take_while(|b| b.is_ascii_digit() || *b == b';').count();
    if parameters.as_bytes().get(length) == Some(&b'm') { 2 + length + 1 } else { 0 }
}

fn paint(colour: bool, which: Colour, text: &str) -> String {
    if colour { format!("\x1b[{}m{text}\x1b[0m", which.code()) } else { text.to_owned() }
}

/// Rows under headings, in columns as wide as they need; the last one wraps at the terminal's edge.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<(String, Colour)>>,
    width: Option<usize>,
}

impl Table {
    /// A table with headings; without them where there are none.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let heading = headings.iter().map(|h| ((*h).to_owned(), Colour::Bold)).collect::<Vec<_>>();
        let rows = if heading.is_empty() { Vec::new() } else { vec![heading] };
        Self { rows, width: terminal_width() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<(String, Colour)>) {
        self.rows.push(cells);
    }

    /// The table as text.
    pub(crate) fn render(&self, output: &Output) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let length = |text: &str| text.chars().count();
        let width = |column: usize| {
            self.rows.iter().filter_map(|r| r.get(column)).map(|(t, _)| length(t)).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let before: usize = widths.iter().take(columns.saturating_sub(1)).map(|w| w + 2).sum();
        // Where next to nothing would be left for the last column, lines longer than the terminal read better.
        let last = self.width.map(|w| w.saturating_sub(before)).filter(|w| *w >= 24);
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, colour)) in row.iter().enumerate() {
                if column + 1 == columns {
                    let broken = wrap(cell, last.unwrap_or(usize::MAX));
                    let indent = format!("\n{:before$}", "");
                    line.push_str(&output.paint(*colour, &broken.join(&indent)));
                } else {
                    let gap = widths[column] + 2 - length(cell);
                    line.push_str(&output.paint(*colour, cell));
                    line.push_str(&" ".repeat(gap));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Breaks at spaces, so that no line is longer than `width` unless a word is.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && longer > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// Columns of the terminal on stdout.
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// 1970 and seconds as `2026-01-31T12:00:00Z`; days by the civil calendar, 400 years at a time.
pub(crate) fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest % 3_600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Output {
        Output { json: false, quiet: false, colour: false }
    }

    #[test]
    fn columns_line_up_and_lines_have_no_tail() {
        let mut table = Table { rows: Table::new(&["ID", "NAME"]).rows, width: None };
        table.row(vec![("1".into(), Colour::Plain), ("ü".into(), Colour::Green)]);
        table.row(vec![("1000".into(), Colour::Plain), (String::new(), Colour::Plain)]);
        assert_eq!(table.render(&plain()), "ID    NAME\n1     ü\n1000\n");
    }

    #[test]
    fn the_last_column_wraps_and_colours_do_not_count() {
        let words = "a".repeat(12);
        let mut table = Table { rows: Vec::new(), width: Some(30) };
        table.row(vec![("ab".into(), Colour::Plain), (format!("{words} {words} {words}"), Colour::Plain)]);
        assert_eq!(table.render(&plain()), format!("ab  {words} {words}\n    {words}\n"));
        let colours = Output { colour: true, ..plain() };
        assert_eq!(colours.paint(Colour::Red, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(plain().paint(Colour::Red, "x"), "x");
    }

    #[test]
    fn what_a_terminal_would_do_is_shown() {
        assert_eq!(shown("a\x1b]0;title\x07b\n"), "a\\u{1b}]0;title\\u{7}b\n");
        assert_eq!(
            shown("\x1b[1mbold\x1b[0m\t\x1b[2J\r\u{9b}5n\u{202e}"),
            "\x1b[1mbold\x1b[0m\t\\u{1b}[2J\\r\\u{9b}5n\\u{202e}"
        );
        assert_eq!(shown("\x1b[31"), "\\u{1b}[31");
        assert_eq!(harmless("\u{9b}\x7f", |c| format!("\\u{:04x}", u32::from(c))), "\\u009b\\u007f");
    }

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(utc(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
